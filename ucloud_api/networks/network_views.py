"""What a reader of the API sees of a network: what is requested, and what its hosts have of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.schemas.network import NetworkActual, NetworkRequest, NetworkStatus
from ucloud_api import models
from ucloud_api.models.network import NetworkOnHost, NetworkState


@dataclass(frozen=True)
class HasNetwork:
    """What a host says of a network."""

    host: str
    is_alive: bool
    status: NetworkStatus


def network(request: NetworkRequest, seen: Sequence[HasNetwork], is_admin: bool) -> models.Network:
    """The network resource. Which hosts have it, and what is wrong there, is for admins to know."""
    state, reason = _state([each.status for each in seen if each.is_alive])
    hosts = tuple(map(_on_host, seen)) if is_admin else None
    said = request.model_dump(exclude={"version"})
    return models.Network.model_validate({**said, "status": state, "reason": reason, "hosts": hosts})


def _state(statuses: Sequence[NetworkStatus]) -> tuple[NetworkState, str]:
    """As the worst of the hosts that are alive. What is true of VMs on others, these say themselves."""
    counts = {actual: sum(each.actual is actual for each in statuses) for actual in NetworkActual}
    of = f"{len(statuses)} host{'s' if len(statuses) > 1 else ''}"
    if count := counts[NetworkActual.ERROR]:
        return NetworkState.ERROR, f"{count} of {of} can't build it, which is for admins to mend"
    if count := counts[NetworkActual.BUILDING]:
        return NetworkState.BUILDING, f"{count} of {of} are building it" if count > 1 else f"1 of {of} is building it"
    return (NetworkState.ACTIVE if statuses else NetworkState.UNUSED), ""


def _on_host(seen: HasNetwork) -> NetworkOnHost:
    status = seen.status
    return NetworkOnHost(
        host=seen.host,
        status=status.actual if seen.is_alive else "UNKNOWN",
        reason=status.reason if seen.is_alive else f"host {seen.host} is silent, it last said {status.actual}",
        since=status.since,
        mtu=status.mtu or None,
        endpoint=status.endpoint,
    )
