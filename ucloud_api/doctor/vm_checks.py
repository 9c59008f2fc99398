"""Checks of what is ordered and reported, and of what is on the hosts without an order. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from common import keys
from common.admission import Step
from common.schemas.vm import Requested, Role
from common.store import Delete, absent
from ucloud_api.doctor.finding import Check, Finding, error, warning
from ucloud_api.doctor.snapshot import Snapshot

GRACE = timedelta(seconds=60)
"""How long a daemon may take to answer what was written."""


def _placements_of_nothing(snapshot: Snapshot) -> Iterator[Finding]:
    for host, vm in snapshot.placements:
        key = keys.placement(host, vm)
        if not snapshot.has(keys.vm(vm)):
            advice = "restore /v1/vm from a backup, or delete the placement by hand if its disks may go"
            yield error("placement-without-vm", key, f"VM {vm} is placed on {host}, and nobody requests it", advice)
        if not snapshot.is_known(host):
            advice = "start ucloud-host there, or move its disks and delete the placement by hand"
            yield error(
                "placement-on-unknown-host", key, f"VM {vm} is placed on {host}, which never registered", advice
            )


def _placed_twice(snapshot: Snapshot) -> Iterator[Finding]:
    running = defaultdict(list)
    for (host, vm), found in snapshot.placements.items():
        if found.record.role is Role.RUN:
            running[vm].append(host)
    for vm, hosts in running.items():
        if len(hosts) > 1:
            where = " and ".join(sorted(hosts))
            advice = "stop it on all but one of them by hand, then delete those placements"
            yield error("placed-twice", keys.vm(vm), f"VM {vm} is ordered to run on {where}", advice)


def _unanswered(snapshot: Snapshot) -> Iterator[Finding]:
    for (host, vm), found in snapshot.placements.items():
        is_late = snapshot.at - found.record.placed_at > GRACE
        if is_late and snapshot.is_alive(host) and not snapshot.has(keys.vm_status(host, vm)):
            sentence = f"VM {vm} was placed on {host} at {found.record.placed_at:%F %T}, which says nothing of it"
            yield error("placement-without-status", keys.placement(host, vm), sentence, f"look at ucloud-vm on {host}")


def _left_over_statuses(snapshot: Snapshot) -> Iterator[Finding]:
    for host, vm in snapshot.statuses:
        key = keys.vm_status(host, vm)
        if host == keys.NO_HOST:
            if not snapshot.has(keys.vm(vm)):
                fix = Step((snapshot.same(key), absent(keys.vm(vm))), (Delete(key),))
                yield warning("status-without-vm", key, f"VM {vm} is said to wait, and is gone", "remove it", fix)
        elif snapshot.has(keys.placement(host, vm)):
            continue
        elif snapshot.is_alive(host):
            advice = f"look at ucloud-vm on {host}: it removes the guest after a minute, and then the status"
            yield warning("status-without-placement", key, f"{host} reports VM {vm}, which is not placed there", advice)
        elif not snapshot.is_known(host):
            gone = (absent(keys.host_status(host)), absent(keys.alive(host)), absent(keys.placement(host, vm)))
            fix = Step((snapshot.same(key), *gone), (Delete(key),))
            yield warning("status-of-gone-host", key, f"{host} is gone, its word on VM {vm} is not", "remove it", fix)


def _moves(snapshot: Snapshot) -> Iterator[Finding]:
    for (host, vm), found in snapshot.placements.items():
        key, order = keys.placement(host, vm), found.record
        if order.role is Role.INCOMING:
            source = snapshot.placements.get((order.coming_from or "", vm))
            leaving = source.record.leaving if source else None
            if leaving is None or leaving.to != host:
                sentence = f"VM {vm} is to come to {host}, and {order.coming_from} is not to let it go"
                yield error("incoming-without-leaving", key, sentence, "look at the elected ucloud-scheduler's log")
        elif order.role is Role.RUN and order.leaving:
            target = order.leaving.to
            # Backing out, the scheduler waits until the other host has said that nothing is left there.
            is_awaited = snapshot.has(keys.placement(target, vm)) or snapshot.has(keys.vm_status(target, vm))
            if not is_awaited:
                sentence = f"VM {vm} is to leave {host} for {target}, which does not await it"
                yield error("leaving-without-incoming", key, sentence, "look at the elected ucloud-scheduler's log")


def _forgotten(snapshot: Snapshot) -> Iterator[Finding]:
    placed = {vm for _, vm in snapshot.placements}
    for vm, found in snapshot.vms.items():
        request = found.record
        is_late = snapshot.at - (request.changed_at or request.created_at) > GRACE
        is_explained = snapshot.has(keys.vm_status(keys.NO_HOST, vm))
        if vm not in placed and is_late and not is_explained and request.requested is not Requested.DELETED:
            sentence = f"VM {vm} has no host, and the scheduler does not say why"
            yield error("vm-without-placement", keys.vm(vm), sentence, "look at the elected ucloud-scheduler")


def _orphans(snapshot: Snapshot) -> Iterator[Finding]:
    for host, answer in snapshot.answers.items():
        if answer.inventory is None:
            continue
        for vm in sorted(answer.inventory.guests):
            if not snapshot.has(keys.placement(host, vm)):
                advice = f"look at ucloud-vm on {host}, which ends it after a minute; its disks stay"
                sentence = f"{host} has a guest of VM {vm}, which is not placed there"
                yield error("orphan-guest", f"{host}/{vm}", sentence, advice)
        for port in sorted(answer.inventory.ports - _ports_on(snapshot, host)):
            advice = f"look at the guests of {host}: one may keep a port that it is to lose, until it is stopped"
            yield warning(
                "orphan-tap", f"{host}/{port}", f"{host} has a tap of port {port}, which no VM has there", advice
            )
        for vm in sorted(answer.inventory.disks or ()):
            if not snapshot.has(keys.vm(vm)):
                advice = f"keep what is worth it, then remove the folder vms/{vm} from the store"
                sentence = f"the store of {host} has disks of VM {vm}, which nobody requests"
                yield warning("orphan-disk", f"{host}/{vm}", sentence, advice)


def _ports_on(snapshot: Snapshot, host: str) -> frozenset[str]:
    """The ports of the VMs that are placed on a host."""
    placed = (found.record for (where, _), found in snapshot.placements.items() if where == host)
    return frozenset(port.id for placement in placed for port in placement.request.ports)


CHECKS: tuple[Check, ...] = (
    *(_placements_of_nothing, _placed_twice, _unanswered, _left_over_statuses, _moves, _forgotten, _orphans),
)
