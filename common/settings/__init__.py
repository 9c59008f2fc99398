"""Settings: `/etc/ucloud/ucloud.conf` (INI), overridden by `UCLOUD_<SECTION>_<FIELD>` in the environment.

`UCLOUD_CONFIG` names another file. Every setting has a default that suits one machine. The words under each
field become the commented settings file and docs/settings.md (tools/settings).
"""

import configparser
import platform
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from common.errors import ConfigurationError
from common.schemas.image import StoreName
from common.schemas.record import describe
from common.schemas.vm import HostName
from common.settings.identity import LdapSettings, OtpSettings
from common.settings.section import Section, split

DEFAULT_FILE = "/etc/ucloud/ucloud.conf"


PoolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$")]
"""A pool of Ceph, by a name that needs no quotes anywhere."""


class EtcdSettings(Section):
    """How etcd is reached."""

    endpoints: Annotated[tuple[str, ...], BeforeValidator(split), Field(min_length=1)] = ("127.0.0.1:2379",)
    """Where its members answer, separated by commas; IPv6 as `[fd00::1]:2379`."""
    ca_file: str = ""
    """Who signed the members' certificates; with it, TLS is spoken."""
    cert_file: str = ""
    """The certificate that this daemon shows; etcd may take its common name for the user."""
    key_file: str = ""
    """The key of `cert_file`."""
    user: str = ""
    """The user of etcd, where passwords are used."""
    password_file: str = ""
    """The file whose content is the password of `user`."""


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least that is logged: DEBUG, INFO, WARNING or ERROR."""
    format: Literal["text", "json"] = "text"
    """`text`, or `json`: one object per line."""


class HealthSettings(Section):
    """Where a daemon answers /healthz and /metrics; port 0 is the daemon's own default."""

    address: str = "::1"
    """Where /healthz and /metrics are served; on a VM host, an address that the API reaches."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: the daemon's own, 9701 (scheduler), 9702 (host), 9703 (vm), 9704 (image), 9706 (net), 9707 (firewall), 9708
    (ipam), 9709 (meta), 9710 (image-sftp)."""


class ApiSettings(Section):
    """The HTTP API."""

    address: str = "::1"
    """Where the API listens."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Its TCP port."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes."""
    threads: Annotated[int, Field(ge=4, le=1000)] = 64
    """Threads of each process; three quarters of them may be streams of events and consoles."""
    """Whose images are found by name after the owner's own."""
    cert_file: str = ""
    """The certificate, for TLS. Without it, keep the API on `::1` or behind a proxy with TLS."""
    key_file: str = ""
    """The key of `cert_file`."""
    trusted_proxies: Annotated[tuple[IPv6Network | IPv4Network, ...], BeforeValidator(split)] = ()
    """The addresses or networks of proxies whose `X-Forwarded-For` says where a request comes from: wrong passwords are
    counted by network, and logins remembered with it. Without it they all come from the proxy."""
    session_ttl_s: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 8 * 3600
    """How long a session lasts, in seconds."""
    idempotency_ttl_s: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 24 * 3600
    """For how many seconds an Idempotency-Key is remembered."""


class HostSettings(Section):
    """This machine as a VM host."""

    name: HostName = Field(default_factory=lambda: platform.node().split(".")[0].lower() or "localhost")
    """The host's name in the cloud; by default its hostname."""
    reserved_ram_mib: Annotated[int, Field(ge=0)] = 1024
    """Memory that VMs don't get, in MiB."""
    alive_ttl_s: Annotated[int, Field(ge=2, le=60)] = 3
    """A host that is silent for so many seconds gets no new VMs; the other times of a host's death follow from it."""
    run_directory: Path = Path("/run/ucloud/host")
    """What `ucloud-host-alive`, `ucloud-host-guard` and `ucloud-vm` share, in memory: a tmpfs."""


class FenceSettings(Section):
    """What makes sure that a silent host runs nothing any more, before its VMs are started elsewhere."""

    methods: Annotated[tuple[str, ...], BeforeValidator(split), Field(min_length=1)] = ("self+storage", "manual")
    """Alternatives, separated by commas, each one fence or several joined by `+` that must all say yes: `self` (the
    host's own guard), `storage` (nobody holds its disks), `power` (its power is off), `manual` (an admin says so)."""
    max_dead_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of all hosts, at most this share (but at least one) may be found dead at once; beyond, an admin must look."""
    redfish_url: str = ""
    """`power`: the host's system at its BMC, `{host}` in it stands for the host: `https://bmc-{host}/redfish/v1/Systems/1`."""
    redfish_user: str = ""
    """As whom the BMC is asked."""
    redfish_password_file: str = ""
    """The file whose content is the password of `redfish_user`."""
    redfish_ca_file: str = ""
    """Who signed the BMCs' certificates; empty: anybody whom the system trusts."""
    power_command: str = ""
    """`power` without Redfish: a program that gets the host's name, cuts its power, and ends with 0 when it is off."""
    timeout_s: Annotated[int, Field(ge=1, le=300)] = 20
    """How long a fence may take."""

    @property
    def counts_on_guard(self) -> bool:
        """Whether an alternative of `methods` counts on the host's own guard."""
        return any(fence.strip() == "self" for alternative in self.methods for fence in alternative.split("+"))


class SchedulerSettings(Section):
    """What the scheduler does besides placing new VMs."""

    moves_per_host: Annotated[int, Field(ge=1, le=100)] = 2
    """How many VMs may be on their way from one host, and to one host, at a time."""
    moves_at_once: Annotated[int, Field(ge=1, le=1000)] = 8
    """How many in the whole cloud."""
    n_plus_one: Literal["off", "warn", "refuse"] = "warn"
    """What to do where the loss of the largest host could not be made good: nothing, say so, or place no new VM."""
    balance_margin: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A VM moves where another host is emptier by more than this (0.2: 20 points); 0: none moves."""
    balance_moves_per_hour: Annotated[int, Field(ge=0, le=10000)] = 20
    """How many moves at most that makes."""


class EventSettings(Section):
    """What is remembered of what happened."""

    ttl_s: Annotated[int, Field(ge=60, le=365 * 24 * 3600)] = 7 * 24 * 3600
    """For how many seconds."""


class StorageSettings(Section):
    """Where images and the disks of VMs are: in a directory, or in a Ceph (settings that begin with `rbd_`).

    Hosts that share a directory mount it at the same path. Hosts of one Ceph and the same pools share these.
    """

    kind: Literal["directory", "rbd"] = "directory"
    """`directory`, or `rbd`: a Ceph."""
    name: StoreName = "default"
    """What the store is called. Who shares it calls it the same; a cloud may have several, each with a ucloud-image."""
    ssd_directory: Path = Path("/var/lib/ucloud/store")
    """Templates, and root disks of VMs."""
    hdd_directory: Path | None = None
    """HDDs of VMs; empty: this host has none."""
    rbd_conf: Path = Path("/etc/ceph/ceph.conf")
    """How the Ceph is reached. Readable for QEMU's user, too."""
    rbd_client: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = "ucloud"
    """As whom, without `client.`; it has the profile `rbd` of monitors, and, for the pools, of managers and OSDs."""
    rbd_keyring: Path | None = None
    """The file with its key; empty: `/etc/ceph/ceph.client.<rbd_client>.keyring`."""
    rbd_ssd_pool: PoolName = "ssd"
    """The pool for templates and root disks of VMs."""
    rbd_hdd_pool: PoolName | None = None
    """The pool for HDDs of VMs; empty: this host has none."""
    rbd_timeout_s: Annotated[int, Field(ge=1, le=300)] = 20
    """For how many seconds the cluster may leave one operation unanswered."""


class VmSettings(Section):
    """The hypervisor of this host."""

    libvirt_uri: str = "qemu:///system"
    """Where libvirt answers."""
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """`auto`, `kvm` or `tcg`."""
    run_directory: Path = Path("/run/ucloud/vm")
    """Sockets of the consoles; a short path, as a unix socket's has at most 107 characters."""
    log_directory: Path = Path("/var/log/ucloud/vm")
    """What VMs write to their serial consoles."""
    state_directory: Path = Path("/var/lib/ucloud/vm")
    """The daemon's own lock and key."""
    stop_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 60
    """For how many seconds a guest may shut down before its power is cut."""
    orphan_grace_s: Annotated[int, Field(ge=1, le=24 * 3600)] = 60
    """A guest that nothing orders to this host any more, as after a restored backup, is ended so many seconds later."""
    migration_uri: str = ""
    """Where other hosts' libvirtd reaches this one's to hand over guests that run, `qemu+tls://h1.example/system` for
    example; empty: they don't move while they run."""
    migration_mode: Literal["auto-converge", "post-copy"] = "auto-converge"
    """What is done with a guest that writes faster than it can be sent: slow it down, or let it go on at the new host
    and send the rest afterwards (which loses it if either host dies meanwhile)."""

    @property
    def moves_live(self) -> bool:
        """Whether guests that run can be sent from here and taken."""
        return bool(self.migration_uri) and not self.libvirt_uri.startswith("test")


class ImageSettings(Section):
    """Where uploads are looked for, how large an image may be, and what imports leave of the store."""

    upload_directory: Path = Path("/var/www")
    """An image's file is looked for in `<upload_directory>/<owner>/`."""
    max_virtual_gib: Annotated[int, Field(ge=1, le=65536)] = 2048
    """Images with larger disks are rejected."""
    reserve_gib: Annotated[int, Field(ge=0, le=1024 * 1024)] = 1
    """So much of the store's file system imports leave to the disks of VMs, which grow: an import that might take more
    waits."""
    upload_quota_gib: Annotated[int, Field(ge=1, le=1024 * 1024)] = 100
    """What all files in an owner's upload folder may have together."""
    upload_files: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """How many files there may be in it."""
    work_directory: Path | None = None
    """Where uploads are copied to and checked; empty: `import` in `storage.ssd_directory`. A store that is a directory
    has it on its own file system."""


class SftpSettings(Section):
    """Where users upload files, by SFTP and through the API, on the machine that has the upload folders."""

    address: Annotated[tuple[IPv6Address | IPv4Address, ...], BeforeValidator(split), Field(min_length=1)] = (
        IPv6Address("::"),
        IPv4Address("0.0.0.0"),  # noqa: S104 - users are outside
    )
    """Where SFTP is spoken, separated by commas."""
    port: Annotated[int, Field(ge=1, le=65535)] = 2222
    """Its TCP port."""
    host_key_file: Path = Path("/var/lib/ucloud/sftp/host_key")
    """By what users know the server; made at the first start. Keep it: whoever loses it frightens all users."""
    connections: Annotated[int, Field(ge=1, le=100_000)] = 500
    """How many connections there may be at a time."""
    connections_per_user: Annotated[int, Field(ge=1, le=1000)] = 8
    """How many of them one user may have."""
    idle_timeout_s: Annotated[int, Field(ge=1, le=24 * 3600)] = 600
    """A connection on which nothing is asked for so many seconds is ended."""
    login_timeout_s: Annotated[int, Field(ge=1, le=600)] = 30
    """For how many seconds somebody may take to log in."""
    mib_per_s: Annotated[int, Field(ge=0, le=100_000)] = 0
    """How many MiB a second each user may send and get; 0: as many as there is room for."""


class NetSettings(Section):
    """How this host takes part in the VMs' networks."""

    underlay: str = ""
    """The interface that carries the networks between hosts; empty: the one of the default route over IPv6. It has an
    IPv6 address that the other hosts reach."""
    flooding: Literal["multicast", "unicast"] = "multicast"
    """How frames for everybody reach the other hosts: by IPv6 multicast, or a copy to each host that has VMs on the
    network, where the underlay has no multicast. The same on every host."""
    multicast_base: IPv6Address = IPv6Address("ff05::")
    """The multicast group of a network is this plus its VNI."""
    vxlan_port: Annotated[int, Field(ge=1, le=65535)] = 4789
    """The UDP port of VXLAN (RFC 7348)."""


class NetworkSettings(Section):
    """What the API gives new networks."""

    prefix_pool: IPv6Network = IPv6Network("fd75:636c::/40")
    """Networks without a prefix of their own get the /64 of this /40 that their VNI numbers. No two clouds that meet
    should have the same."""

    @field_validator("prefix_pool")
    @classmethod
    def _is_a_40(cls, pool: IPv6Network) -> IPv6Network:
        if pool.prefixlen != 40:
            raise ValueError("a prefix of 40 bits is required")
        return pool


class DnsSettings(Section):
    """What VMs are answered that ask the cloud for names."""

    domain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,180}[a-z0-9])?$")] = "ucloud.internal"
    """A VM is called `<name>.<domain>` on its network."""
    forwarders: Annotated[tuple[IPv6Address | IPv4Address, ...], BeforeValidator(split)] = ()
    """Who is asked for all other names, separated by commas; empty: nobody, they are refused."""
    dns64_prefix: IPv6Network | None = None
    """The /96 of a NAT64 (RFC 6147): names that have only IPv4 addresses get addresses within it. Empty: none."""

    @field_validator("domain")
    @classmethod
    def _has_labels(cls, domain: str) -> str:
        if not all(0 < len(label) < 64 for label in domain.split(".")):
            raise ValueError("labels of 1 to 63 characters are required between the dots")
        return domain

    @field_validator("dns64_prefix")
    @classmethod
    def _is_a_96(cls, prefix: IPv6Network | None) -> IPv6Network | None:
        if prefix and prefix.prefixlen != 96:
            raise ValueError("a prefix of 96 bits is required")
        return prefix


class MetaSettings(Section):
    """What VMs are answered that ask `http://metadata` about themselves."""

    zone: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")] = "ucloud"
    """Their availability zone, on hosts that have no label `zone`: the cloud's name, for example."""
    requests_per_s: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """How many requests a second each VM may make in the long run; ten times as many at once, as when it boots."""


class Settings(Section):
    """All settings of a daemon."""

    etcd: EtcdSettings = EtcdSettings()
    log: LogSettings = LogSettings()
    health: HealthSettings = HealthSettings()
    api: ApiSettings = ApiSettings()
    otp: OtpSettings = OtpSettings()
    ldap: LdapSettings = LdapSettings()
    host: HostSettings = Field(default_factory=HostSettings)
    fence: FenceSettings = FenceSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    event: EventSettings = EventSettings()
    storage: StorageSettings = StorageSettings()
    vm: VmSettings = VmSettings()
    image: ImageSettings = ImageSettings()
    sftp: SftpSettings = SftpSettings()
    net: NetSettings = NetSettings()
    network: NetworkSettings = NetworkSettings()
    dns: DnsSettings = DnsSettings()
    meta: MetaSettings = MetaSettings()


def load(environment: Mapping[str, str]) -> Settings:
    """The settings from the file and `environment`; ConfigurationError names what is wrong with them."""
    path = Path(environment.get("UCLOUD_CONFIG", DEFAULT_FILE))
    values = _read_file(path, required="UCLOUD_CONFIG" in environment)
    for section, info in Settings.model_fields.items():
        for field in cast(type[BaseModel], info.annotation).model_fields:
            variable = f"UCLOUD_{section}_{field}".upper()
            if variable in environment:
                values.setdefault(section, {})[field] = environment[variable]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{path} and UCLOUD_* variables: {describe(error)}") from error


def _read_file(path: Path, required: bool) -> dict[str, dict[str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError as error:
        if required:
            raise ConfigurationError(f"UCLOUD_CONFIG: {path} does not exist") from error
    except (OSError, configparser.Error) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    # An empty value is as good as none: the default holds.
    return {name: {field: value for field, value in parser[name].items() if value} for name in parser.sections()}


def read_secret(setting: str, path: str) -> str:
    """The secret in the file that `setting` names, without the newline at its end; empty when no file is named."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path}: {error.strerror}") from error
