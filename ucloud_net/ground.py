"""What all networks of a host stand on: kernel parameters, rules of routing, and the filter around the gateways."""

from ipaddress import IPv6Address
from pathlib import Path

from common.errors import TemporaryError
from common.schemas.network import DNS_V6, METADATA_V6
from ucloud_net.kernel import Kernel
from ucloud_net.ruleset import Ruleset
from ucloud_net.shape import ANSWER_TABLE, Gate

_SYS = Path("/proc/sys/net")
_FORWARDING = Path("ipv6/conf/all/forwarding")
_OPTMEM_BYTES = 1024 * 1024
"""Each VXLAN link joins its multicast group on one socket: the kernel's own limit ends that at some 2,300 networks."""
_BRIDGE_FILTER = "0"
"""Whether bridged packets are shown to the machine's IP firewall. They are the tenants' own business; the ports' filter
works on the bridge itself, and a bridge may be shown by its own setting."""
_BRIDGE_FILTERS = tuple(Path(f"bridge/bridge-nf-call-{kind}tables") for kind in ("arp", "ip", "ip6"))
_ANSWER_PRIORITY = 1175
_ANSWERERS = (METADATA_V6, DNS_V6)


class Ground:
    """Safe to use from many threads."""

    def __init__(self, kernel: Kernel, ruleset: Ruleset) -> None:
        self._kernel = kernel
        self._ruleset = ruleset

    def is_ready(self) -> bool:
        """Whether all is as it should be, forwarding apart."""
        return (
            self._ruleset.stands()
            and int(_read(Path("core/optmem_max")) or _OPTMEM_BYTES) >= _OPTMEM_BYTES
            and all(_read(name) in ("", _BRIDGE_FILTER) for name in _BRIDGE_FILTERS)
            and not self._unruled()
        )

    def prepare(self) -> None:
        """Make it so."""
        if not self._ruleset.stands():
            self._ruleset.load()
        if int(_read(Path("core/optmem_max")) or _OPTMEM_BYTES) < _OPTMEM_BYTES:
            _write(Path("core/optmem_max"), str(_OPTMEM_BYTES))
        for name in _BRIDGE_FILTERS:
            if _read(name) not in ("", _BRIDGE_FILTER):
                _write(name, _BRIDGE_FILTER)
        for each in self._unruled():
            self._kernel.add_rule(each, ANSWER_TABLE, _ANSWER_PRIORITY)

    def forwards(self) -> bool:
        """Whether the kernel forwards IPv6 packets."""
        return _read(_FORWARDING) == "1"

    def forward(self, underlay: str) -> None:
        """Have it do so. A host that heeds router advertisements now goes on to, which a router would not."""
        for name in {underlay, self._kernel.default_link()} - {""}:
            accept = Path(f"ipv6/conf/{name}/accept_ra")
            if _read(accept) == "1":
                _write(accept, "2")
        _write(_FORWARDING, "1")

    def distrust(self) -> None:
        """Somebody may have changed the filter."""
        self._ruleset.distrust()

    def gate(self, bridge: str) -> Gate:
        """See Ruleset."""
        return self._ruleset.gate(bridge)

    def set_gate(self, bridge: str, gate: Gate) -> None:
        """See Ruleset."""
        self._ruleset.set_gate(bridge, gate)

    def _unruled(self) -> list[IPv6Address]:
        """Whose answers no rule sends to their table."""
        ruled = self._kernel.ruled_sources(ANSWER_TABLE, _ANSWER_PRIORITY)
        return [each for each in _ANSWERERS if each not in ruled]


def _read(name: Path) -> str:
    """A kernel parameter; empty where the kernel has none of that name."""
    try:
        return (_SYS / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _write(name: Path, value: str) -> None:
    try:
        (_SYS / name).write_text(value, encoding="ascii")
    except OSError as error:
        raise TemporaryError(f"kernel parameter {_SYS / name}: {error.strerror}") from error
