"""Where a request comes from: the other end of the connection, or whom a trusted proxy names."""

import ipaddress
from collections.abc import Iterable

from flask import request

from ucloud_api.worker.state import State

_Network = ipaddress.IPv6Network | ipaddress.IPv4Network


def client_address(state: State) -> str:
    """The IP address of this request's client; empty: it is not known."""
    return address_behind(
        request.remote_addr or "", request.headers.getlist("X-Forwarded-For"), state.settings.api.trusted_proxies
    )


def address_behind(peer: str, forwarded: Iterable[str], trusted: tuple[_Network, ...]) -> str:
    """The first address, from `peer` on backwards, that is no trusted proxy's. A proxy adds who asked it at the end."""
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    address = peer
    while hops and _is_trusted(address, trusted):
        parsed = _parsed(hops.pop())
        if parsed is None:
            break
        address = str(parsed)  # not as it was written: it goes into events and logs
    return address


def _parsed(text: str) -> ipaddress.IPv6Address | ipaddress.IPv4Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_trusted(text: str, trusted: tuple[_Network, ...]) -> bool:
    address = _parsed(text)
    return address is not None and any(address in network for network in trusted)
