"""The network between the hosts of a cloud: a namespace per host, and one that is the switch and the router between.

This machine's own namespace gets one link, so that etcd and the API, which run there, and the hosts reach each other.
The addresses are a /48 of RFC 4193 (its 40 random bits are the cloud's id), so clouds on one machine can't meet.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcloud.errors import DevcloudError

_SWITCH = "switch"


@dataclass(frozen=True)
class Network:
    """The names and addresses of cloud `name`, whose `identity` is ten hexadecimal digits."""

    name: str
    identity: str

    @property
    def control_address(self) -> str:
        """This machine's own address in the cloud's network."""
        return f"{self._prefix}::ffff"

    @property
    def hosts(self) -> str:
        """The prefix that all of its machines are in."""
        return f"{self._prefix}::/64"

    @property
    def router_address(self) -> str:
        """The address of the switch, by which packets from this machine to VMs go."""
        return f"{self._prefix}::fffe"

    def host_address(self, number: int) -> str:
        """The address of host `number`, 1 and up."""
        return f"{self._prefix}::{number:x}"

    def namespace(self, who: str) -> str:
        """The name of a namespace of this cloud; no other cloud's begins alike, for names of clouds have no dot."""
        return f"ucloud.{self.name}.{who}"

    @property
    def pool(self) -> str:
        """What the prefixes of VMs' networks are taken from: a /40 of RFC 4193, another one than the hosts'."""
        digits = self.identity[::-1]
        return f"fd{digits[:2]}:{digits[2:6]}:{digits[6:8]}00::/40"

    @property
    def link(self) -> str:
        """The name of this machine's own link, at most 15 characters."""
        return f"uc-{self.identity}"

    @property
    def _prefix(self) -> str:
        digits = f"fd{self.identity}"
        return ":".join(digits[i : i + 4] for i in range(0, 12, 4))

    def create(self) -> None:
        """Make the switch and this machine's link to it, where they aren't there."""
        switch = self.namespace(_SWITCH)
        if switch in _namespaces():
            return
        _ip(f"netns add {switch}")
        # Packets on a bridge are no business of the machine's own firewall.
        _run_inside(switch, "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done")
        _run_inside(switch, "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        _ip(
            "link add bridge type bridge",
            f"address add {self.router_address}/64 dev bridge nodad",
            "link set bridge up",
            "link set lo up",
            namespace=switch,
        )
        _ip(f"link add {self.link} type veth peer name machine netns {switch}")
        _ip("link set machine master bridge", "link set machine up", namespace=switch)
        _ip(
            f"address add {self.control_address}/64 dev {self.link} nodad",
            f"link set {self.link} up",
        )
        # The router would say that the host of a VM is on this link, and this machine would hold on to that.
        Path(f"/proc/sys/net/ipv6/conf/{self.link}/accept_redirects").write_text("0", encoding="ascii")

    def in_router(self, *command: str) -> list[str]:
        """The command that runs `command` on the router."""
        return ["ip", "netns", "exec", self.namespace(_SWITCH), *command]

    def create_host(self, name: str, number: int) -> None:
        """Make the namespace of host `name` and plug it into the switch, where it isn't there."""
        namespace = self.namespace(name)
        if namespace in _namespaces():
            return
        _ip(f"netns add {namespace}")
        _ip(
            "link set lo up",
            f"link add eth0 type veth peer name {name} netns {self.namespace(_SWITCH)}",
            f"address add {self.host_address(number)}/64 dev eth0 nodad",
            "link set eth0 up",
            namespace=namespace,
        )
        _ip(f"link set {name} master bridge", f"link set {name} up", namespace=self.namespace(_SWITCH))

    def route_pool(self) -> None:
        """Have this machine's packets to VMs go to the router."""
        _ip(f"route replace {self.pool} via {self.router_address} dev {self.link}")

    def route(self, destination: str, number: int) -> None:
        """Have this machine's packets to a prefix, or an address, of VMs go to host `number`."""
        _ip(f"route replace {destination} via {self.host_address(number)} dev {self.link}")

    def pids(self) -> set[int]:
        """The processes in the namespaces of this cloud."""
        return {int(pid) for namespace in self._mine() for pid in _output("netns", "pids", namespace).split()}

    def host_pids(self, name: str) -> set[int]:
        """The processes in the namespace of host `name`."""
        return {int(pid) for pid in _output("netns", "pids", self.namespace(name)).split()}

    def remove(self) -> None:
        """Remove the links and the namespaces; no process may be left in them."""
        if self.link in _output("-o", "link", "show", "type", "veth"):
            _ip(f"link delete {self.link}")
        for namespace in self._mine():
            _ip(f"netns delete {namespace}")

    def exists(self) -> bool:
        """Whether anything of the network is there."""
        return bool(self._mine())

    def _mine(self) -> list[str]:
        return [namespace for namespace in _namespaces() if namespace.startswith(self.namespace(""))]


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _output("netns", "list").splitlines()]


def _output(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _run_inside(namespace: str, script: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", script], check=True)


def _ip(*commands: str, namespace: str | None = None) -> None:
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(
        ["ip", *where, "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DevcloudError(f"ip {' '.join(where)} {'; '.join(commands)}: {done.stderr.strip()}")
