"""Which hosts take new VMs at all, and in what words it is said that none can take a certain one. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from common.schemas.host import HostState
from common.schemas.vm import Specs
from ucloud_scheduler.capacity import Lack, Resource
from ucloud_scheduler.views import Host


def why_closed(host: Host) -> str | None:
    """Why a host takes no new VM whatever its size, or None."""
    if host.state is not HostState.ENABLED:
        return host.state.value
    if not host.is_alive:
        return "silent"
    return None if host.is_registered else "not registered yet"


class Why(Enum):
    """What a VM waits for, of the few kinds that are counted."""

    NO_HOST = "no_host"
    """No host takes new VMs, or there is none."""
    NO_ROOM = "no_room"
    NO_ROOM_TO_GROW = "no_room_to_grow"
    STILL_THERE = "still_there"
    """A host that it is not placed on reports it."""


@dataclass(frozen=True)
class Refusal:
    """Why a VM waits, as it is counted, and as it is told to its owner."""

    why: Why
    reason: str


def explain(specs: Specs, lacks: Iterable[Lack], closed: Mapping[str, int]) -> Refusal:
    """The reason why no host takes a VM: "no host has 64 GiB RAM free: 12 too small, 3 draining, 1 silent".

    `lacks` are those of the hosts that take VMs, `closed` counts the others by what closes them.
    """
    counts = Counter(lacks)
    short = [resource for resource in Resource if any(lack.resource is resource for lack in counts)]
    parts = [
        f"{count} {'too small' if too_small else 'full'}{f' ({resource.value})' if len(short) > 1 else ''}"
        for resource in short
        for too_small in (True, False)
        if (count := counts[Lack(resource, too_small)])
    ]
    parts += [f"{count} {why}" for why, count in sorted(closed.items())]
    if not parts:
        return Refusal(Why.NO_HOST, "there is no host yet")
    wanted = " and ".join(resource.describe(resource.of(specs)) for resource in short)
    reason = f"no host {f'has {wanted} free' if wanted else 'takes new VMs'}: {', '.join(parts)}"
    return Refusal(Why.NO_ROOM if short else Why.NO_HOST, reason)
