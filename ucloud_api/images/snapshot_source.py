"""Which snapshot of a VM is meant, and whether it can be used: to roll back to, or to make an image of."""

from common import keys
from common.schemas.snapshot import Snapshot, SnapshotActual, SnapshotSource
from common.schemas.vm import VmRequest
from ucloud_api import models
from ucloud_api.access.auth import Caller
from ucloud_api.access.owner import check_may_change
from ucloud_api.problems import ApiProblem, FieldProblem, not_found
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts
from ucloud_api.reading.vm_views import VmViews
from ucloud_api.worker.state import State


def named(request: VmRequest, wanted: str) -> Snapshot | None:
    """The snapshot of this id, else of this name."""
    by_id = (snapshot for snapshot in request.snapshots if snapshot.id == wanted)
    by_name = (snapshot for snapshot in request.snapshots if snapshot.name == wanted)
    return next(by_id, None) or next(by_name, None)


def find(request: VmRequest, wanted: str) -> Snapshot:
    """The snapshot that is meant by its name or id; ApiProblem (404) that names those there are."""
    if found := named(request, wanted):
        return found
    names = ", ".join(snapshot.name for snapshot in request.snapshots)
    hint = f"; there are: {names}" if names else "; there is none yet"
    raise not_found("snapshot", wanted, f' of the VM "{request.name}"{hint}')


def find_ready(facts: VmFacts, wanted: str) -> Snapshot:
    """The same; ApiProblem (409) also where it is not READY."""
    found = find(facts.request, wanted)
    report = views.snapshot_report(facts, found.id)
    if report.actual is not SnapshotActual.READY:
        reason = f": {report.reason}" if report.reason else ""
        detail = f'the snapshot "{found.name}" is {report.actual}, not READY{reason}'
        raise ApiProblem(409, "snapshot-not-ready", detail)
    return found


def source_of(
    state: State, rendered: VmViews, caller: Caller, owner: str, body: models.ImageCreate
) -> tuple[SnapshotSource, models.ImageCreate]:
    """What an owner's image is to be made from, and what is said of that one, completed by what the VM says.

    The VM is named by its uuid, or its name among the owner's. ApiProblem: 404 when there is none, or no such snapshot,
    403 where the caller may not change the VM, 409 when the snapshot is not READY.
    """
    wanted = body.vm or ""
    state.await_caches(*state.vm_caches)
    cached = state.find(state.vms, keys.vm(wanted), VmRequest)
    if cached is None and (entry := state.store.get(keys.name(owner, "vm", wanted))):
        cached = state.find(state.vms, keys.vm(entry.value.decode()), VmRequest)
    if cached is None or not caller.may_see(cached.record.owner):
        problem = FieldProblem(field="vm", problem="does not exist", allowed="the name or the uuid of a VM")
        raise ApiProblem(404, "vm-not-found", f'there is no VM "{wanted}"', [problem])
    request = cached.record
    check_may_change(caller, request.owner)
    snapshot = find_ready(rendered.facts(request), body.snapshot or "")
    source = SnapshotSource(vm=request.uuid, snapshot=snapshot.id, vm_name=request.name, name=snapshot.name)
    # It is kept where the VM's disks are, and its guests are started as the VM is.
    given = {"firmware": request.specs.firmware, "store": request.image_store}
    least = {"min_disk": max(body.min_disk, snapshot.disks[0].size_mib)}
    unsaid = {field: value for field, value in given.items() if field not in body.model_fields_set}
    return source, body.model_copy(update=least | unsaid)
