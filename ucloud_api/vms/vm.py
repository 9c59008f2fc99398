"""The routes of VMs: made, listed, followed, changed, deleted. What is on their screens is ucloud_api.vms.console's."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar, cast
from uuid import uuid4

from flask import Response, current_app, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.request_body import RequestBody
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, ValidationError

from common import admission, keys
from common.admission import Step
from common.errors import Conflict, MalformedRecord
from common.schemas.image import ImageRequest, ImageStatus
from common.schemas.size import human_size
from common.schemas.vm import Specs, Verb, VmRequest
from ucloud_api import models
from ucloud_api.access.auth import Caller, current_caller
from ucloud_api.access.owner import budget_of, check_may_change, owner_of_new
from ucloud_api.images.image import find_ready
from ucloud_api.problems import ApiProblem, FieldProblem, documented, invalid_body, name_taken, not_found
from ucloud_api.reading import views
from ucloud_api.reading.quick import quick
from ucloud_api.reading.streams import Source, stream
from ucloud_api.reading.views import VmFacts
from ucloud_api.reading.vm_views import VmViews
from ucloud_api.vms.guest import guest_of
from ucloud_api.vms.lifecycle import Wish, decide
from ucloud_api.vms.placing import placing_of
from ucloud_api.vms.plugging import Plugging, check_extent
from ucloud_api.vms.sizing import resized, specs_of
from ucloud_api.worker.state import State, current_state
from ucloud_api.worker.things import Audience
from ucloud_api.writing.answers import etag, json_answer, json_list, page_of, watchable
from ucloud_api.writing.change import Changed, Plan, change, told
from ucloud_api.writing.creation import Creation, make

M = TypeVar("M", bound=BaseModel)
VIEWS = "ucloud-vm-views"
"""The extension of the application that holds its VmViews."""

_VERBS = ("start", "stop", "suspend", "resume", "reboot")
BODILESS = frozenset((*(f"vm.{verb}" for verb in _VERBS), "move.migrate", "snapshot.rollback"))
"""The endpoints that may be called without a body."""

blueprint = APIBlueprint(
    "vm",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)
_CHANGED = {202: models.Vm, **documented(400, 403, 404, 412, 413, 415)}


def current_views() -> VmViews:
    """The views of the worker that serves this request."""
    return cast(VmViews, current_app.extensions[VIEWS])


@blueprint.post("", summary="Create a VM", responses={202: models.Vm, **documented(400, 403, 404, 413, 415)})
def create(body: models.VmCreate) -> Response:
    """Ask for a new VM. It is PENDING until a host is found for it."""
    state, caller = current_state(), current_caller()
    state.await_caches(state.images, state.image_statuses)
    uuid, owner = str(uuid4()), owner_of_new(caller, body.owner)
    name = body.name or f"vm-{uuid[:8]}"
    said = placing_of(caller, body) | guest_of(state, caller, owner, body)
    plugging = Plugging(state, caller, owner)

    def draft() -> tuple[bytes, Step]:
        image, image_revision, image_status = find_ready(state, caller, body.image, owner)
        vm = VmRequest(
            uuid=uuid,
            owner=owner,
            name=name,
            specs=_specs(body.specs, image, image_status),
            image=image.uuid,
            image_store=image.store,
            requested=body.requested,
            protected=body.protected,
            created_at=datetime.now(UTC),
            ports=plugging.draw(body.networks),
        ).model_copy(update=said)
        check_extent(vm, "networks")
        resource = views.vm(VmFacts(vm, image_name=image.name, names=plugging.names)).model_dump_json().encode()
        return resource, admission.admit_vm(vm, image_revision, budget_of(state, owner)) + told(state, None, vm)

    def refuse(conflict: Conflict) -> None:
        """Else the image, a network, the account or what is charged to it changed: look again."""
        plugging.refuse(conflict)
        _refuse_name(state, conflict, keys.name(owner, "vm", name), name)

    return make(state, Creation(state.vms, keys.vm(uuid), "the image, the quota or a network", draft, refuse))


def _refuse_name(state: State, conflict: Conflict, name_key: str, name: str) -> None:
    """ApiProblem (409) when a transaction failed because the name is taken."""
    if name_key in conflict.keys:
        holder = state.store.get(name_key)
        raise name_taken("VM", name, holder.value.decode() if holder else "") from conflict


def _specs(wanted: models.SpecsIn, image: ImageRequest, status: ImageStatus) -> Specs:
    needs = {"ssd": max(status.virtual_size_mib, image.min_disk_mib), "ram": image.min_ram_mib}
    for field, has_mib in (("ssd", wanted.ssd[0]), ("ram", wanted.ram)):
        if has_mib < needs[field]:
            raise _too_small(field, image.name, needs[field])
    return specs_of(wanted, image.firmware)


def _too_small(field: str, image_name: str, least_mib: int) -> ApiProblem:
    least = human_size(least_mib)
    problem = "is smaller than the image" if field == "ssd" else "is less than the image needs"
    detail = f'specs.{field}: the image "{image_name}" needs at least {least}'
    wrong = FieldProblem(field=f"specs.{field}", problem=problem, allowed=f"at least {least}")
    return ApiProblem(422, "invalid-fields", detail, [wrong])


@blueprint.get("", summary="List VMs", responses={200: watchable(models.VmList)})
def list_vms(query: models.VmQuery) -> Response:
    """The caller's VMs and its projects', oldest first, an admin's list has all; with ?watch=1 a stream of changes."""
    state, caller, rendered = current_state(), current_caller(), current_views()
    await_vm_caches(state)
    is_asked_for, is_in_state = _filters(query)

    def look(uuid: str) -> tuple[int, bytes] | None:
        cached = state.vms.get(keys.vm(uuid))
        if cached is None or not caller.may_see(cached.record.owner) or not is_asked_for(cached.record):
            return None
        resource = rendered.json_if(is_in_state, cached.record, cached.mod_revision)
        return (cached.create_revision, resource) if resource else None

    owners = None if caller.is_admin else caller.owners
    if query.owner:
        owners = (query.owner,) if caller.may_see(query.owner) else ()
    if query.watch:
        return stream(state, _source(state, caller, None, lambda: _uuids(state, owners, 0), look))
    return json_list(*page_of(_uuids(state, owners, int(query.cursor or 0)), look, query.limit))


def _uuids(state: State, owners: Iterable[str] | None, after: int) -> Iterable[str]:
    return state.vm_things.of_all(after) if owners is None else state.vm_things.of(owners, after)


def _filters(query: models.VmQuery) -> tuple[Callable[[VmRequest], bool], Callable[[VmFacts], bool]]:
    """Whether a VM is among those that are asked for: by what is requested, and by what is known of it."""
    requested = {field: value for field in ("owner", "name", "requested") if (value := getattr(query, field))}
    tests: dict[str, Callable[[VmFacts], object]] = {
        "host": lambda facts: facts.host,
        "status": lambda facts: views.actual_state(facts)[0],
    }
    known = {field: value for field in tests if (value := getattr(query, field))}

    def is_asked_for(vm: VmRequest) -> bool:
        return all(getattr(vm, field) == value for field, value in requested.items())

    def is_in_state(facts: VmFacts) -> bool:
        is_of_image = query.image in (None, facts.request.image, facts.image_name)
        return is_of_image and all(tests[field](facts) == value for field, value in known.items())

    return is_asked_for, is_in_state


def _source(
    state: State,
    caller: Caller,
    uuid: str | None,
    names: Callable[[], Iterable[str]],
    look: Callable[[str], tuple[int, bytes] | None],
) -> Source:
    def resource(name: str) -> bytes | None:
        found = look(name)
        return found[1] if found else None

    def may_see(audience: Audience) -> bool:
        return caller.may_see(audience.owner)

    caches, since = (*state.vm_caches, *state.rights_caches), state.rights_since(caller.user)
    return Source("vm", uuid, names, resource, may_see, caches, state.vm_journal, since)


@blueprint.get("/<uuid>", summary="Show a VM", responses={200: watchable(models.Vm), **documented(404)})
@quick
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One VM; with ?watch=1 a stream that begins with it as it is."""
    state, caller, rendered, uuid = current_state(), current_caller(), current_views(), str(path.uuid)
    vm, revision = read(state, caller, uuid)
    if not query.watch:
        return json_answer(rendered.json(vm, revision), 200, {"ETag": etag(revision)})

    def look(name: str) -> tuple[int, bytes] | None:
        cached = state.vms.get(keys.vm(name))
        return (cached.create_revision, rendered.json(cached.record, cached.mod_revision)) if cached else None

    return stream(state, _source(state, caller, uuid, lambda: [uuid], look))


def await_vm_caches(state: State) -> None:
    """Wait until what is known of VMs is fresh."""
    state.await_caches(*state.vm_caches, state.images, state.networks, state.groups)


def read(state: State, caller: Caller, uuid: str) -> tuple[VmRequest, int]:
    """The request for a VM that the caller may see, with its revision; ApiProblem (404)."""
    await_vm_caches(state)
    key = keys.vm(uuid)
    try:
        cached = state.find(state.vms, key, VmRequest)
    except MalformedRecord:
        if not _may_see_malformed(state, caller, uuid):
            raise not_found("VM", uuid) from None
        raise
    if cached is None or not caller.may_see(cached.record.owner):
        raise not_found("VM", uuid)
    return cached.record, cached.mod_revision


def _may_see_malformed(state: State, caller: Caller, uuid: str) -> bool:
    """Whether a VM is the caller's whose record can't be read: then one of the caller's names still leads to it."""
    return caller.is_admin or any(
        entry.value == uuid.encode() for owner in caller.owners for entry in state.store.list(keys.names(owner)).entries
    )


@blueprint.patch("/<uuid>", summary="Change a VM", responses=_CHANGED)
def patch(path: models.ThingPath, body: models.VmPatch) -> Response:
    """Rename, resize, protect, or request another state. Refused where it is not allowed from the actual one."""
    specs = body.specs.model_dump(exclude_none=True) if body.specs else {}
    sizes = {field if field == "cpu" else f"{field}_mib": value for field, value in specs.items()}
    return _wish(
        str(path.uuid),
        Wish(
            requested=body.requested,
            force=body.force,
            name=body.name,
            protected=body.protected,
            resize=(lambda current: resized(current, sizes)) if sizes else None,
            placing=placing_of(current_caller(), body),
        ),
    )


@blueprint.delete("/<uuid>", summary="Delete a VM", responses={202: models.Vm, **documented(403, 404, 412)})
def delete(path: models.ThingPath) -> Response:
    """Ask for a VM and its disks to be removed; it is shown until nothing of it is left. Twice is no error."""
    return _wish(str(path.uuid), Wish(verb=Verb.DELETE))


def optional(model: type[BaseModel]) -> RequestBody:
    """The documented body of a route that may be called without one."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return RequestBody.model_validate({"required": False, "content": {"application/json": {"schema": schema}}})


def said(model: type[M]) -> M:
    """The body, which may be missing; ApiProblem (422)."""
    try:
        return model.model_validate(request.get_json() if request.content_type else {})
    except ValidationError as error:
        raise invalid_body(error) from error


@blueprint.post("/<uuid>/start", summary="Start a VM", responses=_CHANGED, request_body=optional(models.VmVerb))
def start(path: models.ThingPath) -> Response:
    """Have a VM run that is off, or that is to be tried again."""
    said(models.VmVerb)
    return _wish(str(path.uuid), Wish(verb=Verb.START))


@blueprint.post("/<uuid>/stop", summary="Stop a VM", responses=_CHANGED, request_body=optional(models.VmForceVerb))
def stop(path: models.ThingPath) -> Response:
    """Ask the guest to shut down, then cut the power; with `force` at once."""
    return _wish(str(path.uuid), Wish(verb=Verb.STOP, force=said(models.VmForceVerb).force))


@blueprint.post("/<uuid>/suspend", summary="Suspend a VM", responses=_CHANGED, request_body=optional(models.VmVerb))
def suspend(path: models.ThingPath) -> Response:
    """Pause the guest, which keeps its memory."""
    said(models.VmVerb)
    return _wish(str(path.uuid), Wish(verb=Verb.SUSPEND))


@blueprint.post("/<uuid>/resume", summary="Resume a VM", responses=_CHANGED, request_body=optional(models.VmVerb))
def resume(path: models.ThingPath) -> Response:
    """Let a suspended guest go on."""
    said(models.VmVerb)
    return _wish(str(path.uuid), Wish(verb=Verb.RESUME))


@blueprint.post("/<uuid>/reboot", summary="Reboot a VM", responses=_CHANGED, request_body=optional(models.VmForceVerb))
def reboot(path: models.ThingPath) -> Response:
    """Shut the guest down and start it again, also with new specs; with `force` by cutting the power."""
    return _wish(str(path.uuid), Wish(verb=Verb.REBOOT, force=said(models.VmForceVerb).force))


def _wish(uuid: str, wish: Wish) -> Response:
    """Change a VM as its owner wishes, if the state that it actually is in allows it."""
    now = datetime.now(UTC)

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        after = decide(current, views.actual_state(facts)[0], wish, now)
        _check_ram(current, after)
        return after

    return change_request(uuid, decided)


def _check_ram(before: VmRequest, after: VmRequest) -> None:
    """ApiProblem (422) where a VM is to have less memory than its image needs; what it has already, it may keep."""
    image = current_state().images.get(keys.image(after.image))
    least_mib = image.record.min_ram_mib if image else 0
    if after.specs.ram_mib < min(before.specs.ram_mib, least_mib):
        raise _too_small("ram", image.record.name if image else "", least_mib)


def change_request(
    uuid: str,
    decided: Callable[[VmRequest, VmFacts], VmRequest],
    refuse_too: Callable[[Conflict], None] | None = None,
) -> Response:
    """Change the request for a VM that the caller may change; `decided` raises an ApiProblem to refuse.

    So does `refuse_too` where a condition of the transaction failed for good.
    """
    state, caller, rendered = current_state(), current_caller(), current_views()
    check_may_change(caller, read(state, caller, uuid)[0].owner)

    def made(current: VmRequest | None) -> VmRequest:
        if current is None:
            raise not_found("VM", uuid)
        try:
            return decided(current, rendered.facts(current))
        except ApiProblem as refusal:
            if refusal.problem.status != 409:
                raise
        # The caller may have heard from another worker what the VM is doing now: it is refused by that alone.
        state.await_caches(*state.vm_caches, fresh=True)
        return decided(current, rendered.facts(current))

    def step(before: VmRequest, after: VmRequest, revision: int) -> Step:
        is_charged = admission.amounts_of(after) != admission.amounts_of(before)
        budget = budget_of(state, after.owner) if is_charged else None
        return admission.change_vm(before, after, revision, budget)

    def refuse(conflict: Conflict, after: VmRequest) -> None:
        if refuse_too:
            refuse_too(conflict)
        _refuse_name(state, conflict, keys.name(after.owner, "vm", after.name), after.name)

    def resource(vm: VmRequest) -> bytes:
        return views.vm(rendered.facts(vm)).model_dump_json().encode()

    kept = resource if request.method == "POST" else None
    plan = Plan(state.vms, VmRequest, keys.vm(uuid), made, step, refuse, kept)
    changed: Changed[VmRequest] = change(state, plan)
    return json_answer(resource(changed.record), 202, {"ETag": etag(changed.revision)})
