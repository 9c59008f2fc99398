"""The effects of ucloud_net: what a network is on this host, and one step to change it.

A network is known here by its uuid. Links that bear a name of ours but no uuid, as a daemon that was killed may leave
them, are known by their names, and are nobody's once no network that is in use here has their VNI.
"""

import logging
import threading
from collections.abc import Iterable
from ipaddress import IPv6Address

from common import keys
from common.errors import TemporaryError
from common.local_ports import LocalPorts, NetworkBook
from common.schemas.network import NetworkRequest
from ucloud_net import plan
from ucloud_net.endpoints import Endpoints
from ucloud_net.ground import Ground
from ucloud_net.kernel import Kernel
from ucloud_net.plan import Action, Observed
from ucloud_net.shape import Gate, Link, Underlay, is_ours, links_of, network_of, vni_of

_log = logging.getLogger(__name__)


class NetDriver:
    """See common.controller.Driver. `underlay` is the setting; without `endpoints`, frames are flooded by multicast."""

    def __init__(
        self,
        kernel: Kernel,
        ground: Ground,
        here: LocalPorts,
        book: NetworkBook,
        endpoints: Endpoints | None,
        underlay: str,
    ) -> None:
        self._kernel = kernel
        self._ground = ground
        self._here = here
        self._book = book
        self._endpoints = endpoints
        self._underlay_setting = underlay
        self._underlay_name = underlay
        self._lock = threading.Lock()
        self._of_vni: dict[int, str] = {}
        self._found: dict[str, set[str]] = {}
        """Links with a name that none of the wanted networks has, by what is written on them, at the last look."""

    # --- looking ------------------------------------------------------------------------------------------------------

    def observe(self, name: str) -> Observed:
        """See common.controller.Driver."""
        if self._here.networks.get(keys.network(name)) is None:
            return self._observe_unwanted(name)
        try:
            network = self._resolve(name)
            underlay = self._find_underlay()
        except TemporaryError as error:
            return Observed(problem=str(error))
        return self._observe_wanted(network, underlay)

    def known(self) -> Iterable[str]:
        """See common.controller.Driver."""
        self._ground.distrust()
        wanted = self._wanted()
        self._book.keep_only(wanted)
        with self._lock:
            kept = {vni: uuid for vni, uuid in self._of_vni.items() if uuid in wanted}
        found: dict[str, set[str]] = {}
        for link in self._kernel.our_links():
            # What is written on links of networks that are wanted, these themselves look at.
            if vni_of(link) not in kept:
                found.setdefault(network_of(self._kernel.alias(link)) or link, set()).add(link)
        with self._lock:
            kept = {vni: uuid for vni, uuid in self._of_vni.items() if uuid in wanted}
            self._of_vni = {**{vni_of(link): uuid for uuid, links in found.items() for link in links}, **kept}
            self._found = found
        return found

    def networks_of(self, link: str) -> Iterable[str]:
        """Which networks to look at when something of a link has changed."""
        if link in ("", self._underlay_name):
            return self._wanted()
        if port := self._here.ports.get(keys.port(link.removeprefix("tap"))):
            return {port.record.port.network}
        if not is_ours(link):
            # Nothing is known of the underlay yet: this may be it.
            return () if self._underlay_name else self._wanted()
        with self._lock:
            return {self._of_vni.get(vni_of(link), link)}

    def _wanted(self) -> set[str]:
        return {keys.last_part(key) for key in self._here.networks.records()}

    def _resolve(self, uuid: str) -> NetworkRequest:
        network = self._book.get(uuid)
        with self._lock:
            self._of_vni[network.vni] = uuid
        return network

    def _find_underlay(self) -> Underlay:
        found = self._kernel.underlay(self._underlay_setting)
        self._underlay_name = found.name
        return found

    def _observe_wanted(self, network: NetworkRequest, underlay: Underlay) -> Observed:
        bridge, vxlan = links_of(network.vni)
        cached = self._here.networks.get(keys.network(network.uuid))
        taps = [local.port.tap for local in cached.record.ports] if cached else []
        links = {name: link for name in (bridge, vxlan, *taps) if (link := self._kernel.link(name))}
        routes, own_routes = self._kernel.routes(bridge)
        return Observed(
            network=network,
            underlay=underlay,
            is_host_ready=self._ground.is_ready(),
            forwards=self._ground.forwards(),
            links=links,
            addresses=self._kernel.addresses(bridge),
            routes=routes,
            own_routes=own_routes,
            peers=self._kernel.peers(vxlan),
            gate=self._ground.gate(bridge),
            endpoint=self._endpoints.own(network.uuid) if self._endpoints else None,
            endpoints=self._endpoints.follow(network.uuid) if self._endpoints else None,
        )

    def _observe_unwanted(self, name: str) -> Observed:
        """What is left of a network, or a link that is no network's."""
        try:
            if is_ours(name) and self._is_wanted_link(name):
                return Observed()
        except TemporaryError as error:
            return Observed(problem=str(error))
        ours = {
            link.name: link for each in self._links_of(name) if (link := self._kernel.link(each)) and _is_of(name, link)
        }
        bridges = [each for each in ours if each == links_of(vni_of(each))[0]]
        members = [link for each in bridges for link in self._kernel.members(each)]
        guests = {link.name: link for link in members if link.name.startswith("tap")}
        gates = {self._ground.gate(bridge) for bridge in bridges} - {Gate.SHUT}
        endpoint = None
        if self._endpoints and not is_ours(name):
            self._endpoints.forget(name)
            endpoint = self._endpoints.own(name)
        return Observed(links={**ours, **guests}, gate=next(iter(gates), Gate.SHUT), endpoint=endpoint)

    def _links_of(self, name: str) -> Iterable[str]:
        """The links that a network, which is not wanted any more, may have; or the one that is nobody's."""
        if is_ours(name):
            return (name,)
        with self._lock:
            resolved = [link for vni, uuid in self._of_vni.items() if uuid == name for link in links_of(vni)]
            return {*resolved, *self._found.get(name, ())}

    def _is_wanted_link(self, link: str) -> bool:
        """Whether a network that is wanted here has this name for its link. TemporaryError when that can't be told."""
        return vni_of(link) in {self._resolve(uuid).vni for uuid in self._wanted()}

    # --- acting -------------------------------------------------------------------------------------------------------

    def apply(self, name: str, action: Action) -> None:
        """See common.controller.Driver."""
        match action:
            case plan.PrepareHost():
                self._ground.prepare()
            case plan.Forward():
                self._ground.forward(self._underlay_name)
            case plan.SetGate(bridge, gate):
                self._ground.set_gate(bridge, gate)
            case plan.Announce(address):
                self._announce(name, address)
            case plan.Withdraw():
                if self._endpoints:
                    self._endpoints.withdraw(name)
            case plan.RemoveLink() | plan.MakeBridge() | plan.MakeVxlan() | plan.Plug():
                self._change_link(action)
            case _:
                self._change_ways(action)

    def _announce(self, name: str, address: IPv6Address) -> None:
        # What was ordered when this was decided may be over.
        if self._endpoints and self._here.networks.get(keys.network(name)):
            self._endpoints.announce(name, address)

    def _change_link(self, action: Action) -> None:
        kernel = self._kernel
        match action:
            case plan.RemoveLink(link, alias):
                kernel.remove_link(link, alias)
            case plan.MakeBridge(link, alias, mtu):
                kernel.make_bridge(link, alias, mtu)
            case plan.MakeVxlan(link, alias, mtu, master, tunnel):
                kernel.make_vxlan(link, alias, mtu, master, tunnel)
            case plan.Plug(tap, master, mtu):
                kernel.plug(tap, master, mtu)

    def _change_ways(self, action: Action) -> None:
        """Change addresses, routes, or where a VXLAN link floods."""
        kernel = self._kernel
        match action:
            case plan.AddAddress(bridge, address):
                kernel.add_address(bridge, address)
            case plan.RemoveAddress(bridge, address):
                kernel.remove_address(bridge, address)
            case plan.AddRoute(bridge, route):
                kernel.add_route(bridge, route)
            case plan.RemoveRoute(bridge, route):
                kernel.remove_route(bridge, route)
            case plan.AddPeer(vxlan, peer, underlay):
                kernel.add_peer(vxlan, peer, underlay)
            case plan.RemovePeer(vxlan, peer, underlay):
                kernel.remove_peer(vxlan, peer, underlay)


def _is_of(name: str, link: Link) -> bool:
    """Whether a link is what `name` stands for: a network's, or, without any network's name on it, itself."""
    network = network_of(link.alias)
    return network == name if network else link.name == name
