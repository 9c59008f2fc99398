"""Who asks, and what they are answered. No I/O: all of it is in memory, so an answer waits for nobody.

An asker is a port of a VM on this host: the one with the MAC address that the kernel has for the peer, on the network
whose bridge the connection came over. The peer's address must be the port's, too. (That a guest can be nobody else is
what the firewall sees to.) It is looked for at each request, so who has left is answered nothing, also on a connection
that it still has.
"""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address

from common import keys
from common.cache import Cache
from common.local_ports import LocalPorts
from common.schemas.network import NetworkRequest
from common.schemas.port import Port
from common.schemas.vm import Placement, VmRequest
from ucloud_meta.answer import Answer, Request, refuse
from ucloud_meta.instance import describe
from ucloud_meta.manners import Manners, is_for_token
from ucloud_meta.paths import paths
from ucloud_meta.rates import Rate, Rates
from ucloud_meta.tree import read

_TTL_FIELD = "x-aws-ec2-metadata-token-ttl-seconds"
_MAX_TTL_S = 21600
_MAC = re.compile(r"02((?::[0-9a-f]{2}){5})")
_RETRY_S = 2


@dataclass(frozen=True)
class Asker:
    """The other end of a connection: the network that it came from, and its address and MAC address there."""

    network: str
    address: IPv6Address | IPv4Address
    mac: str | None


class Desk:
    """Answers. Belongs to one thread, but for what it looks at."""

    def __init__(
        self,
        placements: Cache[Placement],
        here: LocalPorts,
        networks: Mapping[str, NetworkRequest],
        zone: Callable[[], str],
        manners: Manners,
        rate: Rate,
    ) -> None:
        """`networks` are those that are known, by uuid; `zone` tells what this host is in."""
        self._placements = placements
        self._here = here
        self._networks = networks
        self._zone = zone
        self._manners = manners
        self._rates = Rates(rate)

    def answer(self, asker: Asker, request: Request) -> Answer:
        """What `asker` is answered."""
        vm = self._vm(asker)
        wait_s = self._rates.take(vm.uuid if vm else f"nobody on {asker.network}", time.monotonic())
        if wait_s:
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, retry_after=str(wait_s))
        if vm is None:
            return refuse(HTTPStatus.FORBIDDEN)
        if refused := self._manners.refusal(request):
            return refused
        if is_for_token(request):
            return _token(request)
        return self._told(vm, request.target.partition("?")[0])

    def _vm(self, asker: Asker) -> VmRequest | None:
        matched = _MAC.fullmatch(asker.mac or "")
        if not matched:
            return None
        port_id = matched[1].replace(":", "")
        local = self._here.ports.get(keys.port(port_id))
        if local is None or local.record.port.network != asker.network:
            return None
        if not _may_be_from(asker.address, local.record.port):
            return None
        placement = self._placements.get(self._placements.prefix + local.record.vm)
        if placement is None or local.record.port not in placement.record.request.ports:
            return None  # it goes at this moment
        return placement.record.request

    def _told(self, vm: VmRequest, path: str) -> Answer:
        instance = describe(vm, self._networks, self._zone())
        if instance is None:
            return refuse(HTTPStatus.SERVICE_UNAVAILABLE, retry_after=str(_RETRY_S))
        file = read(paths(instance), path)
        if file is None:
            return _keeping(refuse(HTTPStatus.NOT_FOUND))
        return Answer(HTTPStatus.OK, file.text.encode(), file.content_type, keeps=True)


def _keeping(answer: Answer) -> Answer:
    return Answer(answer.status, answer.body, answer.content_type, answer.fields, keeps=True)


def _may_be_from(address: IPv6Address | IPv4Address, port: Port) -> bool:
    if isinstance(address, IPv6Address) and address.is_link_local:
        return True  # which one a guest takes is its own business, as far as the firewall lets it
    # Nor from its prefixes: they are routed to its link-local address, so the kernel knows no MAC address for them.
    return address in port.addresses()


def _token(request: Request) -> Answer:
    """A token for clients that insist on one. It is never asked back: who asks is known without."""
    ttl = request.field(_TTL_FIELD) or ""
    if not (ttl.isascii() and ttl.isdigit() and len(ttl) < 9 and 1 <= int(ttl) <= _MAX_TTL_S):
        return refuse(HTTPStatus.BAD_REQUEST)
    return Answer(HTTPStatus.OK, secrets.token_urlsafe(40).encode(), fields={_TTL_FIELD: ttl}, keeps=True)
