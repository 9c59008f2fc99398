"""A host as a plan sees it: takes the steps of a plan as the kernel would, and damage as an admin would do it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Interface, IPv6Network

from common.local_ports import LocalNetwork, LocalPort
from common.schemas.network import GATEWAY_MAC, NetworkRequest
from common.schemas.port import Port, eui64
from ucloud_net import plan
from ucloud_net.plan import Action, Observed
from ucloud_net.shape import LINK_LOCAL, PREFIX_METRIC, Gate, Interface, Link, Route, Tunnel, Underlay, alias_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BASE = IPv6Address("ff05::")
LOCAL = IPv6Address("fd00:cafe::1")
UNDERLAY = Underlay("eth0", 2, 1500, (LOCAL,))
NETWORK = NetworkRequest.model_validate(
    {"uuid": "n", "owner": "ann", "name": "n", "vni": 5, "prefix": "fd00:5::/64", "created_at": NOW}
)
BRIDGE, VXLAN = NETWORK.bridge, NETWORK.vxlan
ALIAS = alias_of("n")
TUNNEL = Tunnel(5, 2, LOCAL, BASE + 5, 4789)


def make_port(number: int = 1, prefixes: tuple[str, ...] = ()) -> Port:
    """A port of the network."""
    name = f"{number:010x}"
    nets = tuple(IPv6Network(prefix) for prefix in prefixes)
    return Port(id=name, network="n", ipv6=eui64(NETWORK.prefix, name), prefixes=nets)


def make_request(*ports: Port) -> LocalNetwork:
    """VMs on the network, one for each port."""
    return LocalNetwork(uuid="n", ports=tuple(LocalPort(port=port, vm=f"vm-{port.id}", name="v") for port in ports))


def make_tap(port: Port, *, plugged: bool = False) -> Link:
    """The tap of a port, as libvirt makes it."""
    return Link(port.tap, "tun", 1430, "fe:00:00:00:00:01", master=BRIDGE if plugged else "", is_tame=plugged)


@dataclass
class Machine:
    """What there is. `observe` is what a driver would see of it."""

    network: NetworkRequest = NETWORK
    underlay: Underlay = UNDERLAY
    is_host_ready: bool = False
    forwards: bool = False
    links: dict[str, Link] = field(default_factory=dict)
    addresses: set[Interface] = field(default_factory=set)
    routes: set[Route] = field(default_factory=set)
    own_routes: set[Route] = field(default_factory=set)
    peers: set[IPv6Address] = field(default_factory=set)
    gate: Gate = Gate.SHUT
    endpoint: IPv6Address | None = None
    endpoints: frozenset[IPv6Address] | None = None

    def observe(self) -> Observed:
        """As the driver does."""
        return Observed(
            network=self.network,
            underlay=self.underlay,
            is_host_ready=self.is_host_ready,
            forwards=self.forwards,
            links=dict(self.links),
            addresses=frozenset(self.addresses),
            routes=frozenset(self.routes),
            own_routes=frozenset(self.own_routes),
            peers=frozenset(self.peers),
            gate=self.gate,
            endpoint=self.endpoint,
            endpoints=self.endpoints,
        )

    def apply(self, action: Action) -> None:  # noqa: C901, PLR0912 - one line for each kind of step
        """As the kernel does."""
        match action:
            case plan.PrepareHost():
                self.is_host_ready = True
            case plan.Forward():
                self.forwards = True
            case plan.SetGate(_, gate):
                self.gate = gate
            case plan.RemoveLink(name, alias):
                if name in self.links and self.links[name].alias == alias:
                    self.remove_link(name)
            case plan.MakeBridge(name, alias, mtu):
                self.links[name] = Link(name, "bridge", mtu, GATEWAY_MAC, alias)
            case plan.MakeVxlan(name, alias, mtu, master, tunnel):
                assert master in self.links
                if name not in self.links and tunnel.group:
                    self.peers = {tunnel.group}
                mac = self.links[name].mac if name in self.links else "02:00:00:00:00:02"
                self.links[name] = Link(name, "vxlan", mtu, mac, alias, master, tunnel=tunnel)
            case plan.Plug(tap, master, mtu):
                assert master in self.links
                self.links[tap] = replace(self.links[tap], master=master, mtu=mtu, is_up=True, is_tame=True)
            case plan.AddAddress(bridge, address):
                assert self.links[bridge].is_up
                self.addresses.add(address)
                if address.is_link_local and isinstance(address, IPv6Interface):
                    self.routes.add(Route(LINK_LOCAL, PREFIX_METRIC))
            case plan.RemoveAddress(_, address):
                self.addresses.discard(address)
            case plan.AddRoute(bridge, route):
                assert self.links[bridge].is_up
                if route not in self.routes:
                    self.routes.add(route)
                    self.own_routes.add(route)
            case plan.RemoveRoute(_, route):
                self.routes.discard(route)
                self.own_routes.discard(route)
            case plan.AddPeer(vxlan, peer, _):
                assert vxlan in self.links
                self.peers.add(peer)
            case plan.RemovePeer(_, peer, _):
                self.peers.discard(peer)
            case plan.Announce(address):
                self.endpoint = address
            case plan.Withdraw():
                self.endpoint = None

    # --- damage -------------------------------------------------------------------------------------------------------

    def remove_link(self, name: str) -> None:
        """A link goes, with what was on it."""
        self.links.pop(name, None)
        if name == BRIDGE:
            self._empty()
            self.links = {other: replace(link, master="") for other, link in self.links.items()}
        if name == VXLAN:
            self.peers.clear()

    def shut_down(self, name: str) -> None:
        """A link is down; a bridge loses its IPv6 addresses and routes by that."""
        self._change(name, lambda link: replace(link, is_up=False))
        if name == BRIDGE:
            self._empty()

    def take_out(self, name: str) -> None:
        """A link is in no bridge any more."""
        self._change(name, lambda link: replace(link, master=""))

    def resize(self, name: str) -> None:
        """A link has another MTU."""
        self._change(name, lambda link: replace(link, mtu=1300))

    def turn_wild(self, name: str) -> None:
        """Parameters of a link are not what they were."""
        self._change(name, lambda link: replace(link, is_tame=False))

    def rewire(self) -> None:
        """Somebody made the VXLAN link anew, and otherwise."""
        wrong = replace(TUNNEL, port=8472)
        self._change(VXLAN, lambda link: replace(link, tunnel=wrong, alias=""))

    def lose_addresses(self) -> None:
        """The bridge's addresses are flushed."""
        self.addresses.clear()
        self.routes.discard(Route(LINK_LOCAL, PREFIX_METRIC))

    def lose_routes(self) -> None:
        """Routes into the bridge are flushed."""
        self.routes.clear()
        self.own_routes.clear()

    def add_strangers(self) -> None:
        """An address, a route of this daemon's that is none any more, and somewhere to flood to."""
        if BRIDGE in self.links:
            self.addresses.add(IPv6Interface("fd00:6::1/64"))
            stale = Route(IPv6Network("fd00:5::99/128"), 70000)
            self.routes.add(stale)
            self.own_routes.add(stale)
        if VXLAN in self.links:
            self.peers.add(IPv6Address("fd00:cafe::99"))

    def lose_peers(self) -> None:
        """`bridge fdb flush`."""
        self.peers.clear()

    def lose_host(self) -> None:
        """`nft flush ruleset`, and forwarding turned off."""
        self.is_host_ready = self.forwards = False
        self.gate = Gate.SHUT

    def _empty(self) -> None:
        self.addresses.clear()
        self.lose_routes()

    def _change(self, name: str, change: Callable[[Link], Link]) -> None:
        if name in self.links:
            self.links[name] = change(self.links[name])
