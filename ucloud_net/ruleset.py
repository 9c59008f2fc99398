"""The filter around the gateways, in nftables: two tables of this daemon's own, both named `ucloud_gateway`.

In `bridge`: the gateway is the same on every host, so nothing from it, to it, or that asks for it goes through a VXLAN
link. In `inet`: what may be forwarded between a network's bridge and others. A bridge that no set names forwards
nothing, and of this host answers at its own addresses alone; so a new one comes up closed. Nor does it hear of
errors (resets, and those of ICMP): the kernel sends them without regard to the link that the cause came in by, so where
prefixes are there twice they would reach the wrong network. What a program sends is bound to its link, and passes.

The rules are replaced in one transaction that keeps the sets: neither a start nor a repair opens or shuts a network.
"""

import threading
from typing import Any

from common.errors import ConfigurationError, TemporaryError
from common.schemas.network import DNS_V6, GATEWAY, GATEWAY_MAC, METADATA_V4, METADATA_V6
from ucloud_net.shape import Gate

TABLE = "ucloud_gateway"
_FAMILIES = ("bridge", "inet")
_RULES = f"""
add table bridge {TABLE}
add chain bridge {TABLE} prerouting {{ type filter hook prerouting priority -310; policy accept; }}
add chain bridge {TABLE} forward {{ type filter hook forward priority -310; policy accept; }}
add chain bridge {TABLE} output {{ type filter hook output priority -310; policy accept; }}
flush table bridge {TABLE}
add rule bridge {TABLE} prerouting iifname "ucvx*" ether saddr {GATEWAY_MAC} drop
add rule bridge {TABLE} prerouting iifname "ucvx*" ether daddr {GATEWAY_MAC} drop
add rule bridge {TABLE} forward oifname != "ucvx*" accept
add rule bridge {TABLE} forward ether daddr {GATEWAY_MAC} drop
add rule bridge {TABLE} forward icmpv6 type nd-router-solicit drop
add rule bridge {TABLE} forward icmpv6 type nd-neighbor-solicit \
@th,64,128 {{ {", ".join(f"{int(each):#x}" for each in (GATEWAY, METADATA_V6, DNS_V6))} }} drop
add rule bridge {TABLE} forward arp daddr ip {METADATA_V4} drop
add rule bridge {TABLE} output oifname "ucvx*" ether saddr {GATEWAY_MAC} drop
add table inet {TABLE}
add set inet {TABLE} open {{ type ifname; }}
add set inet {TABLE} within {{ type ifname . ifname; }}
add chain inet {TABLE} forward {{ type filter hook forward priority -10; policy accept; }}
add chain inet {TABLE} input {{ type filter hook input priority -10; policy accept; }}
add chain inet {TABLE} output {{ type filter hook output priority -10; policy accept; }}
flush table inet {TABLE}
add rule inet {TABLE} forward iifname . oifname @within accept
add rule inet {TABLE} forward iifname "ucbr*" iifname != @open drop
add rule inet {TABLE} forward oifname "ucbr*" oifname != @open drop
add rule inet {TABLE} input iifname "ucbr*" iifname != @open \
fib daddr . iif type != {{ local, multicast, broadcast, anycast }} drop
add rule inet {TABLE} output oifname != "ucbr*" accept
add rule inet {TABLE} output oifname @open accept
add rule inet {TABLE} output meta skuid >= 0 accept
add rule inet {TABLE} output tcp flags & rst == rst drop
add rule inet {TABLE} output icmpv6 type < 128 drop
add rule inet {TABLE} output icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} drop
"""


class Ruleset:
    """The tables in the kernel. Safe to use from many threads."""

    def __init__(self) -> None:
        try:
            import nftables  # noqa: PLC0415 - a Debian package that only hosts have
        except ImportError as error:
            raise ConfigurationError("python3-nftables is not installed on this machine") from error
        self._nft: Any = nftables.Nftables()
        self._nft.set_terse_output(True)
        self._lock = threading.Lock()
        self._loaded: tuple[str, ...] | None = None
        self._is_trusted = False

    def distrust(self) -> None:
        """Somebody may have changed the tables: have `stands` look."""
        self._is_trusted = False

    def stands(self) -> bool:
        """Whether the rules are in the kernel as this process loaded them."""
        if not self._is_trusted:
            # Before the look, so that what is heard of meanwhile counts.
            self._is_trusted = True
            self._is_trusted &= self._loaded is not None and self._list() == self._loaded
        return self._is_trusted

    def load(self) -> None:
        """Put the rules into the kernel; what the sets say stays."""
        self._loaded = None
        problem = self._run(_RULES)
        if problem:
            # Sets of another kind, made by another version: with them, all is shut for a moment.
            problem = self._run(
                "".join(f"add table {each} {TABLE}\ndelete table {each} {TABLE}\n" for each in _FAMILIES)
            )
            problem = problem or self._run(_RULES)
        if problem:
            raise TemporaryError(f"nftables, table {TABLE}: {problem}")
        self._loaded = self._list()

    def gate(self, bridge: str) -> Gate:
        """What may be forwarded from and to a bridge; SHUT when nothing is known of it."""
        if self._run(f'get element inet {TABLE} within {{ "{bridge}" . "{bridge}" }}'):
            return Gate.SHUT
        return Gate.WITHIN if self._run(f'get element inet {TABLE} open {{ "{bridge}" }}') else Gate.OPEN

    def set_gate(self, bridge: str, gate: Gate) -> None:
        """Say what may be forwarded from and to a bridge."""
        within, is_open = f'within {{ "{bridge}" . "{bridge}" }}', f'open {{ "{bridge}" }}'
        # What is to go is added first: to delete what is not there is an error.
        commands = [f"add element inet {TABLE} {each}" for each in (within, is_open)]
        if gate is not Gate.OPEN:
            commands.append(f"delete element inet {TABLE} {is_open}")
        if gate is Gate.SHUT:
            commands.append(f"delete element inet {TABLE} {within}")
        problem = self._run("\n".join(commands))
        if problem:
            raise TemporaryError(f"nftables, table {TABLE}: {problem}")

    def _list(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(str(self._nft.cmd(f"list table {family} {TABLE}")[1]) for family in _FAMILIES)

    def _run(self, commands: str) -> str:
        """Run commands in one transaction; returns what is wrong, empty when nothing is."""
        with self._lock:
            status, _, problem = self._nft.cmd(commands)
        return " ".join(str(problem).split()) or f"status {status}" if status else ""
