"""The route of image stores, and which of them a new image goes to."""

from collections import Counter

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.host import StoreCapacity
from common.schemas.image import DEFAULT_STORE
from common.schemas.image_store import ImageStoreStatus
from common.schemas.size import format_size
from ucloud_api import models
from ucloud_api.access.auth import current_caller
from ucloud_api.problems import ApiProblem, FieldProblem, documented
from ucloud_api.reading.views import free_space
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer

blueprint = APIBlueprint(
    "image_store",
    __name__,
    url_prefix=f"{keys.ROOT}image-store",
    abp_tags=[Tag(name="image", description="What VMs are made from")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


@blueprint.get("", summary="List image stores", responses={200: models.ImageStoreList})
def list_stores() -> Response:
    """All image stores; how large they are is for admins."""
    state, is_admin = current_state(), current_caller().is_admin
    state.await_caches(state.host_statuses)
    hosts = Counter(cached.record.image_store for cached in state.host_statuses.records().values())
    items = tuple(
        models.ImageStore(
            name=status.name,
            kind=status.kind,
            hosts=hosts[status.name],
            images=status.images,
            ssd=_space(status.ssd) if is_admin else None,
            hdd=_space(status.hdd) if is_admin else None,
            problem=status.problem,
            since=status.since,
        )
        for status in _statuses(state)
    )
    return answer(models.ImageStoreList(items=items))


def check_store(state: State, name: str) -> None:
    """ApiProblem (422) unless images can be kept in a store of this name.

    The default store need not be there yet: what is asked of it waits.
    """
    if name == DEFAULT_STORE or state.store.get(keys.image_store_status(name)):
        return
    known = sorted({DEFAULT_STORE, *(status.name for status in _statuses(state))})
    detail = f'store: there is no image store "{name}"; there are {", ".join(known)}'
    problem = FieldProblem(field="store", problem="is no image store", allowed=known)
    raise ApiProblem(422, "invalid-fields", detail, [problem])


def _statuses(state: State) -> list[ImageStoreStatus]:
    entries = state.store.list(keys.STATUS_IMAGE_STORE).entries
    return sorted((ImageStoreStatus.read(each.key, each.value) for each in entries), key=lambda status: status.name)


def _space(capacity: StoreCapacity | None) -> models.StoreSpace | None:
    if capacity is None:
        return None
    return models.StoreSpace(total=format_size(capacity.total_mib), free=free_space(capacity))
