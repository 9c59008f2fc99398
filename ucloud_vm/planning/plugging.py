"""Which ports a VM is to get and to lose, and what it waits for meanwhile. Pure.

A port needs its network's bridge on this host, which ucloud-net makes. A guest that runs gets a card at once, and
lets go of one when it answers to being asked, as with its power button; one that is off is defined anew.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from common.schemas.port import Port
from ucloud_vm.hypervisor import Domain, Power
from ucloud_vm.planning.steps import Observation, Plug, PlugAction, Unplug

ASK_AGAIN = timedelta(seconds=10)
"""A guest that is still booting misses that a card is to go."""
LOOK_AGAIN_S = 5.0
LATER = "its ports change with its next start: the hypervisor of its host can't plug them in while it runs"
KEEPS = "the guest has not let go of a port that it is to lose"
_HAVE_CARDS = (Power.RUNNING, Power.PAUSED, Power.STUCK)


@dataclass(frozen=True)
class Plugging:
    """What to do about the ports of a guest that runs; `reason` is why that is not all, else empty."""

    actions: tuple[PlugAction, ...] = ()
    reason: str = ""
    again_in_s: float | None = None


def waits_for(ports: tuple[Port, ...], observed: Observation) -> str:
    """What a VM that is to start waits for; empty: for nothing."""
    networks = {port.network: observed.lacking[port.network] for port in ports if port.network in observed.lacking}
    return "; ".join(f"waiting for network {uuid}: {why}" for uuid, why in sorted(networks.items()))


def fits(ports: tuple[Port, ...], domain: Domain) -> bool:
    """Whether a domain has cards for these ports, and for no others."""
    return domain.ports == {port.id for port in ports}


def addresses(ports: tuple[Port, ...], domain: Domain | None) -> tuple[str, ...]:
    """The addresses that a guest that is on has, by its ports."""
    if domain is None or domain.power not in _HAVE_CARDS:
        return ()
    return tuple(str(address) for port in ports if port.id in domain.ports for address in port.addresses())


def change(ports: tuple[Port, ...], observed: Observation, said: str, now: datetime) -> Plugging:
    """The next step with the ports of a guest that runs; `said` is the reason that was last told of the VM."""
    domain = observed.domain
    if domain is None or domain.power is not Power.RUNNING or fits(ports, domain):
        return Plugging()
    if not domain.plugs:
        return Plugging(reason=LATER)
    missing = tuple(port for port in ports if port.id not in domain.ports)
    plugs: tuple[PlugAction, ...] = tuple(Plug(port) for port in missing if port.network not in observed.lacking)
    asked = {port: observed.unplug_asked_at.get(port) for port in domain.ports - {port.id for port in ports}}
    due = sorted(port for port, asked_at in asked.items() if asked_at is None or now - asked_at >= ASK_AGAIN)
    keeps = KEEPS if asked and (KEEPS in said or any(asked[port] for port in due)) else ""
    if actions := plugs + tuple(Unplug(port) for port in due):
        return Plugging(actions, keeps)
    since = [asked_at for asked_at in asked.values() if asked_at]
    left_s = min(((asked_at + ASK_AGAIN - now).total_seconds() for asked_at in since), default=LOOK_AGAIN_S)
    return Plugging(reason=waits_for(missing, observed) or keeps, again_in_s=min(left_s, LOOK_AGAIN_S))
