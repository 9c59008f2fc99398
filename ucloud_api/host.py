"""The routes of hosts, for admins. Hosts register themselves; the API holds the admin's word on them."""

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.host import ConfirmedDead, HostRequest, HostStatus
from common.schemas.verdict import Verdict
from ucloud_api import models
from ucloud_api.access.auth import current_caller, require_admin
from ucloud_api.models.host import HostDeath
from ucloud_api.problems import ApiProblem, documented, not_found
from ucloud_api.reading import views
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag, json_answer
from ucloud_api.writing.change import Changed, Plan, change

blueprint = APIBlueprint(
    "host",
    __name__,
    url_prefix=keys.HOST.rstrip("/"),
    abp_tags=[Tag(name="host", description="The machines that VMs run on")],
    abp_responses=documented(401, 403, 409, 422, 429, 500, 503),
)


def _resource(state: State, name: str, word: HostRequest | None) -> models.Host:
    status = state.host_statuses.get(keys.host_status(name))
    placed = [state.placements.get(keys.placement(name, vm_uuid)) for vm_uuid in state.index.things_on(name)]
    verdict = state.verdicts.get(keys.verdict(name))
    return views.host(
        name,
        word,
        status.record if status else None,
        state.is_alive(name),
        verdict.record if verdict else None,
        [each.record for each in placed if each],
    )


def _await_host_caches(state: State) -> None:
    state.await_caches(state.hosts, state.host_statuses, state.alive, state.verdicts, state.placements)


@blueprint.get("", summary="List hosts", responses={200: models.HostList})
def list_hosts() -> Response:
    """All hosts that ever registered, or that the admin has a word on."""
    require_admin()
    state = current_state()
    _await_host_caches(state)
    words = {keys.last_part(key): cached.record for key, cached in state.hosts.records().items()}
    names = set(words).union(keys.last_part(key) for key in state.host_statuses.records())
    return answer(models.HostList(items=tuple(_resource(state, name, words.get(name)) for name in sorted(names))))


@blueprint.get("/<name>", summary="Show a host", responses={200: models.Host, **documented(404)})
def show(path: models.HostPath) -> Response:
    """One host."""
    require_admin()
    state = current_state()
    _await_host_caches(state)
    word = state.find(state.hosts, keys.host(path.name), HostRequest)
    if word is None and not _is_registered(state, path.name):
        raise not_found("host", path.name)
    revision = word.mod_revision if word else 0
    return answer(_resource(state, path.name, word.record if word else None), 200, {"ETag": etag(revision)})


def _is_registered(state: State, name: str) -> bool:
    return state.find(state.host_statuses, keys.host_status(name), HostStatus) is not None


@blueprint.patch(
    "/<name>", summary="Say a word on a host", responses={200: models.Host, **documented(400, 404, 412, 413, 415)}
)
def patch(path: models.HostPath, body: models.HostPatch) -> Response:
    """Enable, drain or disable a host, say how far it may be overcommitted, label it, or keep it for certain users."""
    require_admin()
    state, name = current_state(), path.name
    _await_host_caches(state)

    def decide(current: HostRequest | None) -> HostRequest:
        if current is None and not _is_registered(state, name):
            raise not_found("host", name, "; a host registers itself when ucloud-host runs on it")
        word = current or HostRequest(name=name, generation=0)
        overcommit = body.overcommit.model_dump(exclude_none=True) if body.overcommit else {}
        labels = {**word.labels, **(body.labels or {})}
        # The word that guests may be shut down is for one drain, not for the next one.
        is_for_this_drain = word.drain_cold and body.state in (None, word.state)
        wanted = word.model_copy(
            update={
                "state": body.state or word.state,
                "drain_cold": is_for_this_drain if body.drain_cold is None else body.drain_cold,
                "overcommit": word.overcommit.model_copy(update=overcommit),
                "labels": {label: value for label, value in labels.items() if value is not None},
                "tenants": word.tenants if body.tenants is None else tuple(sorted(set(body.tenants))),
            }
        )
        return word if wanted == current else wanted.model_copy(update={"generation": word.generation + 1})

    changed = change(state, Plan(state.hosts, HostRequest, keys.host(name), decide))
    return answer(_resource(state, name, changed.record), 200, {"ETag": etag(changed.revision)})


@blueprint.post(
    "/<name>/confirm-dead",
    summary="Confirm that a host is dead",
    responses={202: models.Host, **documented(400, 404, 412, 413, 415)},
)
def confirm_dead(path: models.HostPath, body: HostDeath) -> Response:
    """Say that a silent host is off and stays off, where no fence can tell: its HA VMs are then started elsewhere.

    If it is not off, they run twice on the same disks, unless those are locked. `since` names the silence that is
    meant: where the host was back meanwhile, nothing is confirmed.
    """
    require_admin()
    state, name = current_state(), path.name
    _await_host_caches(state)
    if not _is_registered(state, name):
        raise not_found("host", name)
    verdict = state.find(state.verdicts, keys.verdict(name), Verdict)
    if verdict is None or verdict.record.since != body.since:
        raise ApiProblem(409, "not-silent", f"{name} is not silent since {body.since}: show the host, and look again")
    silence = verdict.record
    now, by = datetime.now(UTC), current_caller().user

    def decide(current: HostRequest | None) -> HostRequest:
        word = current or HostRequest(name=name, generation=0)
        before = word.confirmed_dead
        is_said = before is not None and (before.boot_id, before.since) == (silence.boot_id, silence.since)
        if current and is_said:
            return current
        said = ConfirmedDead(boot_id=silence.boot_id, since=silence.since, at=now, by=by)
        return word.model_copy(update={"confirmed_dead": said, "generation": word.generation + 1})

    def resource(word: HostRequest) -> bytes:
        return _resource(state, name, word).model_dump_json().encode()

    plan = Plan(state.hosts, HostRequest, keys.host(name), decide, answer_of=resource)
    changed: Changed[HostRequest] = change(state, plan)
    return json_answer(resource(changed.record), 202, {"ETag": etag(changed.revision)})
