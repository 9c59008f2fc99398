"""The routes of a VM's disks: added, grown and removed, while it runs, too."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.vm import Specs, VmRequest
from ucloud_api import models
from ucloud_api.problems import documented
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts
from ucloud_api.vms import vm
from ucloud_api.vms.lifecycle import Wish, decide
from ucloud_api.vms.sizing import with_disk, with_larger_disk, without_disk

blueprint = APIBlueprint(
    "disk",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)
_CHANGED = {202: models.Vm, **documented(400, 403, 404, 412, 413, 415)}


@blueprint.post("/<uuid>/disk", summary="Add a disk to a VM", responses=_CHANGED)
def add(path: models.ThingPath, body: models.DiskIn) -> Response:
    """Ask for a disk more, the VM's last one, which is empty. A guest that runs gets it at once."""
    return _resize(path.uuid, lambda specs: with_disk(specs, body.kind, body.size))


@blueprint.patch("/<uuid>/disk/<serial>", summary="Grow a disk of a VM", responses=_CHANGED)
def grow(path: models.DiskPath, body: models.DiskPatch) -> Response:
    """Ask for a disk to be larger. A guest that runs sees it at once."""
    return _resize(path.uuid, lambda specs: with_larger_disk(specs, path.serial, body.size))


@blueprint.delete(
    "/<uuid>/disk/<serial>",
    summary="Remove a disk of a VM",
    responses={202: models.Vm, **documented(403, 404, 412)},
)
def remove(path: models.DiskPath) -> Response:
    """Ask for a disk to go, with all that it holds. It costs nothing from now; it is gone once the guest lets go."""
    return _resize(path.uuid, lambda specs: without_disk(specs, path.serial))


def _resize(uuid: UUID, resize: Callable[[Specs], Specs]) -> Response:
    now = datetime.now(UTC)

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        return decide(current, views.actual_state(facts)[0], Wish(resize=resize), now)

    return vm.change_request(str(uuid), decided)
