"""The routes of images."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict, MalformedRecord
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from ucloud_api import models, views
from ucloud_api.answers import answer, etag, json_list, names_of, page_of, watchable
from ucloud_api.auth import Caller, current_caller
from ucloud_api.change import Plan, change, told
from ucloud_api.creation import Creation, make
from ucloud_api.owner import owner_of_new
from ucloud_api.problems import ApiProblem, FieldProblem, documented, name_taken, not_found
from ucloud_api.quick import quick
from ucloud_api.state import State, current_state
from ucloud_api.streams import Source, stream
from ucloud_api.things import Audience

blueprint = APIBlueprint(
    "image",
    __name__,
    url_prefix=keys.IMAGE.rstrip("/"),
    abp_tags=[Tag(name="image", description="What VMs are made from")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


def _resource(state: State, image: ImageRequest) -> models.Image:
    status = state.image_statuses.get(keys.image_status(image.uuid))
    return views.image(image, status.record if status else None)


def _may_see(caller: Caller, image: ImageRequest) -> bool:
    return image.public or caller.may_see(image.owner)


@blueprint.post("", summary="Create an image", responses={202: models.Image, **documented(400, 403, 404, 413, 415)})
def create(body: models.ImageCreate) -> Response:
    """Ask for an image to be imported from a file in its owner's upload folder."""
    state, caller = current_state(), current_caller()
    owner = owner_of_new(caller, body.owner)
    if body.public:
        _check_may_publish(caller)
    image = ImageRequest(
        uuid=str(uuid4()),
        owner=owner,
        name=body.name,
        file=body.file,
        public=body.public,
        created_at=datetime.now(UTC),
    )
    resource = views.image(image, None).model_dump_json().encode()

    def draft() -> tuple[bytes, Step]:
        account = state.store.get(keys.account(owner))
        if account is None:
            raise not_found("user", owner)
        return resource, admission.admit_image(image, account.mod_revision) + told(state, None, image)

    def refuse(conflict: Conflict) -> None:
        _refuse_name(state, conflict, image)

    return make(state, Creation(state.images, keys.image(image.uuid), "the owner's account", draft, refuse))


def _check_may_publish(caller: Caller) -> None:
    if not caller.is_admin:
        problem = FieldProblem(field="public", problem="is for admins to say")
        raise ApiProblem(403, "admins-only", "only an admin makes an image public, or private again", [problem])


def _refuse_name(state: State, conflict: Conflict, image: ImageRequest) -> None:
    """ApiProblem (409) when a transaction failed because the name is taken."""
    name_key = keys.name(image.owner, "image", image.name)
    if name_key in conflict.keys:
        holder = state.store.get(name_key)
        raise name_taken("image", image.name, holder.value.decode() if holder else "") from conflict


@blueprint.get("", summary="List images", responses={200: watchable(models.ImageList)})
def list_images(query: models.ImageQuery) -> Response:
    """The caller's images and public ones, oldest first, an admin's list has all; with ?watch=1 a stream."""
    state, caller = current_state(), current_caller()
    state.await_caches(*state.image_caches)

    def look(uuid: str) -> tuple[int, bytes] | None:
        cached = state.images.get(keys.image(uuid))
        if cached is None or not _may_see(caller, cached.record):
            return None
        resource = _resource(state, cached.record)
        filters = query.model_dump(include={"owner", "name", "status"}, exclude_none=True)
        if any(getattr(resource, field) != value for field, value in filters.items()):
            return None
        return cached.create_revision, resource.model_dump_json().encode()

    def names(after: int) -> Iterable[str]:
        things = state.image_things
        return things.of_all(after) if caller.is_admin else things.seen_by(caller.user, after)

    if not query.watch:
        return json_list(*page_of(names(int(query.cursor or 0)), look, query.limit))

    def resource(uuid: str) -> bytes | None:
        found = look(uuid)
        return found[1] if found else None

    def may_see(audience: Audience) -> bool:
        return audience.public or caller.may_see(audience.owner)

    source = Source("image", None, lambda: names(0), resource, may_see, state.image_caches, state.image_journal)
    return stream(state, source)


@blueprint.get("/<uuid>", summary="Show an image", responses={200: watchable(models.Image), **documented(404)})
@quick
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One image; with ?watch=1 a stream that begins with it as it is."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    image, revision = read(state, caller, uuid)
    if not query.watch:
        return answer(_resource(state, image), 200, {"ETag": etag(revision)})

    def resource(name: str) -> bytes | None:
        cached = state.images.get(keys.image(name))
        if cached is None or not _may_see(caller, cached.record):
            return None
        return _resource(state, cached.record).model_dump_json().encode()

    source = Source("image", uuid, lambda: [uuid], resource, lambda _: True, state.image_caches, state.image_journal)
    return stream(state, source)


def read(state: State, caller: Caller, uuid: str) -> tuple[ImageRequest, int]:
    """An image that the caller may see, with the revision of its request; ApiProblem (404)."""
    state.await_caches(*state.image_caches)
    key = keys.image(uuid)
    try:
        cached = state.find(state.images, key, ImageRequest)
    except MalformedRecord:
        known = state.images.get(key)
        if caller.is_admin or (known and _may_see(caller, known.record)):
            raise
        raise not_found("image", uuid) from None
    if cached is None or not _may_see(caller, cached.record):
        raise not_found("image", uuid)
    return cached.record, cached.mod_revision


def _own(image: ImageRequest | None, caller: Caller, uuid: str) -> ImageRequest:
    """The image, if the caller may change it; ApiProblem (404, 403)."""
    if image is None or not _may_see(caller, image):
        raise not_found("image", uuid)
    if not caller.may_see(image.owner):
        raise ApiProblem(403, "not-the-owner", "a public image is for its owner and for admins to change")
    return image


@blueprint.patch(
    "/<uuid>", summary="Change an image", responses={202: models.Image, **documented(400, 403, 404, 412, 413, 415)}
)
def patch(path: models.ThingPath, body: models.ImagePatch) -> Response:
    """Rename an image, or say whether everybody may use it."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    read(state, caller, uuid)

    def decide(current: ImageRequest | None) -> ImageRequest:
        image = _own(current, caller, uuid)
        wanted = image.model_copy(update=body.model_dump(exclude_none=True))
        if wanted == image:
            return image
        if image.requested is ImageRequested.DELETED:
            raise ApiProblem(409, "not-allowed-now", f'the image "{image.name}" is being deleted')
        if wanted.public != image.public:
            _check_may_publish(caller)
        return wanted.model_copy(update={"generation": image.generation + 1})

    plan = Plan(
        state.images,
        ImageRequest,
        keys.image(uuid),
        decide,
        admission.change_image,
        lambda conflict, image: _refuse_name(state, conflict, image),
    )
    changed = change(state, plan)
    return answer(_resource(state, changed.record), 202, {"ETag": etag(changed.revision)})


@blueprint.delete("/<uuid>", summary="Delete an image", responses={202: models.Image, **documented(403, 404, 412)})
def delete(path: models.ThingPath) -> Response:
    """Ask for an image to be removed; refused while a VM uses it. A second time is no error."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    read(state, caller, uuid)

    def decide(current: ImageRequest | None) -> ImageRequest:
        image = _own(current, caller, uuid)
        if image.requested is ImageRequested.DELETED:
            return image
        change_of = {"requested": ImageRequested.DELETED, "generation": image.generation + 1}
        return image.model_copy(update=change_of)

    def step(_before: ImageRequest, after: ImageRequest, revision: int) -> Step:
        return admission.delete_image(after, revision)

    def refuse(conflict: Conflict, _after: ImageRequest) -> None:
        if keys.image_uses(uuid) in conflict.keys:
            raise _in_use(state, caller, uuid) from conflict

    changed = change(state, Plan(state.images, ImageRequest, keys.image(uuid), decide, step, refuse))
    return answer(_resource(state, changed.record), 202, {"ETag": etag(changed.revision)})


def _in_use(state: State, caller: Caller, uuid: str) -> ApiProblem:
    """409 that names those VMs that the caller may see."""
    state.await_caches(state.vms)
    uses = [keys.last_part(entry.key) for entry in state.store.list(keys.image_uses(uuid)).entries]
    own = [each for each in uses if (who := state.vm_things.audience(each)) and caller.may_see(who.owner)]
    others = f"{len(uses) - len(own)} of others" if len(own) < len(uses) else ""
    users = ", ".join(filter(None, (names_of(own), others)))
    return ApiProblem(409, "image-in-use", f"VMs use this image, delete them first: {users}")


def find_ready(state: State, caller: Caller, wanted: str, owner: str) -> tuple[ImageRequest, int, ImageStatus]:
    """The READY image that the creator of an owner's VM means, by uuid or name: the owner's own, else a public one.

    Returns it with its revision. ApiProblem: 404 when there is none, 409 when it is not READY.
    """
    if ready := _cached_ready(state, caller, wanted, owner):
        return ready  # should it have changed since, the transaction that names its revision is refused
    entry = state.store.get(keys.image(wanted))
    if entry is None and (uuid := _uuid_of_name(state, wanted, owner)):
        entry = state.store.get(keys.image(uuid))
    image = ImageRequest.read(entry.key, entry.value) if entry else None
    if entry is None or image is None or not (_may_see(caller, image) or image.owner == owner):
        raise _unknown_image(state, wanted, owner)
    status_entry = state.store.get(keys.image_status(image.uuid))
    status = ImageStatus.read(status_entry.key, status_entry.value) if status_entry else None
    actual, reason = views.image_state(image, status)
    if status is None or actual is not ImageActual.READY:
        detail = f'the image "{image.name}" is {actual}, not READY' + (f": {reason}" if reason else "")
        problem = FieldProblem(field="image", problem=f"is {actual}", allowed="a READY image")
        raise ApiProblem(409, "image-not-ready", detail, [problem])
    return image, entry.mod_revision, status


def _cached_ready(
    state: State, caller: Caller, wanted: str, owner: str
) -> tuple[ImageRequest, int, ImageStatus] | None:
    """The same as the caches know it; None where they know of none, which is no proof that there is none."""
    uuids = (wanted, *state.image_things.of(owner), *state.image_things.public())
    for uuid in uuids:
        cached = state.images.get(keys.image(uuid))
        if cached is None or wanted not in (uuid, cached.record.name):
            continue
        image, status = cached.record, state.image_statuses.get(keys.image_status(uuid))
        is_ready = views.image_state(image, status.record if status else None)[0] is ImageActual.READY
        if status and is_ready and (_may_see(caller, image) or image.owner == owner):
            return image, cached.mod_revision, status.record
        return None
    return None


def _uuid_of_name(state: State, name: str, owner: str) -> str | None:
    """The image of that name: the owner's own, else the oldest public one."""
    if named := state.store.get(keys.name(owner, "image", name)):
        return named.value.decode()
    found = _public_of_name(state, name)
    if found is None:
        # It may have been made through another machine just now.
        state.images.refresh()
        found = _public_of_name(state, name)
    return found


def _public_of_name(state: State, name: str) -> str | None:
    cached = (state.images.get(keys.image(uuid)) for uuid in state.image_things.public())
    return next((each.record.uuid for each in cached if each and each.record.name == name), None)


def _unknown_image(state: State, wanted: str, owner: str) -> ApiProblem:
    """404 that names the images there are."""
    cached = (state.images.get(keys.image(uuid)) for uuid in state.image_things.seen_by(owner))
    ready = [each.record.name for each in cached if each and _resource(state, each.record).status is ImageActual.READY]
    hint = f"; there are: {names_of(ready)}" if ready else "; there is none yet"
    problem = FieldProblem(field="image", problem="does not exist", allowed="the name or the uuid of a READY image")
    return ApiProblem(404, "image-not-found", f'there is no image "{wanted}"{hint}', [problem])
