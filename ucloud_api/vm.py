"""The routes of VMs."""

from datetime import UTC, datetime
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.errors import Conflict
from common.schemas.image import ImageRequest, ImageStatus
from common.schemas.size import human_size
from common.schemas.vm import ALLOWED_REQUESTS, Actual, Requested, Specs, VmRequest
from ucloud_api import models, views
from ucloud_api.answers import answer, matches, page, watchable
from ucloud_api.change import TRIES, change
from ucloud_api.console import read_serial_log
from ucloud_api.image import find_ready
from ucloud_api.problems import ApiProblem, FieldProblem, documented, name_taken, not_found
from ucloud_api.state import State, current_state
from ucloud_api.watch import stream

blueprint = APIBlueprint(
    "vm",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(422, 500, 503),
)


def _resource(state: State, request: VmRequest) -> models.Vm:
    return views.vm(state.facts(request))


@blueprint.post("", summary="Create a VM", responses={201: models.Vm, **documented(400, 404, 409, 413, 415)})
def create(body: models.VmCreate) -> Response:
    """Ask for a new VM. It is PENDING until a host is found for it."""
    state = current_state()
    state.await_caches(state.images, state.image_statuses)
    uuid = str(uuid4())
    owner = body.owner or state.settings.api.default_owner
    name = body.name or f"vm-{uuid[:8]}"
    name_key = keys.name(owner, "vm", name)
    for _ in range(TRIES):
        image, image_revision, image_status = find_ready(state, body.image, owner)
        request = VmRequest(
            uuid=uuid,
            owner=owner,
            name=name,
            specs=_specs(body.specs, image, image_status),
            image=image.uuid,
            requested=body.requested,
            created_at=datetime.now(UTC),
        )
        step = admission.admit_vm(request, image_revision)
        try:
            revision = state.store.commit(step.compares, step.operations)
        except Conflict as conflict:
            if name_key not in conflict.keys:
                continue  # the image changed: look at it again
            holder = state.store.get(name_key)
            raise name_taken("VM", name, holder.value.decode() if holder else "") from conflict
        state.vms.note(keys.vm(uuid), request, revision)
        return answer(_resource(state, request), 201, {"Location": keys.vm(uuid)})
    raise ApiProblem(409, "changed-meanwhile", "the image keeps changing; try again")


def _specs(wanted: models.SpecsIn, image: ImageRequest, status: ImageStatus) -> Specs:
    if wanted.ssd < status.virtual_size_mib:
        least = human_size(status.virtual_size_mib)
        problem = FieldProblem(field="specs.ssd", problem="is smaller than the image", allowed=f"at least {least}")
        detail = f'specs.ssd: the image "{image.name}" needs at least {least}'
        raise ApiProblem(422, "invalid-fields", detail, [problem])
    return Specs(cpu=wanted.cpu, ram_mib=wanted.ram, ssd_mib=wanted.ssd, hdd_mib=wanted.hdd)


@blueprint.get("", summary="List VMs", responses={200: models.VmList})
def list_vms(query: models.VmQuery) -> Response:
    """The VMs, oldest first; with ?watch=1 a stream of each that changes."""
    state = current_state()
    _await_vm_caches(state)
    filters = query.model_dump(include={"owner", "name", "status"})
    if query.watch:
        return stream(state.hub, "vm", None, lambda: _uuids(state), lambda uuid: _look(state, uuid, filters))
    items, cursor = page(
        state.vms.records(),
        lambda request: _resource(state, request),
        lambda resource: matches(resource, filters),
        query.limit,
        query.cursor,
    )
    return answer(models.VmList(items=items, next_cursor=cursor))


@blueprint.get("/<uuid>", summary="Show a VM", responses={200: watchable(models.Vm), **documented(404)})
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One VM; with ?watch=1 a stream that begins with it as it is."""
    state, uuid = current_state(), str(path.uuid)
    _await_vm_caches(state)
    request = _read(state, uuid)
    if query.watch:
        return stream(state.hub, "vm", uuid, lambda: [uuid], lambda each: _look(state, each, {}))
    return answer(_resource(state, request))


def _await_vm_caches(state: State) -> None:
    state.await_caches(state.vms, state.placements, state.vm_statuses, state.alive, state.images)


def _read(state: State, uuid: str) -> VmRequest:
    request = state.read(state.vms, keys.vm(uuid), VmRequest)
    if request is None:
        raise not_found("VM", uuid)
    return request


def _uuids(state: State) -> list[str]:
    return [keys.last_part(key) for key in state.vms.records()]


def _look(state: State, uuid: str, filters: dict[str, object]) -> str | None:
    request = state.cached_or_read(state.vms, keys.vm(uuid), VmRequest)
    resource = _resource(state, request) if request else None
    return resource.model_dump_json() if resource and matches(resource, filters) else None


@blueprint.patch("/<uuid>", summary="Change a VM", responses={200: models.Vm, **documented(400, 404, 409, 413, 415)})
def patch(path: models.ThingPath, body: models.VmPatch) -> Response:
    """Request another state. Refused where it is not allowed from the actual one."""
    return answer(_request(current_state(), str(path.uuid), body.requested))


@blueprint.delete("/<uuid>", summary="Delete a VM", responses={202: models.Vm, **documented(404, 409)})
def delete(path: models.ThingPath) -> Response:
    """Ask for a VM and its disks to be removed; it is shown until nothing of it is left. Twice is no error."""
    return answer(_request(current_state(), str(path.uuid), Requested.DELETED), 202)


def _request(state: State, uuid: str, wanted: Requested) -> models.Vm:
    """Request a state of a VM, if it may be requested from the actual one."""
    _await_vm_caches(state)

    def decide(current: VmRequest | None) -> VmRequest:
        if current is None:
            raise not_found("VM", uuid)
        actual = _check(state, current, wanted)
        # Asked for again: a new try, where what was asked for has not come about (the guest powered itself off ...).
        if current.requested is wanted and (wanted is Requested.DELETED or actual == wanted.value):
            return current
        return current.model_copy(update={"requested": wanted, "generation": current.generation + 1})

    return _resource(state, change(state.store, state.vms, VmRequest, keys.vm(uuid), decide))


def _check(state: State, current: VmRequest, wanted: Requested) -> Actual:
    """The actual state; ApiProblem (409) when `wanted` may not be requested from it."""
    actual, _ = views.actual_state(state.facts(current))
    # What is to be deleted has, for its owner, ceased to be: nothing brings it back.
    doomed = current.requested is Requested.DELETED
    allowed = ALLOWED_REQUESTS[Actual.DELETING if doomed else actual]
    if wanted not in allowed:
        names = [each.value for each in Requested if each in allowed]
        is_now = "is being deleted" if doomed else f"is {actual}"
        problem = FieldProblem(field="requested", problem=f"{wanted} is not allowed now", allowed=names)
        detail = f'the VM "{current.name}" {is_now}; allowed now: {", ".join(names)}'
        raise ApiProblem(409, "not-allowed-now", detail, [problem])
    return actual


_LOG_RESPONSE = {
    "description": "The log, as the guest wrote it.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@blueprint.get(
    "/<uuid>/log", summary="Read a VM's serial log", responses={200: _LOG_RESPONSE, **documented(404, 409, 502)}
)
def log(path: models.ThingPath, query: models.LogQuery) -> Response:
    """The end of what the guest wrote to its serial port, fetched from its host."""
    state = current_state()
    _await_vm_caches(state)
    facts = state.facts(_read(state, str(path.uuid)))
    status = views.current_status(facts)
    if facts.placement is None or status is None or status.console is None:
        actual, reason = views.actual_state(facts)
        why = f": {reason}" if reason else ""
        raise ApiProblem(409, "no-log-yet", f"the VM is {actual} and has no log yet{why}")
    end = read_serial_log(status.console, facts.host or "", query.tail_bytes)
    return Response(end, mimetype="text/plain", headers={"Cache-Control": "no-store"})
