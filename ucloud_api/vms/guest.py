"""What a VM's guest is given at boot, as it is said at the VM's creation: whom it lets in, what it reads, its name."""

from common.errors import InvalidValue
from common.schemas.owner import project_of
from common.schemas.ssh_key import ALLOWED, SshKey, parse_ssh_key, unique
from ucloud_api.access import directory
from ucloud_api.access.auth import Caller
from ucloud_api.models.vm import VmCreate
from ucloud_api.problems import ApiProblem, FieldProblem
from ucloud_api.users.ssh_key import owned_by
from ucloud_api.worker.state import State

_MOST_CHARACTERS = 16 * 1024
"""Of all keys of a VM: each order to a host carries them."""


def guest_of(state: State, caller: Caller, owner: str, body: VmCreate) -> dict[str, object]:
    """What is said, as fields of a VmRequest; ApiProblem (422) for an ssh key that is none.

    A project has no ssh keys: in its VMs those of whoever makes them count.
    """
    lines = _keys(state, owner if project_of(owner) is None else caller.user, body.ssh_keys)
    if sum(map(len, lines)) > _MOST_CHARACTERS:
        raise _invalid("ssh_keys", "are too long together", f"keys of {_MOST_CHARACTERS} characters; name some of them")
    return {
        "ssh_keys": lines,
        "user_data": body.user_data or "",
        "hostname": body.hostname,
        "seed_disk": body.seed_disk,
    }


def _keys(state: State, owner: str, wishes: tuple[str, ...] | None) -> tuple[str, ...]:
    if not wishes and wishes is not None:
        return ()
    records = (SshKey.read(entry.key, entry.value) for entry in owned_by(state, owner).entries)
    of_ldap = {name: line for name, (line, _) in directory.ssh_keys_of(state, owner).items()}
    owned = of_ldap | {record.name: record.key for record in records}
    if wishes is None:
        return unique(owned.values())
    lines = []
    for number, wish in enumerate(wishes):
        field = f"ssh_keys.{number}"
        if " " in wish.strip():
            try:
                lines.append(parse_ssh_key(wish))
            except InvalidValue as error:
                raise _invalid(field, str(error), ALLOWED) from error
        elif wish in owned:
            lines.append(owned[wish])
        else:
            there_are = ", ".join(owned) or "none"
            raise _invalid(field, "is no ssh key of the owner", f"one of: {there_are}; or a whole key")
    return tuple(dict.fromkeys(lines))


def _invalid(field: str, problem: str, allowed: str) -> ApiProblem:
    wrong = FieldProblem(field=field, problem=problem, allowed=allowed)
    return ApiProblem(422, "invalid-fields", f"{field} {problem}: {allowed}", [wrong])
