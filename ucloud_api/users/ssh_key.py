"""The routes of users' ssh keys. A user has its own, an admin anybody's; to all others they don't exist."""

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict
from common.schemas.ssh_key import MOST_SSH_KEYS, SshKey
from common.schemas.user import Source
from common.store import Delete, Listing, unchanged
from ucloud_api import models
from ucloud_api.access import directory
from ucloud_api.access.auth import current_caller
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag
from ucloud_api.writing.change import told
from ucloud_api.writing.creation import Creation, make
from ucloud_api.writing.removal import Removal, remove

_PATH = keys.USER.rstrip("/")

blueprint = APIBlueprint(
    "ssh-key",
    __name__,
    url_prefix=_PATH,
    abp_tags=[Tag(name="user", description="Who may use the cloud, and how much of it")],
    abp_responses=documented(401, 404, 409, 422, 429, 500, 503),
)


def _resource(key: SshKey, source: Source = Source.EMBEDDED) -> models.SshKey:
    return models.SshKey(
        name=key.name,
        owner=key.owner,
        key=key.key,
        fingerprint=key.fingerprint,
        source=source,
        created_at=key.created_at,
    )


def _check_owner(name: str) -> None:
    """ApiProblem (404) for what is not the caller's to see."""
    if not current_caller().may_see(name):
        raise not_found("user", name)


def owned_by(state: State, owner: str) -> Listing:
    """The ssh keys of a user, by name, as etcd has them."""
    return state.store.list(keys.ssh_keys(owner))


def _of_ldap(state: State, owner: str) -> list[SshKey]:
    """The keys that LDAP has of a user, by name. Unavailable."""
    found = sorted(directory.ssh_keys_of(state, owner).items())
    return [SshKey(owner=owner, name=name, key=line, created_at=read_at) for name, (line, read_at) in found]


@blueprint.post(
    "/<name>/ssh-key", summary="Add an ssh key", responses={201: models.SshKey, **documented(400, 413, 415)}
)
def add(path: models.UserPath, body: models.SshKeyCreate) -> Response:
    """Add a public key, which the guests of the user's VMs that are made from now on let in."""
    _check_owner(path.name)
    state, owner = current_state(), path.name
    key = SshKey(owner=owner, name=body.name, key=body.key, created_at=datetime.now(UTC))

    def draft() -> tuple[bytes, Step]:
        account = state.store.get(keys.account(owner))
        if account is None:
            raise not_found("user", owner)
        owned = owned_by(state, owner)
        if len(owned.entries) >= MOST_SSH_KEYS:
            detail = f"{owner} has {MOST_SSH_KEYS} ssh keys, which is the most"
            raise ApiProblem(409, "too-many-ssh-keys", detail)
        step = admission.admit_ssh_key(key, account.mod_revision, owned) + told(state, None, key)
        return _resource(key).model_dump_json().encode(), step

    def refuse(conflict: Conflict) -> None:
        if keys.ssh_key(owner, body.name) in conflict.keys:
            problem = FieldProblem(field="name", problem="is taken")
            raise ApiProblem(409, "name-taken", f'there is an ssh key "{body.name}" already', [problem]) from conflict

    location = f"{_PATH}/{owner}/ssh-key/{body.name}"
    return make(state, Creation(None, location, "the account", draft, refuse, status=201))


@blueprint.get("/<name>/ssh-key", summary="List ssh keys", responses={200: models.SshKeyList})
def list_ssh_keys(path: models.UserPath) -> Response:
    """A user's public ssh keys, by name."""
    _check_owner(path.name)
    state = current_state()
    if state.store.get(keys.account(path.name)) is None:
        raise not_found("user", path.name)
    found = (SshKey.read(entry.key, entry.value) for entry in owned_by(state, path.name).entries)
    of_ldap = (_resource(each, Source.LDAP) for each in _of_ldap(state, path.name))
    return answer(models.SshKeyList(items=(*map(_resource, found), *of_ldap)))


@blueprint.get("/<name>/ssh-key/<key_name>", summary="Show an ssh key", responses={200: models.SshKey})
def show(path: models.SshKeyPath) -> Response:
    """One of a user's public ssh keys."""
    _check_owner(path.name)
    state = current_state()
    entry = state.store.get(keys.ssh_key(path.name, path.key_name))
    if entry is None:
        for key in _of_ldap(state, path.name):
            if key.name == path.key_name:
                return answer(_resource(key, Source.LDAP))
        raise not_found("ssh key", path.key_name)
    return answer(_resource(SshKey.read(entry.key, entry.value)), headers={"ETag": etag(entry.mod_revision)})


@blueprint.delete(
    "/<name>/ssh-key/<key_name>",
    summary="Remove an ssh key",
    responses={204: {"description": "The key is gone."}, **documented(412)},
)
def delete(path: models.SshKeyPath) -> Response:
    """Remove a key from the user's. VMs that were made with it keep it."""
    _check_owner(path.name)
    state, key = current_state(), keys.ssh_key(path.name, path.key_name)
    if state.store.get(key) is None and any(each.name == path.key_name for each in _of_ldap(state, path.name)):
        raise ApiProblem(409, "kept-in-ldap", f"{path.key_name} is in LDAP, where it can be removed")

    def step(_record: SshKey, revision: int) -> Step:
        return Step((unchanged(key, revision),), (Delete(key),))

    remove(state, Removal(SshKey, key, not_found("ssh key", path.key_name), step))
    return Response(status=204)
