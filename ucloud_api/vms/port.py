"""The routes of a VM's ports: plugged into networks and pulled out, while it runs, too."""

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.errors import Conflict
from common.schemas.port import MOST_PORTS
from common.schemas.vm import VmRequest
from ucloud_api import models
from ucloud_api.access.auth import current_caller
from ucloud_api.problems import ApiProblem, documented, not_found
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts
from ucloud_api.vms import vm
from ucloud_api.vms.lifecycle import Wish, decide
from ucloud_api.vms.plugging import Plugging, check_extent
from ucloud_api.worker.state import current_state

blueprint = APIBlueprint(
    "port",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


@blueprint.post(
    "/<uuid>/port",
    summary="Plug a VM into a network",
    responses={202: models.Vm, **documented(400, 403, 404, 412, 413, 415)},
)
def attach(path: models.ThingPath, body: models.PortIn) -> Response:
    """Ask for a port more, the VM's last one; its addresses are the VM's at once."""
    state, caller, now = current_state(), current_caller(), datetime.now(UTC)
    plugging: list[Plugging] = []

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        if len(current.ports) >= MOST_PORTS:
            raise ApiProblem(
                409, "too-many-ports", f'the VM "{current.name}" has {MOST_PORTS} ports, which is the most'
            )
        plugging[:] = [Plugging(state, caller, current.owner)]
        ports = (*current.ports, *plugging[0].draw((body,), current.ports, parent=""))
        changed = decide(current, views.actual_state(facts)[0], Wish(ports=ports), now)
        check_extent(changed, "body")
        return changed

    def refuse(conflict: Conflict) -> None:
        plugging[0].refuse(conflict)

    return vm.change_request(str(path.uuid), decided, refuse)


@blueprint.delete(
    "/<uuid>/port/<id>",
    summary="Unplug a VM from a network",
    responses={202: models.Vm, **documented(403, 404, 412)},
)
def detach(path: models.PortPath) -> Response:
    """Ask for a port to go; its addresses are anybody's at once."""
    now = datetime.now(UTC)

    def decided(current: VmRequest, facts: VmFacts) -> VmRequest:
        ports = tuple(port for port in current.ports if port.id != path.id)
        if ports == current.ports:
            raise not_found("port", path.id)
        return decide(current, views.actual_state(facts)[0], Wish(ports=ports), now)

    return vm.change_request(str(path.uuid), decided)
