"""The routes of users: their accounts with quotas. Admins make and change them; a user sees its own.

One enabled admin who is not of LDAP always stays: a change that takes an admin away compares that another one is as it
was read.
"""

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict, LeaseExpired
from common.schemas.user import Account, Amounts, Source
from common.store import Delete, Put, absent, unchanged
from ucloud_api import models
from ucloud_api.access import directory
from ucloud_api.access.auth import current_caller, require_admin
from ucloud_api.access.owner import refuse_if_owner
from ucloud_api.access.quota import DEFAULT_QUOTA, quota_of, quota_resource, use_of_all
from ucloud_api.access.sessions import end_sessions_of
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.users.project import check_may_leave
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag
from ucloud_api.writing.change import attempts, told, write
from ucloud_api.writing.creation import Creation, make
from ucloud_api.writing.preconditions import check_if_match
from ucloud_api.writing.removal import Removal, remove

_PATH = keys.USER.rstrip("/")

blueprint = APIBlueprint(
    "user",
    __name__,
    url_prefix=_PATH,
    abp_tags=[Tag(name="user", description="Who may use the cloud, and how much of it")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


def _resource(account: Account, used: Amounts) -> models.User:
    return models.User(
        name=account.name,
        realm=account.realm,
        source=account.source,
        is_admin=account.is_admin,
        enabled=account.enabled,
        quota=quota_resource(account.quota) if account.quota else None,
        used=quota_resource(used),
        generation=account.generation,
        created_at=account.created_at,
    )


def _read(state: State, name: str) -> tuple[Account, int]:
    """The account with its revision, as etcd has it; ApiProblem (404)."""
    entry = state.store.get(keys.account(name))
    if entry is None:
        raise not_found("user", name)
    return Account.read(entry.key, entry.value), entry.mod_revision


@blueprint.get("", summary="List users", responses={200: models.UserList})
def list_users(query: models.UserQuery) -> Response:
    """All users for an admin, oldest first; itself for everybody else."""
    state, caller = current_state(), current_caller()
    if not caller.is_admin:
        account, used, _ = _with_use(state, caller.user)
        return answer(models.UserList(items=(_resource(account, used),), next_cursor=None))
    after = int(query.cursor or 0)
    entries = sorted(
        (entry for entry in state.store.list(keys.ACCOUNT).entries if entry.create_revision > after),
        key=lambda entry: entry.create_revision,
    )
    shown = entries[: query.limit]
    used_by = use_of_all(state)
    accounts = (Account.read(entry.key, entry.value) for entry in shown)
    items = tuple(_resource(account, used_by.get(account.name, Amounts())) for account in accounts)
    more = str(shown[-1].create_revision) if len(entries) > len(shown) else None
    return answer(models.UserList(items=items, next_cursor=more))


def _with_use(state: State, name: str) -> tuple[Account, Amounts, int]:
    """An account, what is charged to it, and the account's revision; ApiProblem (404)."""
    budget = admission.read_budget(state.store, name)
    if budget is None or not isinstance(budget.holder, Account):
        raise not_found("user", name)
    return budget.holder, budget.used, budget.holder_revision


def _answer_with_use(state: State, name: str) -> Response:
    account, used, revision = _with_use(state, name)
    return answer(_resource(account, used), headers={"ETag": etag(revision)})


@blueprint.get("/<name>", summary="Show a user", responses={200: models.User, **documented(404)})
def show(path: models.UserPath) -> Response:
    """One user, with what is charged to it. Everybody but an admin sees only itself."""
    if not current_caller().may_see(path.name):
        raise not_found("user", path.name)
    return _answer_with_use(current_state(), path.name)


@blueprint.post("", summary="Create a user", responses={201: models.User, **documented(400, 403, 409, 413, 415)})
def create(body: models.UserCreate) -> Response:
    """Give a name of a realm an account. That it has one-time tokens is the matter of whoever keeps the realm."""
    require_admin()
    state, key = current_state(), keys.account(body.name)
    account = Account(
        name=body.name,
        realm=body.realm,
        source=body.source,
        is_admin=body.is_admin,
        enabled=body.enabled,
        quota=quota_of(body.quota, DEFAULT_QUOTA),
        created_at=datetime.now(UTC),
    )
    _check_source(state, None, account)
    resource = _resource(account, Amounts()).model_dump_json().encode()

    def draft() -> tuple[bytes, Step]:
        return resource, Step((absent(key),), (Put(key, account.to_json()),)) + told(state, None, account)

    def refuse(conflict: Conflict) -> None:
        problem = FieldProblem(field="name", problem="is taken")
        raise ApiProblem(409, "name-taken", f'there is a user "{body.name}" already', [problem]) from conflict

    return make(state, Creation(state.accounts, f"{_PATH}/{body.name}", "it", draft, refuse, status=201))


@blueprint.patch(
    "/<name>", summary="Change a user", responses={200: models.User, **documented(400, 403, 404, 409, 412, 413, 415)}
)
def patch(path: models.UserPath, body: models.UserPatch) -> Response:
    """Change what a user may do. Who is disabled, or of another realm now, is logged out everywhere."""
    require_admin()
    state, name = current_state(), path.name
    for _ in attempts("the account"):
        current, revision = _read(state, name)
        check_if_match(revision)
        wanted = _patched(current, body)
        _check_source(state, current, wanted)
        step = write(wanted, keys.account(name), revision) + told(state, current, wanted)
        if _is_lasting_admin(current) and not _is_lasting_admin(wanted):
            step += _another_admin(state, name)
        try:
            if wanted != current:
                state.wrote(state.accounts, commit(state, step))
        except (Conflict, LeaseExpired):
            continue
        if not wanted.enabled or (wanted.realm, wanted.source) != (current.realm, current.source):
            end_sessions_of(state, name)
        return _answer_with_use(state, name)
    raise AssertionError("attempts ends with an error")


def _patched(current: Account, body: models.UserPatch) -> Account:
    said = {field: getattr(body, field) for field in ("realm", "source", "is_admin", "enabled")}
    update: dict[str, object] = {field: value for field, value in said.items() if value is not None}
    if "quota" in body.model_fields_set:
        update["quota"] = quota_of(body.quota, current.quota or DEFAULT_QUOTA)
    wanted = current.model_copy(update=update)
    return current if wanted == current else wanted.model_copy(update={"generation": current.generation + 1})


@blueprint.delete(
    "/<name>",
    summary="Delete a user",
    responses={204: {"description": "The user is gone."}, **documented(403, 404, 409, 412)},
)
def delete(path: models.UserPath) -> Response:
    """Remove a user who owns nothing any more, with its sessions; it leaves its projects."""
    require_admin()
    state, name = current_state(), path.name

    def step(account: Account, revision: int) -> Step:
        projects = state.store.list(keys.PROJECT)
        check_may_leave(name, projects)
        step = admission.delete_account(account, revision, state.store.list(keys.ssh_keys(name)), projects)
        step += Step((), (Delete(keys.person(name)),))
        return step + _another_admin(state, name) if _is_lasting_admin(account) else step

    def refuse(conflict: Conflict) -> None:
        refuse_if_owner(state, name, conflict)

    remove(state, Removal(Account, keys.account(name), not_found("user", name), step, refuse, state.accounts))
    end_sessions_of(state, name)
    return Response(status=204)


def _check_source(state: State, before: Account | None, account: Account) -> None:
    """ApiProblem (409) for an account of LDAP where there is none, or rights that LDAP gives."""
    if account.source is not Source.LDAP:
        return
    if state.users.ldap is None and (before is None or before.source is not Source.LDAP):
        problem = FieldProblem(field="source", problem="is not set up", allowed=[Source.EMBEDDED])
        raise ApiProblem(409, "no-ldap", "there is no LDAP: [ldap] uris is not set", [problem])
    if directory.says_who_is_admin(state, account) and account.is_admin != bool(before and before.is_admin):
        problem = FieldProblem(field="is_admin", problem="is LDAP's to say")
        detail = f"who is an admin of LDAP is in the group {state.settings.ldap.admin_group}"
        raise ApiProblem(409, "kept-in-ldap", detail, [problem])


def _is_lasting_admin(account: Account) -> bool:
    """Whether it is an admin whatever happens to LDAP."""
    return account.is_admin and account.enabled and account.source is Source.EMBEDDED


def _another_admin(state: State, name: str) -> Step:
    """What must hold for `name` to be an admin no more: another one is there, as it was; ApiProblem (409)."""
    for entry in state.store.list(keys.ACCOUNT).entries:
        account = Account.read(entry.key, entry.value)
        if account.name != name and _is_lasting_admin(account):
            return Step((unchanged(entry.key, entry.mod_revision),), ())
    detail = f'"{name}" is the only admin that is enabled, and not of LDAP: make another one first'
    raise ApiProblem(409, "last-admin", detail)
