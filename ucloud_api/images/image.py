"""The routes of images."""

from datetime import UTC, datetime
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.schemas.owner import project_of
from ucloud_api import models
from ucloud_api.access.auth import Caller, current_caller
from ucloud_api.access.owner import holder_revision, owner_of_new
from ucloud_api.images.image_store import check_store
from ucloud_api.images.snapshot_source import source_of
from ucloud_api.problems import ApiProblem, FieldProblem, documented
from ucloud_api.reading import views
from ucloud_api.reading.collection import Collection, check_may_publish, users_of
from ucloud_api.reading.quick import quick
from ucloud_api.reading.vm_views import VmViews
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag, watchable
from ucloud_api.writing.change import Plan, change, told
from ucloud_api.writing.creation import Creation, make

blueprint = APIBlueprint(
    "image",
    __name__,
    url_prefix=keys.IMAGE.rstrip("/"),
    abp_tags=[Tag(name="image", description="What VMs are made from")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


def _images(state: State, caller: Caller) -> Collection[ImageRequest]:
    return Collection(state, caller, ImageRequest, state.followed_images, lambda image: _resource(state, image))


def _resource(state: State, image: ImageRequest) -> models.Image:
    status = state.image_statuses.get(keys.image_status(image.uuid))
    return views.image(image, status.record if status else None)


@blueprint.post("", summary="Create an image", responses={202: models.Image, **documented(400, 403, 404, 413, 415)})
def create(body: models.ImageCreate) -> Response:
    """Ask for an image to be made from a file, or from the root disk of a VM as it was in a snapshot.

    The file is looked for in its owner's upload folder, or, for a project, in the caller's.
    """
    state, caller = current_state(), current_caller()
    owner = owner_of_new(caller, body.owner)
    if body.public:
        check_may_publish(caller, "an image")
    source, said = None, body
    if body.vm and body.snapshot:
        source, said = source_of(state, VmViews(state), caller, owner, body)
    check_store(state, said.store)
    image = ImageRequest(
        uuid=str(uuid4()),
        owner=owner,
        name=body.name,
        file=body.file,
        source=source,
        uploaded_by=None if source or project_of(owner) is None else caller.user,
        public=body.public,
        protected=body.protected,
        min_ram_mib=body.min_ram,
        min_disk_mib=said.min_disk,
        firmware=said.firmware,
        store=said.store,
        created_at=datetime.now(UTC),
    )
    resource = views.image(image, None).model_dump_json().encode()

    def draft() -> tuple[bytes, Step]:
        return resource, admission.admit_image(image, holder_revision(state, owner)) + told(state, None, image)

    def refuse(conflict: Conflict) -> None:
        _images(state, caller).refuse_name(conflict, owner, image.name)

    return make(state, Creation(state.images, keys.image(image.uuid), "the owner's account", draft, refuse))


@blueprint.get("", summary="List images", responses={200: watchable(models.ImageList)})
def list_images(query: models.ImageQuery) -> Response:
    """The caller's images and public ones, oldest first, an admin's list has all; with ?watch=1 a stream."""
    return _images(current_state(), current_caller()).list(query)


@blueprint.get("/<uuid>", summary="Show an image", responses={200: watchable(models.Image), **documented(404)})
@quick
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One image; with ?watch=1 a stream that begins with it as it is."""
    return _images(current_state(), current_caller()).show(str(path.uuid), query.watch)


def read(state: State, caller: Caller, uuid: str) -> tuple[ImageRequest, int]:
    """An image that the caller may see, with the revision of its request; ApiProblem (404)."""
    return _images(state, caller).read(uuid)


@blueprint.patch(
    "/<uuid>", summary="Change an image", responses={202: models.Image, **documented(400, 403, 404, 412, 413, 415)}
)
def patch(path: models.ThingPath, body: models.ImagePatch) -> Response:
    """Rename or protect an image, say whether everybody may use it, and what VMs made from it need."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    images = _images(state, caller)
    images.read(uuid)

    def decide(current: ImageRequest | None) -> ImageRequest:
        image = images.owned(current, uuid)
        said = body.model_dump(exclude_none=True)
        sizes = {f"{field}_mib": said.pop(field) for field in ("min_ram", "min_disk") if field in said}
        wanted = image.model_copy(update=said | sizes)
        if wanted == image:
            return image
        if image.requested is ImageRequested.DELETED:
            raise ApiProblem(409, "not-allowed-now", f'the image "{image.name}" is being deleted')
        if wanted.public != image.public:
            check_may_publish(caller, "an image")
        return wanted.model_copy(update={"generation": image.generation + 1})

    def refuse(conflict: Conflict, image: ImageRequest) -> None:
        images.refuse_name(conflict, image.owner, image.name)

    plan = Plan(state.images, ImageRequest, keys.image(uuid), decide, admission.change_image, refuse)
    changed = change(state, plan)
    return answer(_resource(state, changed.record), 202, {"ETag": etag(changed.revision)})


@blueprint.delete("/<uuid>", summary="Delete an image", responses={202: models.Image, **documented(403, 404, 412)})
def delete(path: models.ThingPath) -> Response:
    """Ask for an image to be removed; refused while a VM uses it. A second time is no error."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    images = _images(state, caller)
    images.read(uuid)

    def decide(current: ImageRequest | None) -> ImageRequest:
        image = images.owned(current, uuid)
        if image.requested is ImageRequested.DELETED:
            return image
        if image.protected:
            detail = f'the image "{image.name}" is protected; unprotect it to delete it'
            raise ApiProblem(409, "image-protected", detail)
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
    uses = [keys.last_part(entry.key) for entry in state.store.list(keys.image_uses(uuid)).entries]
    users = users_of(state, caller, uses)
    return ApiProblem(409, "image-in-use", f"VMs use this image, delete them first: {users}")


def find_ready(state: State, caller: Caller, wanted: str, owner: str) -> tuple[ImageRequest, int, ImageStatus]:
    """The READY image that the creator of an owner's VM means, by uuid or name: the owner's own, else a public one.

    Returns it with its revision. ApiProblem: 404 when there is none, 409 when it is not READY.
    """
    images = _images(state, caller)
    if ready := _cached_ready(state, images, wanted, owner):
        return ready  # should it have changed since, the transaction that names its revision is refused
    stored = images.stored(wanted, owner)
    if stored is None:
        raise _unknown_image(state, images, wanted, owner)
    image, revision = stored
    status_entry = state.store.get(keys.image_status(image.uuid))
    status = ImageStatus.read(status_entry.key, status_entry.value) if status_entry else None
    actual, reason = views.image_state(image, status)
    if status is None or actual is not ImageActual.READY:
        detail = f'the image "{image.name}" is {actual}, not READY' + (f": {reason}" if reason else "")
        problem = FieldProblem(field="image", problem=f"is {actual}", allowed="a READY image")
        raise ApiProblem(409, "image-not-ready", detail, [problem])
    return image, revision, status


def _cached_ready(
    state: State, images: Collection[ImageRequest], wanted: str, owner: str
) -> tuple[ImageRequest, int, ImageStatus] | None:
    """The same as the caches know it; None where they know of none, which is no proof that there is none."""
    cached = images.known(wanted, owner)
    status = cached and state.image_statuses.get(keys.image_status(cached.record.uuid))
    if cached and status and views.image_state(cached.record, status.record)[0] is ImageActual.READY:
        return cached.record, cached.mod_revision, status.record
    return None


def _unknown_image(state: State, images: Collection[ImageRequest], wanted: str, owner: str) -> ApiProblem:
    """404 that names the images there are."""
    cached = (state.images.get(keys.image(uuid)) for uuid in state.followed_images.things.seen_by((owner,)))
    ready = [each.record.name for each in cached if each and _resource(state, each.record).status is ImageActual.READY]
    return images.unknown(wanted, "image", ready, "the name or the uuid of a READY image")
