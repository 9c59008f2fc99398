"""Links, addresses, routes and forwarding entries of the kernel, over netlink. It knows nothing of networks."""

import errno
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface, IPv6Network, ip_interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from common.errors import TemporaryError
from common.schemas.network import GATEWAY_MAC
from ucloud_net.shape import Interface, Link, Route, Tunnel, Underlay, is_ours

_PROTOCOL = 117
"""Who made a route: one of the numbers that nobody was given (/etc/iproute2/rt_protos)."""
_INET6 = 10
_BRIDGE_FAMILY = 7
_UNICAST = 1
_KERNEL = 2
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_FOREVER = 0xFFFFFFFF
_NODAD = 0x02
_UNFIT = 0x01 | 0x08 | 0x20 | 0x40
"""Flags of an address: temporary, failed, deprecated, tentative."""
_NO_STATISTICS = 8
_TTL = 64
_FLOOD_MAC = "00:00:00:00:00:00"
_PERMANENT, _SELF = 0x80, 0x02
"""NUD_PERMANENT, NTF_SELF."""
_ANYWHERE = "2000::"
"""An address that only a default route leads to (RFC 4291 gives it to nobody)."""
_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})

_BRIDGE_TUNABLES = {
    # Its answers to neighbour discovery say that it is a router, also where nothing is forwarded: without that, guests
    # forget their way to it (RFC 4861, section 7.2.5).
    ("AF_INET6", "forwarding"): 1,
    ("AF_INET6", "accept_ra"): 0,
    ("AF_INET6", "autoconf"): 0,
    ("AF_INET6", "accept_redirects"): 0,
    ("AF_INET6", "disable_ipv6"): 0,
    ("AF_INET", "forwarding"): 0,
    # There is no route to a network's IPv4 addresses: what is answered goes out where the question came in.
    ("AF_INET", "rp_filter"): 0,
    # It answers for no address of another link.
    ("AF_INET", "arp_ignore"): 1,
    ("AF_INET", "arp_announce"): 2,
    ("AF_INET", "accept_redirects"): 0,
    ("AF_INET", "send_redirects"): 0,
}
_PORT_TUNABLES = {("AF_INET6", "disable_ipv6"): 1}
"""Of whatever is in a bridge: this host is no member of the network but by its bridge."""


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """An error of the kernel becomes one that says `what` failed."""
    try:
        yield
    except NetlinkError as error:
        raise TemporaryError(f"{what}: {os.strerror(error.code).lower()}") from error
    except OSError as error:
        raise TemporaryError(f"{what}: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def _unless(*codes: int) -> Iterator[None]:
    """Nothing is to be done where the kernel answers with one of `codes`."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


def _all(_message: Any) -> bool:
    """Have pyroute2 leave the choice of what is listed to the kernel, which is told the same."""
    return True


class Kernel:
    """Of the network namespace that this process is in. Safe to use from many threads."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def _ipr(self) -> Any:
        """A connection of this thread's own: for another thread's, each request makes an event loop anew."""
        if not hasattr(self._local, "ipr"):
            # With the strict check, the kernel lists only what is asked for.
            self._local.ipr = IPRoute(groups=0, strict_check=True)
        return self._local.ipr

    # --- what there is ------------------------------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """The link of that name."""
        message = self._get_link(name)
        if message is None:
            return None
        master = message.get_attr("IFLA_MASTER")
        link = _link(message, _name_of(master) if master else "")
        if link.kind == "bridge" and is_ours(name) and not self._hears(message["index"], link.mac):
            return replace(link, is_tame=False)
        return link

    def our_links(self) -> Iterator[str]:
        """The names of all links that bear a name of ours."""
        with _explained("links can't be listed"):
            return (name for _, name in socket.if_nameindex() if is_ours(name))

    def alias(self, name: str) -> str:
        """What is written on a link; empty when there is no such link."""
        message = self._get_link(name)
        return str(message.get_attr("IFLA_IFALIAS") or "") if message else ""

    def members(self, bridge: str) -> Iterator[Link]:
        """What is in a bridge."""
        index = _index_of(bridge)
        if not index:
            return
        with _explained(f"{bridge}: what is in it can't be listed"):
            found = list(self._ipr.link("dump", dump_filter=_all, master=index, ext_mask=_NO_STATISTICS))
        yield from (_link(each, bridge) for each in found)

    def addresses(self, link: str) -> frozenset[Interface]:
        """Those of a link."""
        index = _index_of(link)
        if not index:
            return frozenset()
        with _explained(f"{link}: addresses can't be listed"):
            found = self._ipr.addr("dump", dump_filter=_all, index=index)
            return frozenset(ip_interface(f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}") for a in found)

    def routes(self, link: str) -> tuple[frozenset[Route], frozenset[Route]]:
        """The IPv6 routes into a link: all, and those that this daemon made."""
        index = _index_of(link)
        if not index:
            return frozenset(), frozenset()
        with _explained(f"{link}: routes can't be listed"):
            found = list(self._ipr.route("dump", dump_filter=_all, family=_INET6, oif=index))
        known = [(_route(each), each["proto"]) for each in found if each["type"] == _UNICAST]
        return frozenset(route for route, _ in known), frozenset(r for r, proto in known if proto == _PROTOCOL)

    def peers(self, vxlan: str) -> frozenset[IPv6Address]:
        """Where a VXLAN link sends what is for everybody."""
        index = _index_of(vxlan)
        if not index:
            return frozenset()
        with _explained(f"{vxlan}: forwarding entries can't be listed"):
            found = self._ipr.neigh("dump", dump_filter=_all, family=_BRIDGE_FAMILY, ifindex=index)
            flooded = [each.get_attr("NDA_DST") for each in found if each.get_attr("NDA_LLADDR") == _FLOOD_MAC]
        return frozenset(IPv6Address(peer) for peer in flooded if peer)

    def underlay(self, name: str) -> Underlay:
        """The interface `name`, or, if that is empty, the one of the default route; TemporaryError if it won't do."""
        name = name or self.default_link()
        if not name:
            raise TemporaryError("there is no default route over IPv6: net.underlay must name the interface")
        message = self._get_link(name)
        if message is None:
            raise TemporaryError(f"underlay {name}: no such interface")
        with _explained(f"underlay {name}: addresses can't be listed"):
            listed = list(self._ipr.addr("dump", dump_filter=_all, family=_INET6, index=message["index"]))
        fit = [
            (bool(each.get_attr("IFA_CACHEINFO")["ifa_valid"] != _FOREVER), IPv6Address(each.get_attr("IFA_ADDRESS")))
            for each in listed
            if each["scope"] == _SCOPE_UNIVERSE and not (each.get_attr("IFA_FLAGS") or 0) & _UNFIT
        ]
        if not fit:
            raise TemporaryError(f"underlay {name}: it has no IPv6 address that other hosts could reach")
        # Those that somebody gave it come before those it made up.
        addresses = tuple(address for _, address in sorted(fit))
        return Underlay(name, message["index"], message.get_attr("IFLA_MTU"), addresses)

    def default_link(self) -> str:
        """The interface of the default route over IPv6; empty when there is none."""
        try:
            found = self._ipr.route("get", family=_INET6, dst=_ANYWHERE)[0]
        except NetlinkError:
            return ""
        return _name_of(int(found.get_attr("RTA_OIF")))

    def ruled_sources(self, table: int, priority: int) -> frozenset[IPv6Address]:
        """From which addresses packets are routed by `table`."""
        with _explained("rules of routing can't be listed"):
            found = list(self._ipr.rule("dump", family=_INET6))
        wanted = (table, priority)
        rules = (each for each in found if (each.get_attr("FRA_TABLE"), each.get_attr("FRA_PRIORITY")) == wanted)
        return frozenset(IPv6Address(source) for each in rules if (source := each.get_attr("FRA_SRC")))

    # --- what is made -------------------------------------------------------------------------------------------------

    def remove_link(self, name: str, alias: str) -> None:
        """Remove a link of ours, if it (still) bears `alias`."""
        message = self._get_link(name)
        if message is None or (message.get_attr("IFLA_IFALIAS") or "") != alias or not is_ours(name):
            return
        with _explained(f"{name} can't be removed"), _unless(*_GONE):
            self._ipr.link("del", index=message["index"])

    def make_bridge(self, name: str, alias: str, mtu: int) -> None:
        """Make a gateway's bridge, or put it right."""
        with _explained(f"{name} can't be made"):
            with _unless(errno.EEXIST):
                self._ipr.link("add", ifname=name, kind="bridge", address=GATEWAY_MAC, br_mcast_snooping=0)
            index = self._index(name)
            self._ipr.link("set", index=index, kind="bridge", br_mcast_snooping=0)
            self._make_no_addresses(index)
            self._tune(name, _BRIDGE_TUNABLES)
            self._ipr.link("set", index=index, address=GATEWAY_MAC, ifalias=alias, mtu=mtu, master=0, state="up")
            with _unless(errno.EEXIST):
                own = {"lladdr": GATEWAY_MAC, "state": _PERMANENT, "flags": _SELF}
                self._ipr.fdb("add", ifindex=index, **own)

    def make_vxlan(self, name: str, alias: str, mtu: int, master: str, tunnel: Tunnel) -> None:
        """Make a VXLAN link in the bridge `master`, or put it right."""
        with _explained(f"{name} can't be made"):
            with _unless(errno.EEXIST):
                group = {"vxlan_group6": str(tunnel.group)} if tunnel.group else {}
                self._ipr.link(
                    "add",
                    ifname=name,
                    kind="vxlan",
                    vxlan_id=tunnel.vni,
                    vxlan_local6=str(tunnel.local),
                    vxlan_link=tunnel.underlay,
                    vxlan_port=tunnel.port,
                    vxlan_ttl=_TTL,
                    **group,
                )
            index = self._index(name)
            self._make_no_addresses(index)
            self._tune(name, _PORT_TUNABLES)
            self._ipr.link("set", index=index, ifalias=alias, mtu=mtu, master=self._index(master), state="up")

    def plug(self, tap: str, master: str, mtu: int) -> None:
        """Put a tap into the bridge `master`. One that has gone meanwhile is no error."""
        with _explained(f"{tap} can't be put into {master}"), _unless(errno.ENODEV):
            message = self._get_link(tap)
            if message is None:
                return
            self._tune(tap, _PORT_TUNABLES)
            self._ipr.link("set", index=message["index"], mtu=mtu, master=self._index(master), state="up")

    def add_address(self, link: str, address: Interface) -> None:
        """Give a link an address. What is not link-local is no source of packets unless somebody asks for it."""
        more: dict[str, Any] = {}
        if isinstance(address, IPv6Interface):
            more["flags"] = _NODAD
            if not address.is_link_local:
                more["IFA_CACHEINFO"] = {"ifa_preferred": 0, "ifa_valid": _FOREVER}
        else:
            more["scope"] = _SCOPE_LINK
        self._change_address("add", link, address, more, errno.EEXIST)

    def remove_address(self, link: str, address: Interface) -> None:
        """Take an address from a link."""
        self._change_address("del", link, address, {}, *_GONE)

    def add_route(self, link: str, route: Route) -> None:
        """Route into a link."""
        # Not "add": others may have the same prefix and metric.
        self._change_route("append", link, route, errno.EEXIST)

    def remove_route(self, link: str, route: Route) -> None:
        """Do not route into a link any more."""
        self._change_route("del", link, route, *_GONE)

    def add_peer(self, vxlan: str, peer: IPv6Address, underlay: int) -> None:
        """Send what is for everybody to `peer`, too."""
        self._change_peer("append", vxlan, peer, underlay, errno.EEXIST)

    def remove_peer(self, vxlan: str, peer: IPv6Address, underlay: int) -> None:
        """Send nothing to `peer` unless it is for somebody there."""
        self._change_peer("del", vxlan, peer, underlay, *_GONE)

    def add_rule(self, source: IPv6Address, table: int, priority: int) -> None:
        """Route what `source` sends by `table`, if that knows a way."""
        with _explained("a rule of routing can't be made"), _unless(errno.EEXIST):
            self._ipr.rule("add", family=_INET6, src=str(source), src_len=128, table=table, priority=priority)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _change_address(self, command: str, link: str, address: Interface, more: Mapping[str, Any], *fine: int) -> None:
        with _explained(f"{link}: address {address}"), _unless(*fine):
            length = address.network.prefixlen
            self._ipr.addr(command, index=self._index(link), address=str(address.ip), prefixlen=length, **more)

    def _change_route(self, command: str, link: str, route: Route, *fine: int) -> None:
        with _explained(f"{link}: route to {route.destination}"), _unless(*fine):
            gateway = {"gateway": str(route.gateway)} if route.gateway else {}
            self._ipr.route(
                command,
                family=_INET6,
                dst=str(route.destination),
                oif=self._index(link),
                priority=route.metric,
                table=route.table,
                proto=_PROTOCOL,
                **gateway,
            )

    def _change_peer(self, command: str, vxlan: str, peer: IPv6Address, underlay: int, *fine: int) -> None:
        via = {"NDA_IFINDEX": underlay} if peer.is_multicast else {}
        with _explained(f"{vxlan}: flooding to {peer}"), _unless(*fine):
            self._ipr.fdb(command, ifindex=self._index(vxlan), lladdr=_FLOOD_MAC, dst=str(peer), **via)

    def _get_link(self, name: str) -> Any:
        with _explained(f"link {name}"):
            try:
                return next(iter(self._ipr.link("get", ifname=name, ext_mask=_NO_STATISTICS)), None)
            except NetlinkError as error:
                if error.code in _GONE:
                    return None
                raise

    @staticmethod
    def _index(name: str) -> int:
        index = _index_of(name)
        if not index:
            raise TemporaryError(f"link {name} has gone meanwhile")
        return index

    def _hears(self, bridge: int, mac: str) -> bool:
        """Whether a bridge takes what is sent to its own MAC address: `bridge fdb flush` has it forget that."""
        with _explained("forwarding entries can't be read"):
            try:
                return bool(self._ipr.fdb("get", lladdr=mac, NDA_MASTER=bridge))
            except NetlinkError as error:
                if error.code in _GONE:
                    return False
                raise

    def _make_no_addresses(self, index: int) -> None:
        mode = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}
        self._ipr.link("set", index=index, IFLA_AF_SPEC=mode)

    @staticmethod
    def _tune(link: str, tunables: Mapping[tuple[str, str], int]) -> None:
        for (family, name), value in tunables.items():
            protocol = "ipv6" if family == "AF_INET6" else "ipv4"
            Path(f"/proc/sys/net/{protocol}/conf/{link}/{name}").write_text(str(value), encoding="ascii")


def _index_of(name: str) -> int:
    """The index of a link; 0 when there is none. All that the kernel tells of a link takes a hundred times as long."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _name_of(index: int) -> str:
    """The name of a link; empty when there is none."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def _link(message: Any, master: str) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or ""
    data = info.get_attr("IFLA_INFO_DATA") if info and kind in ("bridge", "vxlan") else None
    return Link(
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=kind,
        mtu=message.get_attr("IFLA_MTU"),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        master=master,
        is_up=bool(message["flags"] & 1),
        is_tame=_is_tame(message, kind, data),
        tunnel=_tunnel(data) if kind == "vxlan" and data else None,
    )


def _is_tame(message: Any, kind: str, data: Any) -> bool:
    if kind == "bridge" and data and data.get_attr("IFLA_BR_MCAST_SNOOPING"):
        return False
    specification = message.get_attr("IFLA_AF_SPEC")
    if specification is None:
        return True
    six, four = specification.get_attr("AF_INET6"), specification.get_attr("AF_INET")
    if six is None or six.get_attr("IFLA_INET6_CONF") is None:
        return True  # IPv6 knows nothing of it
    if kind in ("bridge", "vxlan") and six.get_attr("IFLA_INET6_ADDR_GEN_MODE") != 1:
        return False
    is_now = {"AF_INET6": six.get_attr("IFLA_INET6_CONF"), "AF_INET": four or {}}
    wanted = _BRIDGE_TUNABLES if kind == "bridge" else _PORT_TUNABLES
    return all(is_now[family].get(name, value) == value for (family, name), value in wanted.items())


def _tunnel(data: Any) -> Tunnel | None:
    local = data.get_attr("IFLA_VXLAN_LOCAL6")
    if not local or not data.get_attr("IFLA_VXLAN_LEARNING"):
        return None
    group = data.get_attr("IFLA_VXLAN_GROUP6")
    return Tunnel(
        vni=data.get_attr("IFLA_VXLAN_ID"),
        underlay=data.get_attr("IFLA_VXLAN_LINK") or 0,
        local=IPv6Address(local),
        group=IPv6Address(group) if group else None,
        port=data.get_attr("IFLA_VXLAN_PORT"),
    )


def _route(message: Any) -> Route:
    gateway = message.get_attr("RTA_GATEWAY")
    return Route(
        destination=IPv6Network(f"{message.get_attr('RTA_DST') or '::'}/{message['dst_len']}"),
        metric=message.get_attr("RTA_PRIORITY") or 0,
        table=message.get_attr("RTA_TABLE") or message["table"],
        gateway=IPv6Address(gateway) if gateway else None,
    )
