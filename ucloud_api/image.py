"""The routes of images."""

from datetime import UTC, datetime
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.errors import Conflict
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from ucloud_api import models, views
from ucloud_api.answers import answer, matches, names_of, page, watchable
from ucloud_api.change import change
from ucloud_api.problems import ApiProblem, FieldProblem, documented, name_taken, not_found
from ucloud_api.state import State, current_state
from ucloud_api.watch import stream

blueprint = APIBlueprint(
    "image",
    __name__,
    url_prefix=keys.IMAGE.rstrip("/"),
    abp_tags=[Tag(name="image", description="What VMs are made from")],
    abp_responses=documented(422, 500, 503),
)


def _resource(state: State, request: ImageRequest) -> models.Image:
    status = state.image_statuses.get(keys.image_status(request.uuid))
    return views.image(request, status.record if status else None)


@blueprint.post("", summary="Create an image", responses={201: models.Image, **documented(400, 409, 413, 415)})
def create(body: models.ImageCreate) -> Response:
    """Ask for an image to be imported from a file in its owner's upload folder."""
    state = current_state()
    owner = body.owner or state.settings.api.default_owner
    request = ImageRequest(uuid=str(uuid4()), owner=owner, name=body.name, file=body.file, created_at=datetime.now(UTC))
    step = admission.admit_image(request)
    try:
        revision = state.store.commit(step.compares, step.operations)
    except Conflict as conflict:
        holder = state.store.get(keys.name(owner, "image", body.name))
        raise name_taken("image", body.name, holder.value.decode() if holder else "") from conflict
    state.images.note(keys.image(request.uuid), request, revision)
    return answer(_resource(state, request), 201, {"Location": keys.image(request.uuid)})


@blueprint.get("", summary="List images", responses={200: models.ImageList})
def list_images(query: models.ImageQuery) -> Response:
    """The images, oldest first; with ?watch=1 a stream of each that changes."""
    state = current_state()
    state.await_caches(state.images, state.image_statuses)
    filters = query.model_dump(include={"owner", "name", "status"})
    if query.watch:
        return stream(state.hub, "image", None, lambda: _uuids(state), lambda uuid: _look(state, uuid, filters))
    items, cursor = page(
        state.images.records(),
        lambda request: _resource(state, request),
        lambda resource: matches(resource, filters),
        query.limit,
        query.cursor,
    )
    return answer(models.ImageList(items=items, next_cursor=cursor))


@blueprint.get("/<uuid>", summary="Show an image", responses={200: watchable(models.Image), **documented(404)})
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One image; with ?watch=1 a stream that begins with it as it is."""
    state, uuid = current_state(), str(path.uuid)
    state.await_caches(state.image_statuses)
    request = state.read(state.images, keys.image(uuid), ImageRequest)
    if request is None:
        raise not_found("image", uuid)
    if query.watch:
        return stream(state.hub, "image", uuid, lambda: [uuid], lambda each: _look(state, each, {}))
    return answer(_resource(state, request))


def _uuids(state: State) -> list[str]:
    return [keys.last_part(key) for key in state.images.records()]


def _look(state: State, uuid: str, filters: dict[str, object]) -> str | None:
    request = state.cached_or_read(state.images, keys.image(uuid), ImageRequest)
    resource = _resource(state, request) if request else None
    return resource.model_dump_json() if resource and matches(resource, filters) else None


@blueprint.delete("/<uuid>", summary="Delete an image", responses={202: models.Image, **documented(404, 409)})
def delete(path: models.ThingPath) -> Response:
    """Ask for an image to be removed; refused while a VM uses it. A second time is no error."""
    state, uuid = current_state(), str(path.uuid)

    def decide(current: ImageRequest | None) -> ImageRequest:
        if current is None:
            raise not_found("image", uuid)
        if current.requested is ImageRequested.DELETED:
            return current
        change_of = {"requested": ImageRequested.DELETED, "generation": current.generation + 1}
        return current.model_copy(update=change_of)

    try:
        request = change(state.store, state.images, ImageRequest, keys.image(uuid), decide, admission.delete_image)
    except Conflict as conflict:
        uses = state.store.list(keys.image_uses(uuid)).entries
        if not uses:
            raise
        users = names_of(keys.last_part(entry.key) for entry in uses)
        raise ApiProblem(409, "image-in-use", f"VMs use this image, delete them first: {users}") from conflict
    return answer(_resource(state, request), 202)


def find_ready(state: State, wanted: str, owner: str) -> tuple[ImageRequest, int, ImageStatus]:
    """The READY image that a VM's creator means, by uuid or name: the owner's own, else the default owner's.

    Returns it with its revision. ApiProblem: 404 when there is none, 409 when it is not READY.
    """
    uuid = wanted
    entry = state.store.get(keys.image(wanted))
    for holder in dict.fromkeys((owner, state.settings.api.default_owner)):
        if entry is None and (named := state.store.get(keys.name(holder, "image", wanted))):
            uuid = named.value.decode()
            entry = state.store.get(keys.image(uuid))
    if entry is None:
        raise _unknown_image(state, wanted, owner)
    request = ImageRequest.read(entry.key, entry.value)
    status_entry = state.store.get(keys.image_status(uuid))
    status = ImageStatus.read(status_entry.key, status_entry.value) if status_entry else None
    actual, reason = views.image_state(request, status)
    if status is None or actual is not ImageActual.READY:
        detail = f'the image "{request.name}" is {actual}, not READY' + (f": {reason}" if reason else "")
        problem = FieldProblem(field="image", problem=f"is {actual}", allowed="a READY image")
        raise ApiProblem(409, "image-not-ready", detail, [problem])
    return request, entry.mod_revision, status


def _unknown_image(state: State, wanted: str, owner: str) -> ApiProblem:
    """404 that names the images there are."""
    owners = (owner, state.settings.api.default_owner)
    ready = [
        cached.record.name
        for cached in state.images.records().values()
        if cached.record.owner in owners and _resource(state, cached.record).status is ImageActual.READY
    ]
    hint = f"; there are: {names_of(ready)}" if ready else "; there is none yet"
    problem = FieldProblem(field="image", problem="does not exist", allowed="the name or the uuid of a READY image")
    return ApiProblem(404, "image-not-found", f'there is no image "{wanted}"{hint}', [problem])
