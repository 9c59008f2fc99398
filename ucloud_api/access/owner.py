"""Whose a new thing is to be, what that may still have, and whether the caller may change what an owner has."""

from common import admission, keys
from common.admission import holder_key
from common.errors import Conflict
from common.schemas.owner import project_of
from ucloud_api.access.auth import Caller
from ucloud_api.problems import ApiProblem, FieldProblem, not_found
from ucloud_api.worker.state import State


def owner_of_new(caller: Caller, wanted: str | None) -> str:
    """The owner of what the caller makes: itself, a project that it is a member of, or whom an admin names.

    ApiProblem: 404 for a project that the caller does not see, 403 for what is not the caller's to say.
    """
    if wanted is None or caller.may_change(wanted):
        return wanted or caller.user
    if project_of(wanted) is not None:
        check_may_change(caller, wanted)
    problem = FieldProblem(field="owner", problem="is somebody else", allowed=caller.user)
    raise ApiProblem(403, "admins-only", "only an admin makes things for others", [problem])


def check_may_change(caller: Caller, owner: str) -> None:
    """ApiProblem (403) where the caller may only read what an owner has; 404 where it does not even see that owner."""
    if caller.may_change(owner):
        return
    if not caller.may_see(owner):
        raise unknown_owner(owner)
    detail = f'you are a reader of the project "{project_of(owner)}", and may change nothing there'
    raise ApiProblem(403, "reader", detail)


def budget_of(state: State, owner: str) -> admission.Budget:
    """The budget of an owner, as etcd has it; ApiProblem (404)."""
    budget = admission.read_budget(state.store, owner)
    if budget is None:
        raise unknown_owner(owner)
    return budget


def holder_revision(state: State, owner: str) -> int:
    """The revision of an owner's account, or project, as etcd has it; ApiProblem (404) when there is none."""
    entry = state.store.get(holder_key(owner))
    if entry is None:
        raise unknown_owner(owner)
    return entry.mod_revision


def refuse_if_owner(state: State, owner: str, conflict: Conflict) -> None:
    """ApiProblem (409) when an account or a project could not be removed because it owns something."""
    if not {keys.charges(owner), keys.names(owner)}.intersection(conflict.keys):
        return
    counts: dict[str, int] = {}
    for entry in state.store.list(keys.names(owner)).entries:
        _, kind, _ = keys.name_parts(entry.key)
        counts[kind] = counts.get(kind, 0) + 1
    owned = ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))
    name = project_of(owner) or owner
    raise ApiProblem(409, "owns-things", f'"{name}" still owns something ({owned}); delete that first') from conflict


def unknown_owner(owner: str) -> ApiProblem:
    """404 for an owner that there is not."""
    project = project_of(owner)
    return not_found("user", owner) if project is None else not_found("project", project)
