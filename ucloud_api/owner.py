"""Whose a new thing is to be, and what that may still have."""

from common import admission
from ucloud_api.auth import Caller
from ucloud_api.problems import ApiProblem, FieldProblem, not_found
from ucloud_api.state import State


def owner_of_new(caller: Caller, wanted: str | None) -> str:
    """The owner of what the caller makes: itself, or whom an admin names; ApiProblem (403)."""
    if wanted in (None, caller.user):
        return caller.user
    if not caller.is_admin or wanted is None:
        problem = FieldProblem(field="owner", problem="is somebody else", allowed=caller.user)
        raise ApiProblem(403, "admins-only", "only an admin makes things for others", [problem])
    return wanted


def budget_of(state: State, owner: str) -> admission.Budget:
    """The budget of an owner, as etcd has it; ApiProblem (404)."""
    budget = admission.read_budget(state.store, owner)
    if budget is None:
        raise not_found("user", owner)
    return budget
