"""The routes of users: their accounts with quotas. Admins make and change them; a user sees its own.

One enabled admin always stays: a change that takes an admin away compares that another one is as it was read.
"""

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict, LeaseExpired
from common.schemas.size import format_size
from common.schemas.user import Account, Amounts, Charge, Quota
from common.store import Put, absent, unchanged
from ucloud_api import models
from ucloud_api.answers import answer, etag
from ucloud_api.auth import current_caller, require_admin
from ucloud_api.change import attempts, commit, told, write
from ucloud_api.creation import Creation, make
from ucloud_api.preconditions import check_if_match
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.removal import Removal, remove
from ucloud_api.session import end_sessions_of
from ucloud_api.state import State, current_state

_GIB = 1024
DEFAULT_QUOTA = Quota(vms=10, cpu=20, ram_mib=64 * _GIB, ssd_mib=500 * _GIB, hdd_mib=2000 * _GIB)
_SIZES = {"ram": "ram_mib", "ssd": "ssd_mib", "hdd": "hdd_mib"}
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
        is_admin=account.is_admin,
        enabled=account.enabled,
        quota=_amounts(account.quota) if account.quota else None,
        used=_amounts(used),
        generation=account.generation,
        created_at=account.created_at,
    )


def _amounts(amounts: Amounts) -> models.Quota:
    sizes = {name: format_size(getattr(amounts, field)) for name, field in _SIZES.items()}
    counts = amounts.model_dump(include={"vms", "cpu", "networks", "security_groups"})
    return models.Quota.model_validate(counts | sizes)


def _quota(wanted: models.QuotaIn | None, base: Quota) -> Quota | None:
    """The quota as it is to be: what is not said stays as in `base`."""
    if wanted is None:
        return None
    said = {_SIZES.get(name, name): amount for name, amount in wanted.model_dump(exclude_none=True).items()}
    return base.model_copy(update=said)


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
    used_by = _use_of_all(state)
    accounts = (Account.read(entry.key, entry.value) for entry in shown)
    items = tuple(_resource(account, used_by.get(account.name, Amounts())) for account in accounts)
    more = str(shown[-1].create_revision) if len(entries) > len(shown) else None
    return answer(models.UserList(items=items, next_cursor=more))


def _use_of_all(state: State) -> dict[str, Amounts]:
    used: dict[str, Amounts] = {}
    for entry in state.store.list(keys.CHARGE).entries:
        owner = entry.key.split("/")[-2]
        used[owner] = used.get(owner, Amounts()) + Charge.read(entry.key, entry.value).amounts
    return used


def _with_use(state: State, name: str) -> tuple[Account, Amounts, int]:
    """An account, what is charged to it, and the account's revision; ApiProblem (404)."""
    budget = admission.read_budget(state.store, name)
    if budget is None:
        raise not_found("user", name)
    return budget.account, budget.used, budget.account_revision


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
        is_admin=body.is_admin,
        enabled=body.enabled,
        quota=_quota(body.quota, DEFAULT_QUOTA),
        created_at=datetime.now(UTC),
    )
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
        step = write(wanted, keys.account(name), revision) + told(state, current, wanted)
        if _is_enabled_admin(current) and not _is_enabled_admin(wanted):
            step += _another_admin(state, name)
        try:
            if wanted != current:
                state.wrote(state.accounts, commit(state, step))
        except (Conflict, LeaseExpired):
            continue
        if not wanted.enabled or wanted.realm != current.realm:
            end_sessions_of(state, name)
        return _answer_with_use(state, name)
    raise AssertionError("attempts ends with an error")


def _patched(current: Account, body: models.UserPatch) -> Account:
    said = {field: getattr(body, field) for field in ("realm", "is_admin", "enabled")}
    update: dict[str, object] = {field: value for field, value in said.items() if value is not None}
    if "quota" in body.model_fields_set:
        update["quota"] = _quota(body.quota, current.quota or DEFAULT_QUOTA)
    wanted = current.model_copy(update=update)
    return current if wanted == current else wanted.model_copy(update={"generation": current.generation + 1})


@blueprint.delete(
    "/<name>",
    summary="Delete a user",
    responses={204: {"description": "The user is gone."}, **documented(403, 404, 409, 412)},
)
def delete(path: models.UserPath) -> Response:
    """Remove a user who owns nothing any more, with its sessions."""
    require_admin()
    state, name = current_state(), path.name

    def step(account: Account, revision: int) -> Step:
        step = admission.delete_account(account, revision, state.store.list(keys.ssh_keys(name)))
        return step + _another_admin(state, name) if _is_enabled_admin(account) else step

    def refuse(conflict: Conflict) -> None:
        _refuse_if_owner(state, name, conflict)

    remove(state, Removal(Account, keys.account(name), not_found("user", name), step, refuse, state.accounts))
    end_sessions_of(state, name)
    return Response(status=204)


def _is_enabled_admin(account: Account) -> bool:
    return account.is_admin and account.enabled


def _another_admin(state: State, name: str) -> Step:
    """What must hold for `name` to be an admin no more: another one is there, as it was; ApiProblem (409)."""
    for entry in state.store.list(keys.ACCOUNT).entries:
        account = Account.read(entry.key, entry.value)
        if account.name != name and _is_enabled_admin(account):
            return Step((unchanged(entry.key, entry.mod_revision),), ())
    raise ApiProblem(409, "last-admin", f'"{name}" is the only admin that is enabled: make another one first')


def _refuse_if_owner(state: State, name: str, conflict: Conflict) -> None:
    """ApiProblem (409) when an account could not be removed because it owns something."""
    if not {keys.charges(name), keys.names(name)}.intersection(conflict.keys):
        return
    counts: dict[str, int] = {}
    for entry in state.store.list(keys.names(name)).entries:
        kind = entry.key.split("/")[-2]
        counts[kind] = counts.get(kind, 0) + 1
    owned = ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))
    raise ApiProblem(409, "owns-things", f'"{name}" still owns something ({owned}); delete that first') from conflict
