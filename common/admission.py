"""What a request costs its owner: charged in the transaction that writes it, released in the one that removes it.

Both sides stand here side by side, so that what one takes the other gives back. ucloud_api admits; the daemon that
sees the last of a thing gone releases (ucloud_scheduler for VMs, ucloud_image for images, ucloud_api for the rest).

There is no counter that could go wrong: what an owner uses is the sum of the charges of the things, one key each. A
transaction that charges compares that nothing was charged to the owner since the sum was taken.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from common import keys
from common.errors import QuotaExceeded
from common.schemas.disk import DiskKind
from common.schemas.image import ImageRequest
from common.schemas.network import AddressHolder, NetworkRequest, SecurityGroup
from common.schemas.owner import project_of
from common.schemas.port import Port
from common.schemas.project import Project
from common.schemas.size import human_size
from common.schemas.snapshot import held_mib
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account, Amounts, Charge
from common.schemas.vm import VmRequest
from common.store import (
    Compare,
    Delete,
    Entry,
    Listing,
    Operation,
    Put,
    Store,
    absent,
    none_below,
    none_written_since,
    present,
    unchanged,
)

Named = ImageRequest | NetworkRequest | SecurityGroup
Charged = VmRequest | NetworkRequest | SecurityGroup
_RESOURCES = {
    "vms": "VMs",
    "cpu": "CPU",
    "ram_mib": "RAM",
    "ssd_mib": "SSD",
    "hdd_mib": "HDD",
    "networks": "networks",
    "security_groups": "security groups",
}
"""What a quota limits, as sentences have it."""
MOST_PORT_KEYS = 96
"""What the ports of a VM may hold, in keys: with all else of it, it is released in one transaction of etcd (128)."""
MOST_GROUPS_NAMED = 32
"""By the rules of a security group: with all new ones in the place of all old ones, a change is one transaction."""


@dataclass(frozen=True)
class Step:
    """A part of a transaction: what must hold, and what is then done."""

    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]

    def __add__(self, other: "Step") -> "Step":
        """Both, or neither."""
        return Step(self.compares + other.compares, self.operations + other.operations)


def holder_key(owner: str) -> str:
    """Where it is said what an owner may have: its account, or its project."""
    project = project_of(owner)
    return keys.account(owner) if project is None else keys.project(project)


@dataclass(frozen=True)
class Budget:
    """What an owner may have (its account, or its project), and what was charged to it as of `revision`."""

    holder: Account | Project
    holder_revision: int
    used: Amounts
    revision: int

    def admit(self, before: Amounts, after: Amounts) -> Step:
        """What must hold for a charge to grow from `before` to `after`; QuotaExceeded, with the figures, if it may not.

        What does not grow is never refused, also where a quota was lowered below what is in use.
        """
        quota = self.holder.quota
        if quota is not None and (figures := _excess(quota, self.used, before, after)):
            raise QuotaExceeded(self.holder.owner, figures)
        holder = unchanged(holder_key(self.holder.owner), self.holder_revision)
        charges = none_written_since(keys.charges(self.holder.owner), self.revision)
        return Step((holder,) if quota is None else (holder, charges), ())


def read_budget(store: Store, owner: str) -> Budget | None:
    """The budget of an owner as etcd has it now; None when there is no such account, or project."""
    entry = store.get(holder_key(owner))
    if entry is None:
        return None
    listing = store.list(keys.charges(owner))
    used = Amounts()
    for charged in listing.entries:
        used += Charge.read(charged.key, charged.value).amounts
    kind: type[Account | Project] = Account if project_of(owner) is None else Project
    return Budget(kind.read(entry.key, entry.value), entry.mod_revision, used, listing.revision)


def _excess(quota: Amounts, used: Amounts, before: Amounts, after: Amounts) -> dict[str, str]:
    """Of each resource that would be over the quota and grows: how much is asked for, used and allowed."""
    figures = {}
    for field, name in _RESOURCES.items():
        growth = getattr(after, field) - getattr(before, field)
        in_use, limit = getattr(used, field), getattr(quota, field)
        if growth > 0 and in_use + growth > limit:
            show = human_size if field.endswith("_mib") else str
            figures[field] = f"{name}: {show(growth)} more asked for, {show(in_use)} of {show(limit)} in use"
    return figures


def amounts_of(request: Charged) -> Amounts:
    """What a thing takes of its owner's quota."""
    match request:
        case VmRequest():
            ssd_mib, hdd_mib = (held_mib(request.snapshots, kind) for kind in (DiskKind.SSD, DiskKind.HDD))
            return Amounts.of(request.specs) + Amounts(ssd_mib=ssd_mib, hdd_mib=hdd_mib)
        case NetworkRequest():
            return Amounts(networks=1)
        case SecurityGroup():
            return Amounts(security_groups=1)


def _put_charge(request: Charged) -> Put:
    return Put(keys.charge(request.owner, request.uuid), Charge(amounts=amounts_of(request)).to_json())


def _charge(request: Charged, budget: Budget) -> Step:
    """Charge a new thing to its owner; QuotaExceeded."""
    return budget.admit(Amounts(), amounts_of(request)) + Step((), (_put_charge(request),))


def port_keys(vm: VmRequest) -> dict[str, bytes]:
    """All keys that a VM holds by its ports, each with what it says; released with the VM."""
    holder = vm.uuid.encode()
    held: dict[str, bytes] = {}
    for port in vm.ports:
        held[keys.port(port.id)] = holder
        for prefix in port.prefixes:
            held[keys.prefix(str(prefix.network_address))] = holder
        for address in map(str, port.addresses()):
            of_port = AddressHolder(vm=vm.uuid, port=port.id, name=vm.name)
            held[keys.address(port.network, address)] = of_port.to_json()
            held |= {keys.group_member(group, address, port.id): holder for group in port.security_groups}
    return held


def _plug(before: VmRequest | None, after: VmRequest) -> Step:
    """Take what the ports of `after` hold and those of `before` don't, give back the rest; a new name is told, too."""
    old, new = port_keys(before) if before else {}, port_keys(after)
    known = {port.id for port in before.ports} if before else set()
    needed = _needed_by(port for port in after.ports if port.id not in known)
    # A member's key has its port's id, which is nobody else's.
    free = (absent(key) for key in new if key not in old and not key.startswith(keys.GROUP_MEMBER))
    return Step((*needed, *free), _rewrite(old, new))


def _needed_by(ports: Iterable[Port]) -> Iterable[Compare]:
    """That the networks and groups of new ports exist; what of them matters to a port never changes."""
    there = [
        key for port in ports for key in (keys.network(port.network), *map(keys.security_group, port.security_groups))
    ]
    return [present(key) for key in dict.fromkeys(there)]


def _rewrite(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> tuple[Operation, ...]:
    """What turns some keys into others."""
    puts = [Put(key, value) for key, value in new.items() if old.get(key) != value]
    return (*puts, *(Delete(key) for key in old if key not in new))


def admit_vm(request: VmRequest, image_revision: int, budget: Budget) -> Step:
    """Write a new VM, take its name and what its ports hold, charge its owner, and note that it uses its image.

    The image must be as it was at `image_revision`. QuotaExceeded when the owner's quota does not allow it.
    """
    name_key = keys.name(request.owner, "vm", request.name)
    image = unchanged(keys.image(request.image), image_revision)
    written = Step(
        (absent(keys.vm(request.uuid)), absent(name_key), image),
        (
            Put(keys.vm(request.uuid), request.to_json()),
            Put(name_key, request.uuid.encode()),
            Put(keys.image_use(request.image, request.uuid), b""),
        ),
    )
    return _charge(request, budget) + written + _plug(None, request)


def change_vm(before: VmRequest, after: VmRequest, vm_revision: int, budget: Budget | None) -> Step:
    """Write a changed VM: a new name is taken and the old one given back, so are ports, new specs are charged.

    So are new snapshots. `budget` is needed where what is charged differs; QuotaExceeded when it does not allow what
    grows.
    """
    step = Step((unchanged(keys.vm(after.uuid), vm_revision),), (Put(keys.vm(after.uuid), after.to_json()),))
    if after.name != before.name:
        step += _rename("vm", after.owner, after.uuid, before.name, after.name)
    if (amounts := amounts_of(after)) != (charged := amounts_of(before)):
        if budget is None:
            raise ValueError("another charge needs the budget of the owner")
        step += budget.admit(charged, amounts) + Step((), (_put_charge(after),))
    return step + _plug(before, after)


def release_vm(request: VmRequest, vm_revision: int) -> Step:
    """Remove a VM of which nothing is left, with its name, charge and use of the image, and what its ports hold."""
    return Step(
        (unchanged(keys.vm(request.uuid), vm_revision),),
        (
            Delete(keys.vm(request.uuid)),
            Delete(keys.name(request.owner, "vm", request.name)),
            Delete(keys.image_use(request.image, request.uuid)),
            Delete(keys.charge(request.owner, request.uuid)),
            *map(Delete, port_keys(request)),
        ),
    )


def _rename(kind: str, owner: str, uuid: str, before: str, after: str) -> Step:
    new, old = (keys.name(owner, kind, name) for name in (after, before))
    return Step((absent(new),), (Put(new, uuid.encode()), Delete(old)))


def _admit(kind: str, key: str, request: Named) -> Step:
    """Write a new thing and take its name."""
    name_key = keys.name(request.owner, kind, request.name)
    return Step((absent(key), absent(name_key)), (Put(key, request.to_json()), Put(name_key, request.uuid.encode())))


def _change(kind: str, key: str, before: Named, after: Named, revision: int) -> Step:
    """Write a changed thing; a new name is taken and the old one given back."""
    step = Step((unchanged(key, revision),), (Put(key, after.to_json()),))
    if after.name != before.name:
        step += _rename(kind, after.owner, after.uuid, before.name, after.name)
    return step


def admit_image(request: ImageRequest, holder_revision: int) -> Step:
    """Write a new image and take its name; its owner's account (or project) must be as at `holder_revision`."""
    holder = unchanged(holder_key(request.owner), holder_revision)
    return Step((holder,), ()) + _admit("image", keys.image(request.uuid), request)


def change_image(before: ImageRequest, after: ImageRequest, image_revision: int) -> Step:
    """Write a changed image; a new name is taken and the old one given back."""
    return _change("image", keys.image(after.uuid), before, after, image_revision)


def delete_image(request: ImageRequest, image_revision: int) -> Step:
    """Write the wish that an image be deleted (`request`), if no VM uses it."""
    return Step(
        (unchanged(keys.image(request.uuid), image_revision), none_below(keys.image_uses(request.uuid))),
        (Put(keys.image(request.uuid), request.to_json()),),
    )


def release_image(request: ImageRequest, image_revision: int) -> Step:
    """Remove an image of which nothing is left, with its name and its status."""
    return Step(
        (unchanged(keys.image(request.uuid), image_revision), none_below(keys.image_uses(request.uuid))),
        (
            Delete(keys.image(request.uuid)),
            Delete(keys.name(request.owner, "image", request.name)),
            Delete(keys.image_status(request.uuid)),
        ),
    )


def network_keys(network: NetworkRequest) -> dict[str, bytes]:
    """What a network holds for itself: its VNI, and its prefix unless it is isolated; released with the network."""
    holder = network.uuid.encode()
    held = {keys.vni(network.vni): holder}
    if not network.isolated:
        held[keys.prefix(str(network.prefix.network_address))] = holder
    return held


def admit_network(request: NetworkRequest, budget: Budget) -> Step:
    """Write a new network, take its name, its VNI and its prefix, and charge its owner; QuotaExceeded."""
    held = network_keys(request)
    step = _charge(request, budget) + _admit("network", keys.network(request.uuid), request)
    return step + Step(tuple(map(absent, held)), _rewrite({}, held))


def change_network(before: NetworkRequest, after: NetworkRequest, network_revision: int) -> Step:
    """Write a changed network; a new name is taken and the old one given back."""
    return _change("network", keys.network(after.uuid), before, after, network_revision)


def delete_network(request: NetworkRequest, network_revision: int) -> Step:
    """Remove a network on which no address is held, with all that it holds, and its charge."""
    key, name_key = keys.network(request.uuid), keys.name(request.owner, "network", request.name)
    unused = none_below(keys.addresses(request.uuid))
    gone = (key, name_key, keys.charge(request.owner, request.uuid), *network_keys(request))
    return Step((unchanged(key, network_revision), unused), tuple(map(Delete, gone)))


def group_uses(group: SecurityGroup) -> dict[str, bytes]:
    """The notes that the rules of a group are about other ones; released with the group."""
    named = {rule.group for rule in group.rules if rule.group not in (None, group.uuid)}
    return {keys.group_use(each, group.uuid): b"" for each in sorted(filter(None, named))}


def _name_groups(before: SecurityGroup | None, after: SecurityGroup) -> Step:
    old, new = group_uses(before) if before else {}, group_uses(after)
    named = (present(keys.security_group(key.split("/")[-2])) for key in new if key not in old)
    return Step(tuple(named), _rewrite(old, new))


def admit_group(request: SecurityGroup, budget: Budget) -> Step:
    """Write a new security group, take its name, and charge its owner; QuotaExceeded.

    The groups that its rules are about must exist.
    """
    step = _charge(request, budget) + _admit("security-group", keys.security_group(request.uuid), request)
    return step + _name_groups(None, request)


def change_group(before: SecurityGroup, after: SecurityGroup, group_revision: int) -> Step:
    """Write a changed security group; the groups that its new rules are about must exist."""
    step = _change("security-group", keys.security_group(after.uuid), before, after, group_revision)
    return step + _name_groups(before, after)


def delete_group(request: SecurityGroup, group_revision: int) -> Step:
    """Remove a security group that has no members and that no rule of another one is about, with its charge."""
    key, name_key = keys.security_group(request.uuid), keys.name(request.owner, "security-group", request.name)
    unused = (none_below(keys.group_members(request.uuid)), none_below(keys.group_uses(request.uuid)))
    gone = (key, name_key, keys.charge(request.owner, request.uuid), *group_uses(request))
    return Step((unchanged(key, group_revision), *unused), tuple(map(Delete, gone)))


def admit_ssh_key(key: SshKey, account_revision: int, owned: Listing) -> Step:
    """Write a new ssh key of a user who has those of `owned` and no more."""
    key_name = keys.ssh_key(key.owner, key.name)
    account = unchanged(keys.account(key.owner), account_revision)
    no_more = none_written_since(keys.ssh_keys(key.owner), owned.revision)
    return Step((absent(key_name), account, no_more), (Put(key_name, key.to_json()),))


def delete_account(account: Account, account_revision: int, ssh_keys: Listing, projects: Listing) -> Step:
    """Remove an account to which nothing is charged and whose things hold no name, with its ssh keys.

    It leaves the projects that it is in; `projects` are all there are.
    """
    no_more = tuple(
        none_written_since(prefix, listing.revision)
        for prefix, listing in ((keys.ssh_keys(account.name), ssh_keys), (keys.PROJECT, projects))
    )
    left = tuple(Put(entry.key, project.to_json()) for entry, project in _without(account.name, projects))
    return Step(
        (unchanged(keys.account(account.name), account_revision), *_unused(account.name), *no_more),
        (Delete(keys.account(account.name)), *left, *(Delete(entry.key) for entry in ssh_keys.entries)),
    )


def _without(user: str, projects: Listing) -> Iterator[tuple[Entry, Project]]:
    """The projects that a user is in, as they are without it."""
    for entry in projects.entries:
        project = Project.read(entry.key, entry.value)
        if user in project.members:
            members = {name: role for name, role in project.members.items() if name != user}
            yield entry, project.model_copy(update={"members": members, "generation": project.generation + 1})


def delete_project(project: Project, project_revision: int) -> Step:
    """Remove a project to which nothing is charged and whose things hold no name."""
    key = keys.project(project.name)
    return Step((unchanged(key, project_revision), *_unused(project.owner)), (Delete(key),))


def _unused(owner: str) -> tuple[Compare, ...]:
    """That nothing is an owner's."""
    return none_below(keys.charges(owner)), none_below(keys.names(owner))
