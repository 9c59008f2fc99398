"""An etcd cluster of one or three members on this machine, whose members can be killed, frozen and restarted."""

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import requests

from devcloud import processes
from devcloud.errors import DevcloudError
from devcloud.ports import free_port
from devcloud.waiting import wait_for

_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Member:
    """One member: where it keeps its data, where it listens, and, if it speaks TLS, the folder of its certificates."""

    name: str
    directory: Path
    address: str
    client_port: int
    peer_port: int
    pki: Path | None = None

    @property
    def endpoint(self) -> str:
        """Where clients reach it, as the setting etcd.endpoints takes it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.client_port}"

    @property
    def client_url(self) -> str:
        """The endpoint as a URL."""
        return f"{self._scheme}://{self.endpoint}"

    @property
    def peer_url(self) -> str:
        """Where the other members reach it."""
        return f"{self._scheme}://{self.endpoint.rpartition(':')[0]}:{self.peer_port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.pki else "http"

    def _ask(self, method: str, path: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # the machine's own idea of whom to trust does not count here
            if self.pki:
                session.verify = str(self.pki / "ca.pem")
                session.cert = (str(self.pki / "root.pem"), str(self.pki / "root.key"))
            return session.request(method, f"{self.client_url}{path}", json={} if method == "POST" else None, timeout=1)

    def is_healthy(self) -> bool:
        """Whether it answers, and knows a leader."""
        try:
            answer = self._ask("GET", "/health")
        except requests.RequestException:
            return False
        return answer.ok and answer.json().get("health") == "true"

    def leads(self) -> bool:
        """Whether it is the leader, in its own view."""
        try:
            status = self._ask("POST", "/v3/maintenance/status").json()
        except requests.RequestException:
            return False
        return "leader" in status and status["leader"] == status["header"].get("member_id")


def find_binary() -> Path:
    """The etcd that `tools/install` fetched, else the one on PATH."""
    fetched = _PROJECT / ".cache/etcd/usr/bin/etcd"
    found = fetched if fetched.exists() else shutil.which("etcd")
    if found is None:
        raise DevcloudError("there is no etcd here: make setup")
    return Path(found)


def command(binary: Path, member: Member, cluster: tuple[Member, ...], token: str) -> list[str]:
    """The command that runs `member` of the new `cluster`; quota and compaction as docs/admin-manual.md advises."""
    return [
        str(binary),
        f"--name={member.name}",
        f"--data-dir={member.directory}",
        f"--listen-client-urls={member.client_url}",
        f"--advertise-client-urls={member.client_url}",
        f"--listen-peer-urls={member.peer_url}",
        f"--initial-advertise-peer-urls={member.peer_url}",
        f"--initial-cluster={','.join(f'{other.name}={other.peer_url}' for other in cluster)}",
        f"--initial-cluster-token={token}",
        "--initial-cluster-state=new",
        "--quota-backend-bytes=8589934592",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--logger=zap",
        "--log-level=warn",
        *_tls(member),
    ]


def _tls(member: Member) -> list[str]:
    """Certificates for all: clients, whose common names are their users, and members."""
    if member.pki is None:
        return []
    files = {"cert-file": f"{member.name}.pem", "key-file": f"{member.name}.key", "trusted-ca-file": "ca.pem"}
    options = [f"--{who}{option}={member.pki / file}" for who in ("", "peer-") for option, file in files.items()]
    return [*options, "--client-cert-auth", "--peer-client-cert-auth"]


class EtcdCluster:
    """A cluster whose members are children of this process, and end with it; `pki`: see Member."""

    def __init__(
        self,
        directory: Path,
        members: int = 1,
        address: str = "::1",
        binary: Path | None = None,
        pki: Path | None = None,
    ) -> None:
        self.directory = directory
        ports = [free_port(address) for _ in range(2 * members)]
        self.members = tuple(
            Member(f"etcd{i}", directory / f"etcd{i}", address, ports[2 * i], ports[2 * i + 1], pki)
            for i in range(members)
        )
        self._binary = binary or find_binary()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where clients reach each member: "[::1]:2379"."""
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        """Start every member that does not run; returns when all are healthy."""
        for index in range(len(self.members)):
            self._start_member(index)
        self.wait_healthy()

    def stop(self) -> None:
        """End every member, frozen ones too; the data stays."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def pid(self, index: int) -> int:
        """The process id of a running member."""
        return self._processes[index].pid

    def kill(self, index: int) -> None:
        """End a member at once, as a crash does."""
        process = self._processes.pop(index)
        process.kill()
        process.wait()

    def pause(self, index: int) -> None:
        """Freeze a member: its connections stay open, and nothing answers."""
        processes.freeze(self.pid(index))

    def resume(self, index: int) -> None:
        """Let a frozen member go on."""
        processes.send([self.pid(index)], signal.SIGCONT)

    def restart(self, index: int) -> None:
        """Start a killed member, or kill and start a running one, with its data; returns when it is healthy."""
        if index in self._processes:
            self.kill(index)
        self._start_member(index)
        self.wait_healthy(index)

    def wait_healthy(self, *indices: int, timeout_s: float = 30.0) -> None:
        """Wait until the members named (all, when none is) are healthy."""
        for index in indices or range(len(self.members)):
            member = self.members[index]
            wait_for(f"{member.name} healthy, see {self._log(member)}", member.is_healthy, timeout_s)

    def leader(self, timeout_s: float = 30.0) -> int:
        """The index of the member that leads, waiting for an election if there is one."""

        def look() -> tuple[int] | None:
            return next(((i,) for i in self._processes if self.members[i].leads()), None)

        return wait_for("a leader of etcd", look, timeout_s)[0]

    def __enter__(self) -> "EtcdCluster":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _log(self, member: Member) -> Path:
        return self.directory / f"{member.name}.log"

    def _start_member(self, index: int) -> None:
        if index in self._processes:
            return
        member = self.members[index]
        self.directory.mkdir(parents=True, exist_ok=True)
        arguments = command(self._binary, member, self.members, token=str(self.directory))
        with self._log(member).open("ab") as log:
            # setpriv: a test run that is killed leaves no etcd behind.
            self._processes[index] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
