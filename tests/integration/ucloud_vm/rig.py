"""One VM host with a real libvirtd, and ucloud-vm on it; the scheduler is the test, which writes placements by hand."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import requests
import websocket

from common import keys
from common.schemas.network import DNS_V6, GATEWAY, GATEWAY_MAC, METADATA_V6, NetworkRequest
from common.schemas.port import Port
from common.schemas.snapshot import Rollback, Snapshot
from common.schemas.vm import Actual, Event, Placement, Requested, Specs, VmRequest, VmStatus
from common.settings import StorageSettings
from common.storage.directory import DirectoryStore
from common.store import Delete, Put, Store, present, unchanged
from devcloud import processes
from devcloud.errors import DeadlineExceeded
from devcloud.host import VmHost
from devcloud.waiting import wait_for

IMAGE = "00000000-0000-4000-8000-00000000001a"
BLANK = "00000000-0000-4000-8000-00000000001b"
"""An image without a system: what is made from it starts in no time, and answers no power button."""

SPECS = Specs.of(cpu=1, ram_mib=96, ssd_mib=256)
BOOT_S = 90
_PORT = 9703
_BOOT_ID = re.compile(r"boot-id ([0-9a-f-]{36})")


class Rig:
    """The host, its programs, and what a test asks of them."""

    def __init__(
        self, host: VmHost, store: Store, endpoints: tuple[str, ...], store_directory: Path | None = None
    ) -> None:
        """`store_directory` is that of another host if they share one."""
        self.host = host
        self.store = store
        self.url = f"http://[{host.address}]:{_PORT}"
        self.store_directory = store_directory or host.data / "store"
        self.images = DirectoryStore(StorageSettings(ssd_directory=self.store_directory))
        self.libvirt_uri = f"qemu+unix:///system?socket={host.run}/libvirt/libvirt-sock"
        self.test_uri = f"test+unix:///default?socket={host.run}/libvirt/libvirt-sock"
        self._environment = {
            **os.environ,
            "UCLOUD_ETCD_ENDPOINTS": ",".join(endpoints),
            "UCLOUD_HEALTH_ADDRESS": host.address,
            "UCLOUD_HEALTH_PORT": str(_PORT),
            "UCLOUD_HOST_NAME": host.name,
            "UCLOUD_STORAGE_SSD_DIRECTORY": str(self.store_directory),
            "UCLOUD_STORAGE_HDD_DIRECTORY": str(host.data / "hdd"),
            "UCLOUD_VM_LIBVIRT_URI": self.libvirt_uri,
            "UCLOUD_VM_RUN_DIRECTORY": str(host.run / "vm"),
            "UCLOUD_VM_LOG_DIRECTORY": str(host.data / "log"),
            "UCLOUD_VM_STATE_DIRECTORY": str(host.data / "state"),
            "UCLOUD_VM_STOP_TIMEOUT_S": "20",
            "UCLOUD_VM_MIGRATION_URI": host.migration_uri,
            # There is no sign of life here, and so no touch with the cloud that could be lost.
            "UCLOUD_FENCE_METHODS": "manual",
        }
        self._programs: dict[str, subprocess.Popen[bytes]] = {}

    # --- programs -----------------------------------------------------------------------------------------------------

    def start(self, program: str, **settings: str) -> None:
        """Start "libvirtd" or "ucloud-vm", the latter with UCLOUD_* `settings`; returns when it is well."""
        self.begin(program, **settings)
        if program == "libvirtd":
            wait_for("libvirtd", (self.host.run / "libvirt/libvirt-sock").exists, 30)
        else:
            wait_for("ucloud-vm well", self.is_well, 30)

    def begin(self, program: str, **settings: str) -> None:
        """Start a program that may not be well at once."""
        command = self.host.libvirtd() if program == "libvirtd" else self._ucloud_vm()
        environment = {**self._environment, **settings}
        with self.log_file(program).open("ab") as log:
            self._programs[program] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def runs(self, program: str) -> bool:
        """Whether a program was started and has not ended."""
        return program in self._programs and self._programs[program].poll() is None

    def restart(self, program: str, **settings: str) -> None:
        """Kill a program and start it anew."""
        self.kill(program)
        self.start(program, **settings)

    def try_start(self) -> tuple[int, str]:
        """Run a second ucloud-vm, which should end by itself: its exit status and what it says."""
        done = subprocess.run(
            self._ucloud_vm(),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.returncode, done.stderr

    def _ucloud_vm(self) -> list[str]:
        return self.host.enter(sys.executable, "-m", "ucloud_vm")

    def kill(self, program: str, number: signal.Signals = signal.SIGKILL) -> int:
        """End a program; returns its exit status."""
        process = self._programs.pop(program)
        process.send_signal(number)
        status = process.wait(30)
        if program == "libvirtd":
            (self.host.run / "libvirt/libvirt-sock").unlink(missing_ok=True)
        return status

    def end(self) -> None:
        """End everything, guests included."""
        for program in list(self._programs):
            self.kill(program)
        processes.end(self.host.network.host_pids(self.host.name), grace_s=1)

    def log_file(self, program: str) -> Path:
        """Where a program logs."""
        return self.host.data / f"{program}.log"

    def wait_health(self, problem: str) -> None:
        """Wait until ucloud-vm names a problem."""

        def look() -> bool:
            try:
                return problem in requests.get(f"{self.url}/healthz", timeout=2).text
            except requests.RequestException:
                return False

        wait_for(f"{problem!r} in /healthz", look, 30)

    def is_well(self) -> bool:
        """Whether ucloud-vm says that it is well."""
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    # --- orders -------------------------------------------------------------------------------------------------------

    def order(
        self,
        vm_uuid: str,
        requested: Requested,
        generation: int,
        image: str = IMAGE,
        epoch: int = 1,
        specs: Specs = SPECS,
        *,
        force: bool = False,
        reboots: int = 0,
        ha: bool = True,
        ports: tuple[Port, ...] = (),
        snapshots: tuple[Snapshot, ...] = (),
        rollback: Rollback | None = None,
    ) -> None:
        """Write a placement as the scheduler does."""
        now = datetime.now(UTC)
        request = VmRequest(
            uuid=vm_uuid,
            owner="admin",
            name="test",
            specs=specs,
            image=image,
            requested=requested,
            force=force,
            reboots=reboots,
            ha=ha,
            generation=generation,
            created_at=now,
            ports=ports,
            snapshots=snapshots,
            rollback=rollback,
        )
        placement = Placement(epoch=epoch, generation=generation, request=request, placed_at=now)
        self.put(keys.placement(self.host.name, vm_uuid), placement.to_json())

    def put(self, key: str, value: bytes) -> None:
        """Write a key, whatever it was."""
        entry = self.store.get(key)
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, value)])

    def withdraw(self, vm_uuid: str) -> None:
        """Remove a placement."""
        self.remove(keys.placement(self.host.name, vm_uuid))

    def status(self, vm_uuid: str) -> VmStatus | None:
        """The status that ucloud-vm reports."""
        key = keys.vm_status(self.host.name, vm_uuid)
        entry = self.store.get(key)
        return VmStatus.read(key, entry.value) if entry else None

    def wait_status(
        self, vm_uuid: str, actual: Actual, generation: int, reason: str = "", timeout_s: float = 60
    ) -> VmStatus:
        """Wait for a status that answers a generation."""

        def look() -> VmStatus | None:
            status = self.status(vm_uuid)
            is_it = status and (status.actual, status.generation) == (actual, generation) and reason in status.reason
            return status if is_it else None

        try:
            return wait_for(f"{actual} of generation {generation}", look, timeout_s)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{error}, but {self.status(vm_uuid)}") from None

    def remove(self, key: str) -> None:
        """Remove a key."""
        self.store.commit([present(key)], [Delete(key)])

    def wait_event(self, vm_uuid: str, what: str, after: datetime | None = None) -> Event:
        """Wait until something is told of the VM that happened after a time."""

        def look() -> Event | None:
            status = self.status(vm_uuid)
            events = status.events if status else ()
            return next((event for event in events if event.what == what and (after is None or event.at > after)), None)

        return wait_for(f"event {what}", look, 30)

    def delete(self, vm_uuid: str, generation: int) -> None:
        """Have a VM deleted, as the scheduler does; nothing of it is left."""
        self.order(vm_uuid, Requested.DELETED, generation)
        self.wait_status(vm_uuid, Actual.DELETED, generation)
        assert self.files(vm_uuid) == []
        assert self.qemu_pids(vm_uuid) == set()
        assert vm_uuid not in self.domains()
        self.withdraw(vm_uuid)
        self.wait_gone("status", lambda: self.status(vm_uuid))

    def consoles(self, vm_uuid: str) -> tuple[str, dict[str, str]]:
        """Where the consoles of a VM are, and the header that opens them."""
        status = self.status(vm_uuid)
        assert status is not None
        assert status.console is not None
        return status.console.url, {"Authorization": f"Bearer {status.console.token}"}

    def console(self, vm_uuid: str) -> websocket.WebSocket:
        """A session at the console of a VM."""
        url, headers = self.consoles(vm_uuid)
        return websocket.create_connection(
            f"{url.replace('http', 'ws', 1)}/console", header=headers, timeout=20, http_no_proxy=["*"]
        )

    def figure(self, sample: str) -> float:
        """What ucloud-vm tells Prometheus of a sample, which is named as there, labels included."""
        text = requests.get(f"{self.url}/metrics", timeout=20).text
        values = [line.split()[-1] for line in text.splitlines() if line.startswith(f"{sample} ")]
        return float(values[0]) if values else 0.0

    # --- the world ----------------------------------------------------------------------------------------------------

    def new_vm(self) -> str:
        """A fresh uuid."""
        return str(uuid.uuid4())

    def serial_log(self, vm_uuid: str) -> Path:
        """Where the guest's console is logged."""
        return self.host.data / "log" / f"{vm_uuid}.log"

    def boot_ids(self, vm_uuid: str) -> list[str]:
        """The id of each boot that the guest reported."""
        log = self.serial_log(vm_uuid)
        return _BOOT_ID.findall(log.read_text(errors="replace")) if log.exists() else []

    def wait_booted(self, vm_uuid: str, boots: int = 1) -> list[str]:
        """Wait until the guest has booted for the `boots`th time, and answers its power button."""
        log = self.serial_log(vm_uuid)
        wait_for(
            "a login prompt", lambda: log.exists() and log.read_text(errors="replace").count("login:") >= boots, BOOT_S
        )
        return self.boot_ids(vm_uuid)

    def type(self, vm_uuid: str, *lines: str) -> None:
        """Type lines at the guest's serial console."""
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(self.host.run / "vm" / vm_uuid / "serial.sock"))
            console.settimeout(1)
            for line in lines:
                console.sendall(line.encode() + b"\n")
                self._read_until_silent(console)

    def _read_until_silent(self, console: socket.socket) -> None:
        try:
            while console.recv(4096):
                pass
        except TimeoutError:
            return

    def qemu_pids(self, vm_uuid: str) -> set[int]:
        """The processes that run the guest."""
        pids = self.host.network.host_pids(self.host.name)
        return {pid for pid in pids if processes.is_alive(pid) and _runs(pid, vm_uuid)}

    def domains(self) -> list[str]:
        """The uuids of all domains that libvirt knows."""
        return self.virsh("list", "--all", "--uuid").split()

    def virsh(self, *arguments: str, uri: str = "") -> str:
        """What virsh says on the host."""
        command = ["virsh", "-q", "-c", uri or self.libvirt_uri, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def files(self, vm_uuid: str) -> list[Path]:
        """Every file and folder that is named for the VM."""
        folders = (self.store_directory, self.host.data / "hdd", self.host.run / "vm", self.host.data / "log")
        return [path for folder in folders for path in folder.rglob("*") if vm_uuid in str(path)]

    def listening(self, pid: int) -> list[str]:
        """The TCP and UDP sockets on which a process listens."""
        lines = self.inside("ss", "-Hlntup").splitlines()
        return [line for line in lines if f"pid={pid}," in line]

    def add_network(self, network: NetworkRequest) -> None:
        """Have a network in etcd, without a bridge anywhere."""
        self.put(keys.network(network.uuid), network.to_json())

    def add_bridge(self, network: NetworkRequest, mtu: int) -> None:
        """Make the bridge of a network as ucloud-net does: it is up when all else is done."""
        bridge = network.bridge
        self.ip(f"link add {bridge} address {GATEWAY_MAC} mtu {mtu} type bridge mcast_snooping 0")
        self.inside("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{bridge}/addr_gen_mode")
        for address in (f"{GATEWAY}/64", f"{METADATA_V6}/128", f"{DNS_V6}/128"):
            self.ip(f"address add {address} dev {bridge} nodad")
        self.ip(f"link set {bridge} up")
        self.ip(f"route add {network.prefix} dev {bridge} metric {network.vni}")

    def links(self, start: str) -> dict[str, str]:
        """The links of the host whose names begin so, each with the whole line that ip tells of it."""
        lines = self.inside("ip", "-o", "link", "show").splitlines()
        found = {line.split()[1].rstrip(":").partition("@")[0]: line for line in lines}
        return {name: line for name, line in found.items() if name.startswith(start)}

    def ip(self, command: str) -> None:
        """Have ip do something on the host."""
        self.inside("ip", *command.split())

    def inside(self, *command: str) -> str:
        """What a command says in the host's network namespace."""
        namespace = self.host.network.namespace(self.host.name)
        return subprocess.run(
            ["ip", "netns", "exec", namespace, *command], check=True, capture_output=True, text=True
        ).stdout

    def pass_time(self, duration_s: float) -> None:
        """Let time pass, so that something is cut off at another point."""
        threading.Event().wait(duration_s)

    def wait_gone(self, what: str, look: Callable[[], object], timeout_s: float = 30) -> None:
        """Wait until `look` finds nothing."""
        wait_for(f"no {what}", lambda: not look(), timeout_s)


def _runs(pid: int, vm_uuid: str) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended since
        return False
    return b"qemu-system" in arguments and vm_uuid.encode() in arguments
