"""What ports a VM gets where somebody asks for networks: ids, addresses and prefixes are drawn or checked.

All that is drawn is compared to be nobody's when it is written; who was too late draws anew.
"""

import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from common import admission, keys
from common.errors import Conflict
from common.schemas.network import NetworkRequest
from common.schemas.port import Port, eui64
from common.schemas.vm import VmRequest
from ucloud_api.access.auth import Caller
from ucloud_api.models.port import PortIn
from ucloud_api.networks.network import LAST_VNI, networks, nth_prefix
from ucloud_api.networks.security_group import groups
from ucloud_api.problems import ApiProblem, FieldProblem
from ucloud_api.worker.state import State

_ANYCAST = 128
"""The last so many of the interface ids with the universal bit off are for anycast (RFC 2526)."""
_LAST_ANYCAST = 0xFDFF_FFFF_FFFF_FFFF
_LOOKS = 8


class Plugging:
    """Draws the ports of one VM of an owner, for a caller."""

    def __init__(self, state: State, caller: Caller, owner: str) -> None:
        self._state = state
        self._owner = owner
        self._networks = networks(state, caller)
        self._groups = groups(state, caller)
        self._chosen: dict[str, FieldProblem] = {}
        self.names: dict[str, str] = {}
        """What the networks and groups of the ports are called, by uuid."""

    def draw(self, wanted: Sequence[PortIn], there: Sequence[Port] = (), parent: str = "networks") -> tuple[Port, ...]:
        """The ports that are wanted, beside those that are `there`.

        ApiProblem: 404 for a network or group that is none, 422 for an address that may not be, 409 where none is left.
        The fields of `wanted` are those of a list in `parent`, or, where that is empty, of the body.
        """
        self._chosen.clear()
        self._state.await_caches(self._state.networks, self._state.groups)
        drawn: list[Port] = []
        for number, each in enumerate(wanted):
            prefix = f"{parent}.{number}." if parent else ""
            drawn.append(self._draw(each, (*there, *drawn), prefix))
        return tuple(drawn)

    def _draw(self, wanted: PortIn, there: Sequence[Port], path: str) -> Port:
        network = self._networks.find(wanted.network, self._owner, f"{path}network")
        field = f"{path}security_groups"
        members = [self._groups.find(name, self._owner, field) for name in dict.fromkeys(wanted.security_groups)]
        self.names |= {network.uuid: network.name, **{each.uuid: each.name for each in members}}
        port_id = secrets.token_hex(5)
        held = {str(address) for port in there if port.network == network.uuid for address in port.addresses()}
        if wanted.ipv6:
            _check_v6(network.prefix, wanted.ipv6, f"{path}ipv6")
            self._choose(network, wanted.ipv6, held, f"{path}ipv6")
        return Port(
            id=port_id,
            network=network.uuid,
            ipv6=wanted.ipv6 or eui64(network.prefix, port_id),
            ipv4=self._v4(network, wanted.ipv4, held, f"{path}ipv4"),
            prefixes=tuple(self._prefixes(wanted.prefixes)),
            security_groups=tuple(dict.fromkeys(each.uuid for each in members)),
        )

    def _choose(self, network: NetworkRequest, address: IPv6Address | IPv4Address, held: set[str], field: str) -> None:
        """Remember which field an address is from; ApiProblem (409) when another port of the VM has it."""
        problem = FieldProblem(field=field, problem="is taken", allowed="another one, or none for one that is free")
        self._chosen[keys.address(network.uuid, str(address))] = problem
        if str(address) in held:
            raise _taken(problem)

    def _v4(
        self, network: NetworkRequest, wanted: bool | IPv4Address, held: set[str], field: str
    ) -> IPv4Address | None:
        if wanted is False:
            return None
        prefix = network.ipv4
        if prefix is None:
            problem = "is not to be had: the network has no IPv4"
            raise _invalid(field, problem, "a network with an IPv4 prefix; false")
        if wanted is True:
            return self._free_v4(network.uuid, prefix, held)
        if wanted not in prefix or wanted in (prefix.network_address, prefix.broadcast_address):
            raise _invalid(field, "is not one of the network's for VMs", f"{prefix[1]} to {prefix[-2]}")
        self._choose(network, wanted, held, field)
        return wanted

    def _free_v4(self, network: str, prefix: IPv4Network, held: set[str]) -> IPv4Address:
        """An address that nobody has, by chance; ApiProblem (409) when there is none."""
        count = prefix.num_addresses - 2
        for _ in range(_LOOKS):
            address = prefix[1 + secrets.randbelow(count)]
            if str(address) not in held and self._state.store.get(keys.address(network, str(address))) is None:
                return address
        taken = held | {keys.last_part(entry.key) for entry in self._state.store.list(keys.addresses(network)).entries}
        start = secrets.randbelow(count)
        for step in range(count):
            address = prefix[1 + (start + step) % count]
            if str(address) not in taken:
                return address
        raise ApiProblem(409, "no-address-left", f"all addresses of {prefix} are taken")

    def _prefixes(self, count: int) -> list[IPv6Network]:
        drawn: set[IPv6Network] = set()
        while len(drawn) < count:
            drawn.add(nth_prefix(self._state, 1 + secrets.randbelow(LAST_VNI)))
        return sorted(drawn)

    def refuse(self, conflict: Conflict) -> None:
        """ApiProblem (409) when a transaction failed because an address that somebody chose is taken."""
        for key in conflict.keys:
            if key in self._chosen:
                raise _taken(self._chosen[key]) from conflict


def check_extent(vm: VmRequest, field: str) -> None:
    """ApiProblem (422) where a VM's ports hold more than can be written, and given back, at once."""
    count = len(admission.port_keys(vm))
    if count > admission.MOST_PORT_KEYS:
        allowed = f"at most {admission.MOST_PORT_KEYS} ports, addresses, prefixes, and addresses in groups together"
        raise _invalid(field, f"hold too much ({count})", allowed)


def _check_v6(prefix: IPv6Network, address: IPv6Address, field: str) -> None:
    """ApiProblem (422) for an address that is not of the network, or that is nobody's to choose."""
    if address not in prefix:
        raise _invalid(field, "is not of the network's prefix", f"an address of {prefix}")
    interface = int(address) & (2**64 - 1)
    is_of_port = interface >> 24 & 0xFFFF == 0xFFFE and interface >> 56 == 0
    if interface == 0 or _LAST_ANYCAST - _ANYCAST < interface <= _LAST_ANYCAST or is_of_port:
        allowed = "none of the network's first, of anycast, or as made from MAC addresses"
        raise _invalid(field, "is reserved", allowed)


def _invalid(field: str, problem: str, allowed: str) -> ApiProblem:
    wrong = FieldProblem(field=field, problem=problem, allowed=allowed)
    return ApiProblem(422, "invalid-fields", f"{field} {problem}: {allowed}", [wrong])


def _taken(problem: FieldProblem) -> ApiProblem:
    return ApiProblem(409, "address-taken", f"{problem.field} is taken", [problem])
