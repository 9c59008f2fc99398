"""The routes of a VM's snapshots: taken of all its disks at one moment, removed, and rolled back to."""

from datetime import UTC, datetime
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.snapshot import MOST_SNAPSHOTS, Rollback, Snapshot, SnapshotActual
from common.schemas.vm import Actual, Requested, Verb, VmRequest
from ucloud_api import models
from ucloud_api.access.auth import current_caller
from ucloud_api.images.snapshot_source import find, find_ready, named
from ucloud_api.problems import ApiProblem, documented, name_taken
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts
from ucloud_api.vms import vm
from ucloud_api.vms.lifecycle import Wish, decide
from ucloud_api.worker.state import current_state
from ucloud_api.writing.answers import answer

blueprint = APIBlueprint(
    "snapshot",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


@blueprint.get(
    "/<uuid>/snapshot", summary="List a VM's snapshots", responses={200: models.SnapshotList, **documented(404)}
)
def list_snapshots(path: models.ThingPath) -> Response:
    """All snapshots of a VM, oldest first."""
    request, _ = vm.read(current_state(), current_caller(), str(path.uuid))
    facts = vm.current_views().facts(request)
    return answer(models.SnapshotList(items=views.snapshots(facts)), 200)


@blueprint.post(
    "/<uuid>/snapshot",
    summary="Take a snapshot of a VM",
    responses={202: models.Vm, **documented(400, 403, 404, 412, 413, 415)},
)
def create(path: models.ThingPath, body: models.SnapshotCreate) -> Response:
    """Ask for a snapshot of all disks of a VM at one moment; a guest that runs stands still for a moment."""
    now, snapshot_id = datetime.now(UTC), str(uuid4())
    name = body.name or f"snapshot-{snapshot_id[:8]}"

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        if taken := named(current, name):
            raise name_taken("snapshot", name, taken.id)
        if len(current.snapshots) >= MOST_SNAPSHOTS:
            detail = f'the VM "{current.name}" has {MOST_SNAPSHOTS} snapshots, which is the most'
            raise ApiProblem(409, "too-many-snapshots", detail)
        made = Snapshot(id=snapshot_id, name=name, created_at=now, disks=current.specs.disks)
        return _changed(current, facts, Wish(snapshots=(*current.snapshots, made)), now)

    return vm.change_request(str(path.uuid), decided)


@blueprint.delete(
    "/<uuid>/snapshot/<snapshot>",
    summary="Remove a snapshot of a VM",
    responses={202: models.Vm, **documented(403, 404, 412)},
)
def delete(path: models.SnapshotPath) -> Response:
    """Ask for a snapshot to go. Refused while the VM is to be rolled back to it."""
    now = datetime.now(UTC)

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        found = find(current, path.snapshot)
        pending = views.pending_rollback(facts)
        is_lost = views.snapshot_report(facts, found.id).actual is SnapshotActual.LOST
        if pending and pending.snapshot == found.id and not is_lost:
            detail = f'the VM "{current.name}" is yet to be rolled back to the snapshot "{found.name}"'
            raise ApiProblem(409, "rollback-pending", detail)
        left = tuple(snapshot for snapshot in current.snapshots if snapshot is not found)
        return _changed(current, facts, Wish(snapshots=left), now)

    return vm.change_request(str(path.uuid), decided)


@blueprint.post(
    "/<uuid>/snapshot/<snapshot>/rollback",
    summary="Roll a VM back to a snapshot",
    responses={202: models.Vm, **documented(400, 403, 404, 412, 413, 415)},
    request_body=vm.optional(models.VmVerb),
)
def rollback(path: models.SnapshotPath) -> Response:
    """Have the disks of a VM that is off become what they were in a snapshot. All that was written since is lost."""
    now = datetime.now(UTC)
    vm.said(models.VmVerb)

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        found = find(current, path.snapshot)
        pending = views.pending_rollback(facts)
        if pending and pending.snapshot == found.id:
            return current
        _check_off(current, facts)
        find_ready(facts, found.id)
        number = current.rollback.number + 1 if current.rollback else 1
        return _changed(current, facts, Wish(rollback=Rollback(number=number, snapshot=found.id, name=found.name)), now)

    return vm.change_request(str(path.uuid), decided)


def _check_off(current: VmRequest, facts: VmFacts) -> None:
    """ApiProblem (409) unless a VM is off, and is to stay so."""
    actual, _ = views.actual_state(facts)
    if actual is not Actual.STOPPED or not (current.requested is Requested.STOPPED or _is_answered(current, facts)):
        is_now = f"is {actual}" if actual is not Actual.STOPPED else "is to be started"
        detail = f'the VM "{current.name}" {is_now}; only one that is STOPPED can be rolled back: stop it first'
        raise ApiProblem(409, "not-allowed-now", detail)


def _is_answered(current: VmRequest, facts: VmFacts) -> bool:
    status = views.current_status(facts)
    return status is not None and status.generation == current.generation


def _changed(current: VmRequest, facts: VmFacts, wish: Wish, now: datetime) -> VmRequest:
    """The request as it is wished. A guest that powered itself off stays off: a change would else start it again."""
    actual, _ = views.actual_state(facts)
    is_off_by_itself = actual is Actual.STOPPED and current.requested is not Requested.STOPPED
    if is_off_by_itself and _is_answered(current, facts):
        wish = Wish(verb=Verb.STOP, snapshots=wish.snapshots, rollback=wish.rollback)
    return decide(current, actual, wish, now)
