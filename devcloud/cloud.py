"""A cloud on one machine: etcd, the daemons of the control plane, hosts with theirs, and people who use it."""

import configparser
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import requests

from common.settings.identity import LdapSettings
from devcloud import etcd, processes, programs
from devcloud.bird import Bird
from devcloud.ceph import CLIENT, Layout
from devcloud.errors import DevcloudError
from devcloud.etcd_users import EtcdUsers
from devcloud.host import VmHost
from devcloud.network import Network
from devcloud.people import ADMIN, API, USER, People
from devcloud.programs import PATH, SCRIPTS
from devcloud.services import Program, Services
from devcloud.waiting import wait_for
from devcloud.written import written

DEFAULT_DIRECTORY = Path("/var/lib/ucloud-dev")
_RUN_DIRECTORY = Path("/run/ucloud-dev")  # short: the path of a unix socket has at most 107 characters
_MARK = "UCLOUD_DEV_CLOUD"
_POOLS = ("ssd", "hdd")


@dataclass(frozen=True)
class Shape:
    """How large a cloud is, and where its API listens (empty: at the machine's address in the cloud's network).

    Hosts with the hypervisor "test" have VMs without guests, many of them. A secure etcd speaks TLS only, and allows
    each daemon what it has to do. A host whose sign of life is not renewed for `alive_ttl_s` is silent. With
    `wall_clocks` each host has one of its own, which can be set; with `networks` VMs may have ports. With `ceph` the
    hosts share one, else a directory. `ldap` says where more users are.
    """

    hosts: int = 1
    etcd_members: int = 1
    secure_etcd: bool = False
    schedulers: int = 1
    hypervisor: Literal["qemu", "test"] = "qemu"
    alive_ttl_s: int = 3
    wall_clocks: bool = False
    networks: bool = False
    ceph: bool = False
    ldap: LdapSettings = field(default_factory=LdapSettings)
    api_address: str = ""
    api_port: int = 8080


class Cloud:
    """The cloud called `name`; making this object does nothing to the machine.

    All of its files are under `directory`/name and /run/ucloud-dev/name. Its programs are "etcd0", "ucloud-api",
    "ucloud-scheduler", "ucloud-image", "ucloud-image-sftp", "ucloud-otp", and on each host "libvirtd@h1",
    "ucloud-host@h1", "ucloud-host-alive@h1", "ucloud-host-guard@h1", "ucloud-vm@h1", with networks also "bird@h1" and
    "bird@router"; one that ends is started anew soon.
    """

    def __init__(self, name: str = "dev", shape: Shape | None = None, directory: Path = DEFAULT_DIRECTORY) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,19}", name):
            raise DevcloudError(f"name {name!r}: 1 to 20 lower case letters, digits and hyphens are allowed")
        self.name = name
        self.shape = shape or Shape()
        self.data = directory / name
        self.run = _RUN_DIRECTORY / name
        self.services = Services(self.data, self.run)

    # --- the whole ----------------------------------------------------------------------------------------------------

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start whatever of the cloud does not run yet; returns when every daemon is well and the people are logged in.

        A cloud may grow, but keeps the hosts and the Ceph that it has: there may be VMs on them.
        """
        if os.geteuid() != 0:
            raise DevcloudError("network namespaces and virtual machines need root: run this as root")
        self._identify()
        existing = len(list(self.data.glob("h*/ucloud.conf")))
        has_ceph = self.shape.ceph or self.ceph.conf.exists()
        self.shape = replace(self.shape, hosts=max(self.shape.hosts, existing), ceph=has_ceph)
        self._end_unattended_daemons()
        self._check_api_port()
        say(f"network of {self.shape.hosts} host(s), {self.network.control_address}/64")
        self.network.create()
        for host in self.hosts:
            host.create()
            self._write_settings(host.settings_file, host.settings)
        if self.shape.networks:
            self._write_routing()
            self.network.route_pool()
        self._write_settings(self._control_settings_file, self._control_settings)
        uploads = [self.upload_directory(person) for person in (ADMIN, USER)]
        for directory in (self.store_directory, *uploads, self._temporary_directory):
            directory.mkdir(parents=True, exist_ok=True)
        if self.shape.secure_etcd:
            say("etcd, with a user for each daemon")
            self._secure_etcd()
        if self.shape.ceph:
            self.ceph.make()
        say("daemons")
        self.services.apply(self._programs(), self._service_environment())
        if self.shape.ceph:
            say("Ceph, with its pools")
            self.ceph.furnish(_POOLS)
        self.wait_ready(say)
        say("accounts and sessions of an admin and a user")
        self.people.enrol(self.url, self.env())

    def down(self) -> None:
        """End the cloud, its VMs included, and remove every trace of it; harmless when there is none."""
        if (supervisord := self.services.pid()) is not None:
            # At once, so that it starts nothing anew while the others end.
            processes.send([supervisord], signal.SIGKILL)
            processes.wait_until_gone([supervisord], timeout_s=10)
        # etcd last: the daemons say goodbye to it. A process that was just being started is found by the next look.
        while pids := set(filter(processes.is_alive, self._daemon_pids() | self.network.pids())):
            processes.end({pid for pid in pids if processes.name(pid) != "etcd"} or pids)
        self.network.remove()
        for directory in (self.data, self.run):
            shutil.rmtree(directory, ignore_errors=True)
            if directory.exists():
                raise DevcloudError(f"can't remove {directory}")
            with contextlib.suppress(OSError):  # that of another cloud is beside it, or it is gone already
                directory.parent.rmdir()

    def exists(self) -> bool:
        """Whether there is anything of this cloud on the machine."""
        return self.data.exists() or self.run.exists() or self.network.exists()

    def wait_ready(self, say: Callable[[str], None] = lambda _: None, timeout_s: float = 90.0) -> None:
        """Wait until etcd and each daemon answer that they are well."""
        self._wait_etcd(timeout_s)
        say("etcd answers")
        for program, url in self._health_urls().items():
            self.wait_healthy(program, url, timeout_s)
            say(f"{program} is well")

    # --- its parts ----------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """Ten hexadecimal digits, drawn at random when the cloud was first started; zeros before."""
        file = self.data / "id"
        return file.read_text(encoding="ascii") if file.exists() else "0" * 10

    @property
    def network(self) -> Network:
        """Its network."""
        return Network(self.name, self.identity)

    @property
    def hosts(self) -> tuple[VmHost, ...]:
        """Its hosts: h1, h2 ..."""
        shape = self.shape
        return tuple(
            VmHost(
                number,
                self.network,
                self.data / f"h{number}",
                self.run / f"h{number}",
                shape.hypervisor,
                shape.alive_ttl_s,
                shape.wall_clocks,
                shape.networks,
            )
            for number in range(1, shape.hosts + 1)
        )

    @property
    def people(self) -> People:
        """Who uses it."""
        return People(self.data / "people")

    @property
    def etcd_users(self) -> EtcdUsers:
        """Who may do what in a secure etcd."""
        return EtcdUsers(self.data / "etcd-pki")

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://[{self._api_address}]:{self.shape.api_port}"

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """Where etcd's members answer: "[fd00::1]:2379"."""
        return tuple(member.endpoint for member in self._etcd_members())

    @property
    def ceph(self) -> Layout:
        """The Ceph that its hosts share, in a cloud with one."""
        return Layout(self.data / "ceph", self.network.control_address, 3300)

    @property
    def store_directory(self) -> Path:
        """The store that its hosts share."""
        return self.data / "store"

    def upload_directory(self, owner: str) -> Path:
        """Where `owner` puts files to be imported as images."""
        return self.data / "www" / owner

    def headers(self, user: str = ADMIN) -> dict[str, str]:
        """What a request to the API carries that `user` makes."""
        return {"Authorization": f"Bearer {self.people.token(user)}"}

    def env(self, host: str | None = None, user: str = ADMIN) -> dict[str, str]:
        """The environment of a command on this machine that `user` gives, with the settings of `host`."""
        settings_file = self._host(host).settings_file if host else self._control_settings_file
        return {
            "UCLOUD_CONTEXT_FILE": str(self.people.contexts.path),
            "UCLOUD_CONTEXT": user,
            "UCLOUD_CONFIG": str(settings_file),
            "PATH": PATH,
            "LANG": "C.UTF-8",
            **(self.etcd_users.environment("root") if self.shape.secure_etcd else {}),
        }

    def enter(self, host: str, *command: str) -> list[str]:
        """The command that runs `command` on `host`: in its namespaces, with its libvirtd."""
        return self._host(host).enter(*command)

    def reach(self, address: str, host: str) -> None:
        """Have this machine's packets to a VM's address go straight to a host, whatever the router has heard of it."""
        self.network.route(f"{address}/128", self._host(host).number)

    # --- its programs -------------------------------------------------------------------------------------------------

    def programs(self) -> tuple[str, ...]:
        """The names of all programs."""
        return tuple(program.name for program in self._programs())

    def pid(self, program: str) -> int:
        """The process id of a running program; waits while it is being started anew."""
        return self.services.program_pid(program)

    def kill(self, program: str) -> int:
        """End a program at once, as a crash does, and return the process id it had; it is started anew soon."""
        return self.services.signal(program, signal.SIGKILL)

    def pause(self, program: str) -> int:
        """Freeze a program; returns its process id when it stands still."""
        pid = self.pid(program)
        processes.freeze(pid)
        return pid

    def resume(self, program: str) -> int:
        """Let a frozen program go on."""
        return self.services.signal(program, signal.SIGCONT)

    def set_wall_clock(self, host: str, ahead_s: int) -> None:
        """Have the wall clock of `host` jump, in a cloud with `wall_clocks`; `ahead_s`: of the machine's."""
        self._host(host).set_wall_clock(ahead_s)

    def wait_restarted(self, program: str, old_pid: int, timeout_s: float = 30.0) -> int:
        """Wait until a program runs anew and, where it can tell, is well; returns its process id."""
        wait_for(f"{program} started anew", lambda: self.services.states()[program][1] not in (0, old_pid), timeout_s)
        if url := self._health_urls().get(program):
            self.wait_healthy(program, url, timeout_s)
        return self.pid(program)

    def wait_healthy(self, program: str, url: str | None = None, timeout_s: float = 30.0) -> None:
        """Wait until a daemon's /healthz says that all is well."""
        health_url = url or self._health_urls()[program]
        answer = "no answer"

        def look() -> bool:
            nonlocal answer
            try:
                response = requests.get(health_url, timeout=2)
            except requests.RequestException as error:
                answer = type(error).__name__
                return False
            answer = response.text.strip()
            return response.ok

        try:
            wait_for(f"{program} well", look, timeout_s)
        except DevcloudError as error:
            raise DevcloudError(f"{error} ({health_url}: {answer}); see {self.services.log(program)}") from error

    def etcd_leader(self, timeout_s: float = 30.0) -> str:
        """The name of the program that leads etcd, waiting for an election if there is one."""

        def look() -> str | None:
            return next((member.name for member in self._etcd_members() if member.leads()), None)

        return wait_for("a leader of etcd", look, timeout_s)

    def health_url(self, program: str) -> str:
        """Where a daemon answers /healthz."""
        return self._health_urls()[program]

    # --- within -------------------------------------------------------------------------------------------------------

    @property
    def _api_address(self) -> str:
        return self.shape.api_address or self.network.control_address

    @property
    def _control_settings_file(self) -> Path:
        return self.data / "control/ucloud.conf"

    @property
    def _temporary_directory(self) -> Path:
        return self.data / "tmp"

    @property
    def _work_directory(self) -> Path:
        """Where images are checked: on the file system of the store."""
        return self.store_directory / "import"

    @property
    def _storage_settings(self) -> dict[str, str]:
        if not self.shape.ceph:
            return {"ssd_directory": str(self.store_directory)}
        ssd, hdd = _POOLS
        return {
            "kind": "rbd",
            "rbd_conf": str(self.ceph.conf),
            "rbd_client": CLIENT,
            "rbd_keyring": str(self.ceph.keyring(CLIENT)),
            "rbd_ssd_pool": ssd,
            "rbd_hdd_pool": hdd,
        }

    @property
    def _control_settings(self) -> dict[str, dict[str, str]]:
        return {
            "health": {"address": self.network.control_address},
            "api": {"address": self._api_address, "port": str(self.shape.api_port)},
            "otp": {
                "address": self.network.control_address,
                "url": f"http://[{self.network.control_address}]:9705/ungleichotp/verify/",
                "seed_file": str(self.people.seed_file(API)),
            },
            "sftp": {
                "address": self.network.control_address,
                "host_key_file": str(self.data / "control/sftp_host_key"),
            },
            "ldap": written(self.shape.ldap),
        }

    def _host(self, name: str) -> VmHost:
        return next(host for host in self.hosts if host.name == name)

    def _identify(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        if not (self.data / "id").exists():
            self.data.mkdir(parents=True, exist_ok=True)
            (self.data / "id").write_text(secrets.token_hex(5), encoding="ascii")

    def _daemon_pids(self) -> set[int]:
        return processes.with_variable(_MARK, f"{self.name}-{self.identity}")

    def _end_unattended_daemons(self) -> None:
        # supervisord may have been killed; its programs would then be in the way of new ones. QEMU carries no mark.
        if self.services.pid() is None:
            processes.end(self._daemon_pids())

    def _check_api_port(self) -> None:
        if self.services.pid() is not None or not self.shape.api_address:
            return
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.shape.api_address, self.shape.api_port))
            except OSError as error:
                raise DevcloudError(
                    f"the API can't listen on [{self.shape.api_address}]:{self.shape.api_port}: {error.strerror}."
                    " Choose another port: make up API_PORT=8081"
                ) from error

    def _etcd_members(self) -> tuple[etcd.Member, ...]:
        return tuple(
            etcd.Member(
                f"etcd{i}",
                self.data / f"etcd{i}",
                self.network.control_address,
                2379 + 10 * i,
                2380 + 10 * i,
                self.etcd_users.folder if self.shape.secure_etcd else None,
            )
            for i in range(self.shape.etcd_members)
        )

    def _wait_etcd(self, timeout_s: float) -> None:
        for member in self._etcd_members():
            wait_for(f"{member.name} healthy, see {self.services.log(member.name)}", member.is_healthy, timeout_s)

    def _secure_etcd(self) -> None:
        """Have etcd run with all of its users, before the daemons come as them."""
        names = [host.name for host in self.hosts]
        self.etcd_users.certify(self._etcd_members(), names)
        if self.services.pid() is None:
            members = programs.etcd_members(self._etcd_members(), token=self.identity)
            self.services.apply(list(members), self._service_environment())
        self._wait_etcd(timeout_s=60)
        self.etcd_users.grant(self.etcd_endpoints[0], names)

    @property
    def _router(self) -> Bird:
        return Bird(self.run / "router")

    def _write_routing(self) -> None:
        """Have each host tell the router which VMs it has."""
        self._router.write_router(self.network.pool, self.network.hosts)
        for host in self.hosts:
            host.bird.write_host(host.number, self.network.router_address)

    def _write_settings(self, file: Path, own: dict[str, dict[str, str]]) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict(
            {
                "etcd": {"endpoints": ",".join(self.etcd_endpoints)},
                "network": {"prefix_pool": self.network.pool},
                "storage": self._storage_settings,
                "image": {"upload_directory": str(self.data / "www"), "work_directory": str(self._work_directory)},
                **own,
            }
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8") as output:
            parser.write(output)

    def _service_environment(self) -> dict[str, str]:
        mark = f"{self.name}-{self.identity}"
        # What a killed daemon leaves in the folder for temporary files goes with the cloud.
        return {_MARK: mark, "PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", "TMPDIR": str(self._temporary_directory)}

    def _programs(self) -> list[Program]:
        control = {"UCLOUD_CONFIG": str(self._control_settings_file)}
        address = self.network.control_address
        api = Program("ucloud-api", [str(SCRIPTS / "ucloud-api")], control, f"{self.url}/healthz")
        daemons = [
            api,
            programs.daemon("ucloud-image", control, address),
            programs.daemon("ucloud-image-sftp", control, address),
            programs.daemon("ucloud-otp", control, address),
            *(programs.scheduler(number, control, address) for number in range(1, self.shape.schedulers + 1)),
            *(program for host in self.hosts for program in programs.of_host(host)),
        ]
        router = [Program("bird@router", self.network.in_router(*self._router.command))] if self.shape.networks else []
        return [
            *router,
            *programs.etcd_members(self._etcd_members(), token=self.identity),
            *(Program(name, command) for name, command in (self.ceph.daemons() if self.shape.ceph else {}).items()),
            *(self._with_certificate(program) for program in daemons),
        ]

    def _with_certificate(self, program: Program) -> Program:
        user = self.etcd_users.user_of(program.name) if self.shape.secure_etcd else ""
        certificate = self.etcd_users.environment(user) if user else {}
        return replace(program, environment={**program.environment, **certificate})

    def _health_urls(self) -> dict[str, str]:
        return {program.name: program.health_url for program in self._programs() if program.health_url}
