"""One VM host: a namespace of its own, its settings, its libvirtd, and the programs that run on it."""

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devcloud import wall_clock
from devcloud.bird import Bird
from devcloud.network import Network

_ENTER = Path(__file__).resolve().parent / "enter"
_QEMU_CAPABILITIES = Path(__file__).resolve().parent.parent / ".cache/libvirt"

_LIBVIRT_URI = {"qemu": "qemu:///system", "test": "test+unix:///default?socket=/run/libvirt/libvirt-sock"}

_LIBVIRTD_CONF = """\
listen_tls = 0
auth_unix_rw = "none"
host_uuid = "{host_uuid}"
"""

# QEMU runs as root, without the guards that need a machine of its own (cgroups, security labels, mount namespaces);
# files instead of virtlogd take its output.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""


@dataclass(frozen=True)
class VmHost:
    """Host `number` of a cloud; its files are under `data` and, what must not outlive a reboot, `run`.

    With `has_wall_clock` it has one of its own, which can be set; with `has_networks` its VMs may have ports.
    """

    number: int
    network: Network
    data: Path
    run: Path
    hypervisor: Literal["qemu", "test"] = "qemu"
    alive_ttl_s: int = 3
    has_wall_clock: bool = False
    has_networks: bool = False

    @property
    def name(self) -> str:
        """Its hostname, and its name in the cloud."""
        return f"h{self.number}"

    @property
    def address(self) -> str:
        """Its IPv6 address in the cloud's network."""
        return self.network.host_address(self.number)

    @property
    def settings_file(self) -> Path:
        """Its ucloud.conf."""
        return self.data / "ucloud.conf"

    @property
    def settings(self) -> dict[str, dict[str, str]]:
        """What its ucloud.conf says besides what all machines of the cloud are told."""
        return {
            "health": {"address": self.address},
            "net": {"underlay": "eth0"},
            "host": {
                "name": self.name,
                "run_directory": str(self.run / "host"),
                "alive_ttl_s": str(self.alive_ttl_s),
            },
            "vm": {
                "run_directory": str(self.run / "vm"),
                "log_directory": str(self.data / "log"),
                "state_directory": str(self.data / "state"),
                "libvirt_uri": _LIBVIRT_URI[self.hypervisor],
                "migration_uri": self.migration_uri,
            },
        }

    @property
    def bird(self) -> Bird:
        """Its routing daemon."""
        return Bird(self.run / "bird")

    @property
    def environment(self) -> dict[str, str]:
        """That of all of its programs."""
        return wall_clock.environment(self._wall_clock_file) if self.has_wall_clock else {}

    @property
    def migration_uri(self) -> str:
        """Where other hosts' libvirtd reaches this one's, as they are all on one machine; the test driver's can't."""
        socket = self.run / "libvirt/libvirt-sock"
        return f"qemu+unix:///system?socket={socket}" if self.hypervisor == "qemu" else ""

    @property
    def _libvirt(self) -> Path:
        return self.data / "libvirt"

    @property
    def _wall_clock_file(self) -> Path:
        return self.data / "wall-clock"

    def set_wall_clock(self, ahead_s: int) -> None:
        """Have its wall clock jump; `ahead_s` is what it is ahead of the machine's then."""
        wall_clock.set_ahead(self._wall_clock_file, ahead_s)

    def create(self) -> None:
        """Make its namespace and write libvirt's settings."""
        self.network.create_host(self.name, self.number)
        for directory in (self.run / "libvirt", self.run / "vm", self.data / "log", self.data / "state"):
            directory.mkdir(parents=True, exist_ok=True)
        if self.has_wall_clock:
            self.set_wall_clock(0)
        if not (self._libvirt / "group").exists():  # the last one to be written
            self._create_libvirt_files()

    def _create_libvirt_files(self) -> None:
        etc, cache = self._libvirt / "etc", self._libvirt / "var/cache"
        host_uuid = uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{self.network.identity}")
        for directory in (etc, cache.parent, _QEMU_CAPABILITIES):
            directory.mkdir(parents=True, exist_ok=True)
        # What libvirtd finds out about QEMU, in some seconds, is the same for every host of this machine.
        if not cache.is_symlink():
            cache.symlink_to(_QEMU_CAPABILITIES)
        # Debian's libvirtd insists on a user that only its system package makes, though QEMU won't run as that user.
        users, groups = (Path(file).read_text(encoding="utf-8") for file in ("/etc/passwd", "/etc/group"))
        files = {
            etc / "libvirtd.conf": _LIBVIRTD_CONF.format(host_uuid=host_uuid),
            etc / "qemu.conf": _QEMU_CONF,
            self._libvirt / "hosts": f"127.0.0.1 localhost\n::1 localhost {self.name}\n",
            self._libvirt / "passwd": users + "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n",
            self._libvirt / "group": groups + "libvirt-qemu:x:64055:\n",
        }
        for path, content in files.items():
            path.write_text(content, encoding="utf-8")

    def libvirtd(self) -> list[str]:
        """The command that runs its libvirtd, prepared as systemd/libvirtd.service.d/ucloud.conf does."""
        prepare = f"{sys.executable} -m ucloud_vm.libvirt.prepare"
        return self.enter("sh", "-c", f"{prepare}; exec libvirtd --pid-file /run/libvirt/libvirtd.pid")

    def virsh(self, *arguments: str) -> list[str]:
        """The command, to be run on this host, that has virsh do `arguments` with its VMs."""
        return ["virsh", "--quiet", "--connect", _LIBVIRT_URI[self.hypervisor], *arguments]

    def enter(self, *command: str) -> list[str]:
        """The command that runs `command` on this host; its process id stays that of the command."""
        namespace = self.network.namespace(self.name)
        return [str(_ENTER), namespace, self.name, str(self._libvirt), str(self.run / "libvirt"), *command]
