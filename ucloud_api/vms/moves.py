"""The routes of moves, for admins: VMs are to move or to stay, hosts become empty, the cloud would become even."""

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.cloud import CloudStatus
from common.schemas.host import HostRequest, HostState
from common.schemas.vm import MoveWish, Requested, VmRequest
from ucloud_api import models
from ucloud_api.access.auth import require_admin
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.reading.views import VmFacts
from ucloud_api.vms import vm
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer

blueprint = APIBlueprint(
    "move",
    __name__,
    url_prefix=keys.ROOT.rstrip("/"),
    abp_tags=[Tag(name="move", description="VMs on their way between hosts")],
    abp_responses=documented(401, 403, 409, 422, 429, 500, 503),
)
_CHANGED = {202: models.Vm, **documented(400, 404, 412, 413, 415)}


@blueprint.post(
    "/vm/<uuid>/migrate", summary="Move a VM", responses=_CHANGED, request_body=vm.optional(models.VmMigrate)
)
def migrate(path: models.ThingPath) -> Response:
    """Ask for a VM to move to another host: while it runs, if that can be; `move` of the VM tells what comes of it."""
    require_admin()
    body = vm.said(models.VmMigrate)
    state = current_state()
    state.await_caches(state.host_statuses)

    def decide(current: VmRequest, facts: VmFacts) -> VmRequest:
        _check_target(state, body.to)
        if current.requested is Requested.DELETED or facts.host is None:
            is_now = "is being deleted" if facts.host else "is on no host yet"
            raise ApiProblem(409, "not-allowed-now", f'the VM "{current.name}" {is_now}')
        if body.to == facts.host:
            raise ApiProblem(409, "not-allowed-now", f'the VM "{current.name}" is on host {body.to} already')
        if facts.placement and facts.placement.leaving:
            to = facts.placement.leaving.to
            raise ApiProblem(409, "moves-already", f'the VM "{current.name}" is on its way to host {to}')
        return _wished(current, MoveWish(number=_number(current) + 1, to=body.to, cold=body.cold))

    return vm.change_request(str(path.uuid), decide)


@blueprint.delete(
    "/vm/<uuid>/migrate", summary="Cancel a VM's move", responses={202: models.Vm, **documented(404, 412)}
)
def cancel(path: models.ThingPath) -> Response:
    """Ask for a VM to stay where it is, if it has not left yet. Of a VM that does not move, it is no error."""
    require_admin()

    def decide(current: VmRequest, facts: VmFacts) -> VmRequest:
        order = facts.placement
        if order is None or (order.leaving is None and order.moved >= _number(current)):
            return current
        if current.move and current.move.cancelled and order.moved < current.move.number:
            return current
        return _wished(current, MoveWish(number=_number(current) + 1, cancelled=True))

    return vm.change_request(str(path.uuid), decide)


def _number(request: VmRequest) -> int:
    return request.move.number if request.move else 0


def _wished(current: VmRequest, wish: MoveWish) -> VmRequest:
    changes = {"move": wish, "generation": current.generation + 1, "changed_at": datetime.now(UTC)}
    return current.model_copy(update=changes)


def _check_target(state: State, to: str | None) -> None:
    names = sorted(keys.last_part(key) for key in state.host_statuses.records())
    if to is not None and to not in names:
        problem = FieldProblem(field="to", problem="is no host", allowed=names)
        raise ApiProblem(422, "invalid-fields", f"to: there is no host {to}", [problem])


@blueprint.get(
    "/host/<name>/drain",
    summary="Show how far a host is from being empty",
    responses={200: models.Drain, **documented(404)},
)
def drain(path: models.HostPath) -> Response:
    """What is placed on a host still, where it is on its way to, and why it can't leave."""
    require_admin()
    state, name = current_state(), path.name
    state.await_caches(state.hosts, state.host_statuses, *state.vm_caches)
    cached = state.hosts.get(keys.host(name))
    if cached is None and state.host_statuses.get(keys.host_status(name)) is None:
        raise not_found("host", name)
    word = cached.record if cached else HostRequest(name=name)
    told = _cloud_status(state).drains.get(name)
    stuck = told.stuck if told else {}
    vms = [_draining_vm(state, name, uuid, stuck.get(uuid, "")) for uuid in sorted(state.index.things_on(name))]
    is_draining = word.state is HostState.DRAINING
    return answer(models.Drain(host=name, is_draining=is_draining, cold=word.drain_cold, vms=tuple(vms)))


def _draining_vm(state: State, host: str, uuid: str, stuck: str) -> models.DrainingVm:
    request = state.vms.get(keys.vm(uuid))
    placed = state.placements.get(keys.placement(host, uuid))
    status = state.vm_statuses.get(keys.vm_status(host, uuid))
    order = placed.record if placed else None
    report = status.record.move if status else None
    return models.DrainingVm(
        uuid=uuid,
        name=request.record.name if request else "",
        owner=request.record.owner if request else "",
        to=order.leaving.to if order and order.leaving else None,
        percent=report.percent if report else 0,
        reason="" if order and order.leaving else stuck,
    )


@blueprint.get(
    "/rebalance",
    summary="Show what would make hosts equally full",
    responses={200: models.Rebalance, **documented(404)},
)
def rebalance() -> Response:
    """The moves that the scheduler plans, or would plan with a margin of its own choice where none is set."""
    require_admin()
    state = current_state()
    state.await_caches(state.vms)
    told = _cloud_status(state).rebalance
    if told is None:
        raise ApiProblem(404, "not-known-yet", "no scheduler has looked at the balance yet")
    moves = []
    for move in told.moves:
        request = state.vms.get(keys.vm(move.vm))
        names = {"name": request.record.name, "owner": request.record.owner} if request else {"name": "", "owner": ""}
        moves.append(models.PlannedMove(**move.model_dump(), **names))
    return answer(
        models.Rebalance(margin=told.margin, is_on=told.is_on, left_this_hour=told.left_this_hour, moves=tuple(moves))
    )


def _cloud_status(state: State) -> CloudStatus:
    entry = state.store.get(keys.STATUS_CLOUD)
    return CloudStatus.read(entry.key, entry.value) if entry else CloudStatus()
