"""Checks of what hosts have of networks: all that their VMs need, and nothing for hosts that are gone. Pure."""

from collections.abc import Iterator

from common import keys
from common.admission import Step
from common.schemas.network import NetworkActual
from common.schemas.verdict import Sentence
from common.schemas.vm import Requested, Role
from common.store import Delete, absent
from ucloud_api.doctor.finding import Check, Finding, error, warning
from ucloud_api.doctor.snapshot import Pair, Snapshot
from ucloud_api.doctor.vm_checks import GRACE


def _needed(snapshot: Snapshot, is_late: bool = False) -> dict[Pair, str]:
    """The networks that VMs on each host are on, each with one of these; those that it could have by now."""
    return {
        (host, port.network): vm
        for (host, vm), found in snapshot.placements.items()
        if found.record.role is not Role.LEFT
        and not (is_late and snapshot.at - found.record.placed_at <= GRACE)
        and not (is_late and found.record.request.requested is Requested.DELETED)
        for port in found.record.request.ports
    }


def _built(snapshot: Snapshot) -> Iterator[Finding]:
    for (host, network), vm in sorted(_needed(snapshot, is_late=True).items()):
        key = keys.network_status(host, network)
        if snapshot.is_alive(host) and not snapshot.has(key):
            sentence = f"{host} says nothing of network {network}, which VM {vm} there is on"
            yield error("network-without-status", key, sentence, f"look at ucloud-net on {host}")
    for (host, network), found in snapshot.network_statuses.items():
        if snapshot.is_alive(host) and found.record.actual is NetworkActual.ERROR:
            sentence = f"{host} can't build network {network}: {found.record.reason}"
            yield error("network-not-built", keys.network_status(host, network), sentence, f"look at {host}")


def _left_over(snapshot: Snapshot) -> Iterator[Finding]:
    """A host that is back tells all of it anew."""
    needed = _needed(snapshot)
    told = [(keys.network_status(host, network), host, network) for host, network in snapshot.network_statuses]
    told += [(keys.endpoint(network, host), host, network) for network, host in snapshot.endpoints]
    for key, host, network in told:
        what = "endpoint" if key.startswith(keys.ENDPOINT) else "network-status"
        verdict = snapshot.verdicts.get(host)
        is_dead = verdict is not None and verdict.record.sentence is Sentence.DEAD
        if (host, network) in needed or _has_malformed_orders(snapshot, host):
            continue
        if snapshot.is_alive(host):
            sentence = f"{host} still has network {network}, on which no VM is there"
            advice = f"look at ucloud-net on {host}: it removes what no guest is plugged into"
            yield warning(f"{what}-without-port", key, sentence, advice)
        elif is_dead or not snapshot.is_known(host):
            fix = Step((snapshot.same(key), absent(keys.alive(host))), (Delete(key),))
            sentence = f"{host} is {'dead' if is_dead else 'gone'}, what it said of network {network} is not"
            yield warning(f"{what}-of-gone-host", key, sentence, "remove it", fix)


def _has_malformed_orders(snapshot: Snapshot, host: str) -> bool:
    return any(key.startswith(keys.placements(host)) for key in snapshot.malformed)


CHECKS: tuple[Check, ...] = (_built, _left_over)
