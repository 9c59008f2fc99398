"""Decides what to do about a network on this host. Pure: no I/O, no clock, no randomness.

All that is missing is named at once; who is told to make a thing finds out in which state it is. A repair changes no
status, so that it needs no etcd.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Address

from common.decision import Decision, Failure
from common.local_ports import LocalNetwork
from common.schemas.network import GATEWAY_MAC, MIN_MTU, VXLAN_OVERHEAD, NetworkActual, NetworkRequest, NetworkStatus
from ucloud_net.shape import (
    Gate,
    Interface,
    Link,
    Route,
    Tunnel,
    Underlay,
    addresses,
    alias_of,
    links_of,
    routes,
    vni_of,
)

_MAX_MTU = 9000
_RETRY_S = 10.0


@dataclass(frozen=True)
class Observed:
    """What there is of a network here."""

    problem: str = ""
    """Why nobody can say what it should be like now."""
    network: NetworkRequest | None = None
    underlay: Underlay | None = None
    is_host_ready: bool = True
    forwards: bool = True
    """Whether the kernel forwards IPv6 packets at all."""
    links: Mapping[str, Link] = field(default_factory=dict)
    """By name: the bridge, the VXLAN link, and the taps of its ports and in its bridge."""
    addresses: frozenset[Interface] = frozenset()
    """Of the bridge."""
    routes: frozenset[Route] = frozenset()
    """All into the bridge, whoever made them."""
    own_routes: frozenset[Route] = frozenset()
    """Of these, those that this daemon made."""
    peers: frozenset[IPv6Address] = frozenset()
    """Where the VXLAN link sends what is for everybody."""
    gate: Gate = Gate.SHUT
    endpoint: IPv6Address | None = None
    """What is told to other hosts, where they must be told."""
    endpoints: frozenset[IPv6Address] | None = None
    """What the other hosts tell; None: not known yet."""


@dataclass(frozen=True)
class PrepareHost:
    """Make what all networks need: kernel parameters, rules of routing, and the gateways' own filter."""


@dataclass(frozen=True)
class Forward:
    """Have the kernel forward IPv6 packets."""


@dataclass(frozen=True)
class SetGate:
    """Say what may be forwarded from and to a bridge."""

    bridge: str
    gate: Gate


@dataclass(frozen=True)
class RemoveLink:
    """Remove a link of ours that bears `alias`."""

    name: str
    alias: str


@dataclass(frozen=True)
class MakeBridge:
    """Make the bridge, or put it right."""

    name: str
    alias: str
    mtu: int


@dataclass(frozen=True)
class MakeVxlan:
    """Make the VXLAN link in the bridge `master`, or put it right."""

    name: str
    alias: str
    mtu: int
    master: str
    tunnel: Tunnel


@dataclass(frozen=True)
class Plug:
    """Put a tap into its bridge, and have it up."""

    tap: str
    master: str
    mtu: int


@dataclass(frozen=True)
class AddAddress:
    """Give the bridge an address."""

    bridge: str
    address: Interface


@dataclass(frozen=True)
class RemoveAddress:
    """Take an address from the bridge."""

    bridge: str
    address: Interface


@dataclass(frozen=True)
class AddRoute:
    """Route into the bridge."""

    bridge: str
    route: Route


@dataclass(frozen=True)
class RemoveRoute:
    """Do not route into the bridge any more."""

    bridge: str
    route: Route


@dataclass(frozen=True)
class AddPeer:
    """Send what is for everybody there, too."""

    vxlan: str
    peer: IPv6Address
    underlay: int


@dataclass(frozen=True)
class RemovePeer:
    """Send it there no more."""

    vxlan: str
    peer: IPv6Address
    underlay: int


@dataclass(frozen=True)
class Announce:
    """Tell the other hosts where this one takes the network's packets."""

    address: IPv6Address


@dataclass(frozen=True)
class Withdraw:
    """Tell them that it takes none any more."""


Action = (
    PrepareHost | Forward | SetGate | RemoveLink | MakeBridge | MakeVxlan | Plug | AddAddress | RemoveAddress
    | AddRoute | RemoveRoute | AddPeer | RemovePeer | Announce | Withdraw
)  # fmt: skip
NetworkDecision = Decision[NetworkStatus, Action]


@dataclass(frozen=True)
class _Wish:
    """What a network should be like here."""

    network: NetworkRequest
    alias: str
    mtu: int
    tunnel: Tunnel
    addresses: frozenset[Interface]
    routes: frozenset[Route]
    peers: frozenset[IPv6Address] | None
    """None: not known, so they stay as they are."""
    taps: tuple[str, ...]
    gate: Gate


class Planner:
    """See common.controller.Plan."""

    def __init__(self, multicast_base: IPv6Address | None, port: int) -> None:
        """Without a base, frames are flooded by unicast. `port` is VXLAN's."""
        self._multicast_base = multicast_base
        self._port = port

    def __call__(
        self,
        request: LocalNetwork | None,
        observed: Observed,
        previous: NetworkStatus | None,
        failure: Failure | None,
        now: datetime,
    ) -> NetworkDecision:
        """See common.controller.Plan."""
        if request is None:
            return _remove(observed, previous, failure, now)
        wish = self._wish(request, observed)
        if isinstance(wish, str):
            return Decision(_status(NetworkActual.ERROR, previous, now, wish), again_in_s=_RETRY_S)
        actions = (
            *_host(wish, observed),
            *_links(wish, observed),
            *_bridge(wish, observed),
            *self._flood(wish, observed),
        )
        actual = NetworkActual.ACTIVE
        if failure and actions:
            actual = NetworkActual.ERROR
        elif actions and not (previous and previous.actual is NetworkActual.ACTIVE):
            actual = NetworkActual.BUILDING
        reason = failure.reason if failure and actions else ""
        status = _status(actual, previous, now, reason, wish.mtu, wish.tunnel.local)
        return Decision(status, actions, is_repair=bool(previous and actions))

    def _wish(self, request: LocalNetwork, observed: Observed) -> _Wish | str:
        """What the network should be like, or why that can't be."""
        network, underlay = observed.network, observed.underlay
        if observed.problem or network is None or underlay is None:
            return observed.problem or "its network or the underlay is not known"
        room = min(underlay.mtu - VXLAN_OVERHEAD, _MAX_MTU)
        mtu = network.mtu or room
        if room < max(mtu, MIN_MTU):
            least = max(mtu, MIN_MTU) + VXLAN_OVERHEAD
            return f"underlay {underlay.name}: an MTU of {least} is needed, it has {underlay.mtu}"
        _, vxlan = links_of(network.vni)
        before = observed.links[vxlan].tunnel if vxlan in observed.links else None
        # An address that will do stays, whichever others come.
        local = before.local if before and before.local in underlay.addresses else underlay.addresses[0]
        group = self._multicast_base + network.vni if self._multicast_base else None
        # The hosts' routes are told to routers. One that lost a guest must not go on to claim it, whatever it is told.
        guests = [each.port for each in request.ports if each.port.tap in observed.links and not each.is_arriving]
        return _Wish(
            network=network,
            alias=alias_of(network.uuid),
            mtu=mtu,
            tunnel=Tunnel(network.vni, underlay.index, local, group, self._port),
            addresses=addresses(network),
            routes=routes(network, guests),
            peers=frozenset({group}) if group else _others(observed.endpoints, local),
            taps=tuple(local.port.tap for local in request.ports),
            gate=Gate.WITHIN if network.isolated else Gate.OPEN,
        )

    def _flood(self, wish: _Wish, observed: Observed) -> tuple[Action, ...]:
        """Where what is for everybody goes; and that the others send it here."""
        _, vxlan = links_of(wish.network.vni)
        actions: list[Action] = []
        if wish.peers is not None:
            there = observed.peers if _is_right_tunnel(wish, observed.links.get(vxlan)) else frozenset()
            missing = sorted(wish.peers - there)
            actions += [AddPeer(vxlan, peer, wish.tunnel.underlay) for peer in missing]
            actions += [RemovePeer(vxlan, peer, wish.tunnel.underlay) for peer in sorted(there - wish.peers)]
        if self._multicast_base is None and observed.endpoint != wish.tunnel.local:
            actions.append(Announce(wish.tunnel.local))
        return tuple(actions)


def _others(endpoints: frozenset[IPv6Address] | None, local: IPv6Address) -> frozenset[IPv6Address] | None:
    return None if endpoints is None else endpoints - {local}


def _host(wish: _Wish, observed: Observed) -> list[Action]:
    """What comes first: no bridge is up before it is said what may pass it."""
    bridge, _ = links_of(wish.network.vni)
    actions: list[Action] = [] if observed.is_host_ready else [PrepareHost()]
    if observed.gate is not wish.gate:
        actions.append(SetGate(bridge, wish.gate))
    if wish.gate is Gate.OPEN and not observed.forwards:
        actions.append(Forward())
    return actions


def _links(wish: _Wish, observed: Observed) -> list[Action]:
    bridge, vxlan = links_of(wish.network.vni)
    actions: list[Action] = []
    there = observed.links.get(bridge)
    if there and (there.kind != "bridge" or there.alias not in ("", wish.alias)):
        actions.append(RemoveLink(bridge, there.alias))
        there = None
    if there != Link(bridge, "bridge", wish.mtu, GATEWAY_MAC, wish.alias):
        actions.append(MakeBridge(bridge, wish.alias, wish.mtu))
    through = observed.links.get(vxlan)
    if through and not (_is_right_tunnel(wish, through) and through.alias in ("", wish.alias)):
        actions.append(RemoveLink(vxlan, through.alias))
        through = None
    right = Link(vxlan, "vxlan", wish.mtu, through.mac if through else "", wish.alias, bridge, tunnel=wish.tunnel)
    if through != right:
        actions.append(MakeVxlan(vxlan, wish.alias, wish.mtu, bridge, wish.tunnel))
    for tap in wish.taps:
        plugged = observed.links.get(tap)
        if plugged and not _is_plugged(plugged, bridge, wish.mtu):
            actions.append(Plug(tap, bridge, wish.mtu))
    return actions


def _is_right_tunnel(wish: _Wish, link: Link | None) -> bool:
    return link is not None and link.kind == "vxlan" and link.tunnel == wish.tunnel


def _is_plugged(tap: Link, bridge: str, mtu: int) -> bool:
    return (tap.master, tap.mtu, tap.is_up, tap.is_tame) == (bridge, mtu, True, True)


def _bridge(wish: _Wish, observed: Observed) -> list[Action]:
    """Addresses and routes of the bridge. One that is made anew, or was down, has none."""
    bridge, _ = links_of(wish.network.vni)
    actions: list[Action] = []
    actions += [RemoveAddress(bridge, each) for each in sorted(observed.addresses - wish.addresses, key=str)]
    actions += [AddAddress(bridge, each) for each in sorted(wish.addresses - observed.addresses, key=str)]
    actions += [RemoveRoute(bridge, each) for each in sorted(observed.own_routes - wish.routes, key=str)]
    actions += [AddRoute(bridge, each) for each in sorted(wish.routes - observed.routes, key=str)]
    return actions


def _remove(
    observed: Observed, previous: NetworkStatus | None, failure: Failure | None, now: datetime
) -> NetworkDecision:
    """No VM here is on the network. Its links stay as long as a guest is plugged in that nobody orders any more."""
    ours = {name: link for name, link in observed.links.items() if not name.startswith("tap")}
    if observed.problem or any(link.master in ours for name, link in observed.links.items() if name not in ours):
        return Decision(previous)
    actions: list[Action] = [Withdraw()] if observed.endpoint else []
    if observed.gate is not Gate.SHUT:
        actions += [SetGate(name, Gate.SHUT) for name in sorted(ours) if name == links_of(vni_of(name))[0]]
    # The VXLAN link first: what is left is a bridge that nobody is on.
    actions += [RemoveLink(name, link.alias) for name, link in sorted(ours.items(), reverse=True)]
    if not actions:
        return Decision(None)
    if failure and previous:
        return Decision(_status(NetworkActual.ERROR, previous, now, failure.reason), tuple(actions))
    return Decision(previous, tuple(actions))


def _status(
    actual: NetworkActual,
    previous: NetworkStatus | None,
    now: datetime,
    reason: str = "",
    mtu: int = 0,
    endpoint: IPv6Address | None = None,
) -> NetworkStatus:
    since = previous.since if previous and previous.actual is actual else now
    return NetworkStatus(actual=actual, reason=reason, since=since, mtu=mtu, endpoint=endpoint)
