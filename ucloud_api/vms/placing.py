"""What may be said of where a VM goes."""

from common.schemas.vm import DEFAULT_PRIORITY
from ucloud_api.access.auth import Caller
from ucloud_api.models.placing import Placing
from ucloud_api.problems import ApiProblem, FieldProblem


def placing_of(caller: Caller, body: Placing) -> dict[str, object]:
    """What is said, as fields of a VmRequest; ApiProblem (403) for a priority above the usual one, but for admins."""
    if body.priority is not None and body.priority > DEFAULT_PRIORITY and not caller.is_admin:
        allowed = f"0 to {DEFAULT_PRIORITY}"
        problem = FieldProblem(field="priority", problem="is an admin's to give", allowed=allowed)
        raise ApiProblem(403, "admins-only", f"only an admin gives a priority above {DEFAULT_PRIORITY}", [problem])
    return body.said()
