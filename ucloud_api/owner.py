"""Whose a new thing is to be."""

from ucloud_api.auth import Caller
from ucloud_api.problems import ApiProblem, FieldProblem


def owner_of_new(caller: Caller, wanted: str | None) -> str:
    """The owner of what the caller makes: itself, or whom an admin names; ApiProblem (403)."""
    if wanted in (None, caller.user):
        return caller.user
    if not caller.is_admin or wanted is None:
        problem = FieldProblem(field="owner", problem="is somebody else", allowed=caller.user)
        raise ApiProblem(403, "admins-only", "only an admin makes things for others", [problem])
    return wanted
