"""What was asked for, in the words of an event: the difference between a record and what it becomes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.schemas.host import HostRequest
from common.schemas.image import ImageRequest, ImageRequested
from common.schemas.network import NetworkRequest, SecurityGroup
from common.schemas.port import Port
from common.schemas.project import Project
from common.schemas.record import Part, Record
from common.schemas.size import human_size
from common.schemas.snapshot import Rollback
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account
from common.schemas.vm import Requested, VmRequest

_BOOKKEEPING = frozenset({"version", "uuid", "owner", "generation", "created_at", "changed_at", "force"})
_KINDS: dict[type[Record], str] = {
    VmRequest: "vm",
    ImageRequest: "image",
    NetworkRequest: "network",
    SecurityGroup: "security-group",
}
_VERBS = {
    Requested.RUNNING: "to run",
    Requested.SUSPENDED: "to be suspended",
    Requested.STOPPED: "to be stopped",
    Requested.DELETED: "to be deleted",
}


@dataclass(frozen=True)
class Subject:
    """What an event is about, and whose that is (empty: the admins')."""

    kind: str
    name: str
    owner: str


def subject(record: Record) -> Subject | None:
    """What the record is a request for; None where nobody remembers what happens to it."""
    match record:
        case VmRequest() | ImageRequest() | NetworkRequest() | SecurityGroup():
            return Subject(_KINDS[type(record)], record.uuid, record.owner)
        case HostRequest():
            return Subject("host", record.name, "")
        case Account():
            return Subject("user", record.name, record.name)
        case Project():
            return Subject("project", record.name, record.owner)
        case SshKey():
            return Subject("user", record.owner, record.owner)
    return None


def asked(before: Record | None, after: Record | None) -> str:
    """What was asked for by making `before` (None: nothing) into `after` (None: nothing any more)."""
    if isinstance(key := after or before, SshKey):
        return f"ssh key {key.name} {'added' if after else 'removed'}: {key.fingerprint}"
    if after is None:
        return "deleted"
    if before is None and isinstance(after, HostRequest):
        before = HostRequest(name=after.name)
    if before is None:
        return f"created: {_first_words(after)}"
    if isinstance(after, ImageRequest) and after.requested is ImageRequested.DELETED:
        return "asked to be deleted"
    parts = [_change(field, *_values(field, before, after)) for field in _changed(before, after)]
    return "; ".join(parts) or _again(after)


def _first_words(record: Record) -> str:
    match record:
        case VmRequest():
            return f"{record.name}, {_show(record.specs)}, {_VERBS[record.requested]}"
        case ImageRequest():
            source = record.source
            of_vm = f"the snapshot {source.name} of VM {source.vm_name}" if source else ""
            return f"{record.name} from {record.file or of_vm}"
        case NetworkRequest():
            of_ipv4 = f" and {record.ipv4}" if record.ipv4 else ""
            return f"{record.name} of {record.prefix}{of_ipv4}{', isolated' if record.isolated else ''}"
        case SecurityGroup():
            return f"{record.name} with {len(record.rules)} rules"
        case Account():
            return f"of the realm {record.realm}{', an admin' if record.is_admin else ''}"
        case Project():
            return f"with {_show(record.members)}"
    return ""


def _again(record: Record) -> str:
    return f"asked again {_VERBS[record.requested]}" if isinstance(record, VmRequest) else "nothing new"


def _changed(before: Record, after: Record) -> list[str]:
    fields = [field for field in type(after).model_fields if field not in _BOOKKEEPING]
    return [field for field in fields if getattr(before, field, None) != getattr(after, field)]


def _values(field: str, before: Record, after: Record) -> tuple[object, object]:
    return getattr(before, field, None), getattr(after, field)


def _change(field: str, old: object, new: object) -> str:
    match field:
        case "requested" if isinstance(new, Requested):
            return f"asked {_VERBS[new]}"
        case "reboots":
            return "asked to reboot"
        case "name":
            return f"renamed from {old} to {new}"
        case "specs":
            return f"resized from {_show(old)} to {_show(new)}"
        case "ports" | "rules" | "members" | "snapshots":
            return _parts(field, old, new)
        case "move" | "rollback" if isinstance(new, Part):
            return _asked_once(new)
        case "confirmed_dead":
            return "its death was confirmed" if new else "the word on its death was taken back"
    return f"{field.replace('_', ' ')}: {_show(old)} -> {_show(new)}"


def _parts(field: str, old: Any, new: Any) -> str:
    """What is there that was not, of something that there are many of."""
    if field == "members":
        return _members(old or {}, new)
    gone, come = ([each for each in one if each not in other] for one, other in ((old, new), (new, old)))
    if field == "snapshots":
        changes = [
            *(f"snapshot {each.name} removed" for each in gone),
            *(f"snapshot {each.name} asked for" for each in come),
        ]
        return "; ".join(changes)
    return _ports(gone, come) if field == "ports" else f"rules: {len(come)} added, {len(gone)} removed"


def _members(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    changed = [user for user in sorted(old.keys() | new.keys()) if old.get(user) != new.get(user)]
    return "; ".join(f"{user} is {new[user]} now" if user in new else f"{user} is no member now" for user in changed)


def _ports(gone: list[Port], come: list[Port]) -> str:
    changes = [*(("unplugged from", port) for port in gone), *(("plugged into", port) for port in come)]
    return "; ".join(
        f"asked to be {verb} network {port.network} (port {port.id}, {port.ipv6})" for verb, port in changes
    )


def _asked_once(new: Part) -> str:
    """A counted wish."""
    if isinstance(new, Rollback):
        return f"asked to be rolled back to the snapshot {new.name}"
    wish = new.model_dump()
    if wish.get("cancelled"):
        return "asked not to move any more"
    return f"asked to move{' cold' if wish.get('cold') else ''} to {wish.get('to') or 'another host'}"


def _show(value: object) -> str:
    """A value for a sentence."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case Part():
            parts = value.model_dump(exclude={"disks", "firmware"})  # the one by their sums, the other is the image's
            return " ".join(_field(name, each) for name, each in parts.items() if each is not None)
        case dict():
            return " ".join(f"{name}={_show(each)}" for name, each in value.items()) or "none"
        case tuple() | list():
            return ", ".join(_show(each) for each in value) or "none"
    return str(value)


def _field(name: str, value: object) -> str:
    if name.endswith("_mib") and isinstance(value, int):
        return f"{human_size(value)} {name.removesuffix('_mib').upper()}"
    if name in ("networks", "security_groups"):
        return f"{value} {name.replace('_', ' ')}"
    return f"{value} {name.upper()}" if name in ("cpu", "vms") else f"{name}={_show(value)}"
