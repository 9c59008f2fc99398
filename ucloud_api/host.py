"""The routes of hosts, for admins. Hosts register themselves; the API holds the admin's word on them."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.schemas.host import HostRequest, HostStatus
from ucloud_api import models, views
from ucloud_api.answers import answer, etag
from ucloud_api.auth import require_admin
from ucloud_api.change import Plan, change
from ucloud_api.problems import documented, not_found
from ucloud_api.state import State, current_state

blueprint = APIBlueprint(
    "host",
    __name__,
    url_prefix=keys.HOST.rstrip("/"),
    abp_tags=[Tag(name="host", description="The machines that VMs run on")],
    abp_responses=documented(401, 403, 409, 422, 429, 500, 503),
)


def _resource(state: State, name: str, word: HostRequest | None) -> models.Host:
    status = state.host_statuses.get(keys.host_status(name))
    placed = [state.placements.get(keys.placement(name, vm_uuid)) for vm_uuid in state.index.vms_on(name)]
    return views.host(
        name, word, status.record if status else None, state.is_alive(name), [each.record for each in placed if each]
    )


def _await_host_caches(state: State) -> None:
    state.await_caches(state.hosts, state.host_statuses, state.alive, state.placements)


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
    """Enable, drain or disable a host, or say how far it may be overcommitted."""
    require_admin()
    state, name = current_state(), path.name
    _await_host_caches(state)

    def decide(current: HostRequest | None) -> HostRequest:
        if current is None and not _is_registered(state, name):
            raise not_found("host", name, "; a host registers itself when ucloud-host runs on it")
        word = current or HostRequest(name=name, generation=0)
        overcommit = body.overcommit.model_dump(exclude_none=True) if body.overcommit else {}
        wanted = word.model_copy(
            update={"state": body.state or word.state, "overcommit": word.overcommit.model_copy(update=overcommit)}
        )
        return word if wanted == current else wanted.model_copy(update={"generation": word.generation + 1})

    changed = change(state, Plan(state.hosts, HostRequest, keys.host(name), decide))
    return answer(_resource(state, name, changed.record), 200, {"ETag": etag(changed.revision)})
