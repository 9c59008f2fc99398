"""The route that says why a VM is as it is."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.verdict import Verdict
from ucloud_api import models
from ucloud_api.access.auth import current_caller
from ucloud_api.models.why import Why
from ucloud_api.problems import documented
from ucloud_api.vms import vm
from ucloud_api.vms.reasons import Seat, explain
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer

blueprint = APIBlueprint(
    "why",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


@blueprint.get("/<uuid>/why", summary="Say why a VM is as it is", responses={200: Why, **documented(404)})
def why(path: models.ThingPath) -> Response:
    """What is requested of a VM, where it is and why there, and what it waits for. Admins are told of more hosts."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    request, _ = vm.read(state, caller, uuid)
    seats = {host: seat for host in state.index.hosts_of(uuid) if (seat := _seat(state, host, uuid))}
    return answer(explain(vm.current_views().facts(request), seats, caller.is_admin))


def _seat(state: State, host: str, uuid: str) -> Seat | None:
    placed = state.placements.get(keys.placement(host, uuid))
    if placed is None:
        return None
    status = state.vm_statuses.get(keys.vm_status(host, uuid))
    word = state.hosts.get(keys.host(host))
    is_alive = state.is_alive(host)
    return Seat(
        host,
        placed.record,
        status.record if status else None,
        is_alive,
        None if is_alive else _verdict(state, host),
        word.record if word else None,
    )


def _verdict(state: State, host: str) -> Verdict | None:
    entry = state.store.get(keys.verdict(host))
    return Verdict.read(entry.key, entry.value) if entry else None
