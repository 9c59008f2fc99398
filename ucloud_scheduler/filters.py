"""Which hosts take new VMs at all, and in what words it is said that none can take a certain one. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

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


def explain(specs: Specs, lacks: Iterable[Lack], closed: Mapping[str, int]) -> str:
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
        return "there is no host yet"
    wanted = " and ".join(resource.amount(specs) for resource in short)
    return f"no host {f'has {wanted} free' if wanted else 'takes new VMs'}: {', '.join(parts)}"
