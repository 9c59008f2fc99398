"""What a request costs its owner: charged in the transaction that writes it, released in the one that removes it.

Both sides stand here side by side, so that what one takes the other gives back. ucloud_api admits; the daemon that
sees the last of a thing gone releases (ucloud_scheduler for VMs, ucloud_image for images).

There is no counter that could go wrong: what an owner uses is the sum of the charges of the VMs, one key each. A
transaction that charges compares that nothing was charged to the owner since the sum was taken.
"""

from dataclasses import dataclass

from common import keys
from common.errors import QuotaExceeded
from common.schemas.image import ImageRequest
from common.schemas.size import human_size
from common.schemas.user import Account, Amounts, Charge
from common.schemas.vm import VmRequest
from common.store import (
    Compare,
    Delete,
    Operation,
    Put,
    Store,
    absent,
    none_below,
    none_written_since,
    unchanged,
)


@dataclass(frozen=True)
class Step:
    """A part of a transaction: what must hold, and what is then done."""

    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]

    def __add__(self, other: "Step") -> "Step":
        """Both, or neither."""
        return Step(self.compares + other.compares, self.operations + other.operations)


@dataclass(frozen=True)
class Budget:
    """An owner's account, and what was charged to it as of `revision`."""

    account: Account
    account_revision: int
    used: Amounts
    revision: int

    def admit(self, before: Amounts, after: Amounts) -> Step:
        """What must hold for a charge to grow from `before` to `after`; QuotaExceeded, with the figures, if it may not.

        What does not grow is never refused, also where a quota was lowered below what is in use.
        """
        quota = self.account.quota
        if quota is not None and (figures := _excess(quota, self.used, before, after)):
            raise QuotaExceeded(self.account.name, figures)
        account = unchanged(keys.account(self.account.name), self.account_revision)
        charges = none_written_since(keys.charges(self.account.name), self.revision)
        return Step((account,) if quota is None else (account, charges), ())


def read_budget(store: Store, owner: str) -> Budget | None:
    """The budget of an owner as etcd has it now; None when there is no such account."""
    entry = store.get(keys.account(owner))
    if entry is None:
        return None
    listing = store.list(keys.charges(owner))
    used = Amounts()
    for charged in listing.entries:
        used += Charge.read(charged.key, charged.value).amounts
    return Budget(Account.read(entry.key, entry.value), entry.mod_revision, used, listing.revision)


def _excess(quota: Amounts, used: Amounts, before: Amounts, after: Amounts) -> dict[str, str]:
    """Of each resource that would be over the quota and grows: how much is asked for, used and allowed."""
    figures = {}
    for field, name in (("vms", "VMs"), ("cpu", "CPU"), ("ram_mib", "RAM"), ("ssd_mib", "SSD"), ("hdd_mib", "HDD")):
        growth = getattr(after, field) - getattr(before, field)
        in_use, limit = getattr(used, field), getattr(quota, field)
        if growth > 0 and in_use + growth > limit:
            show = human_size if field.endswith("_mib") else str
            figures[field] = f"{name}: {show(growth)} more asked for, {show(in_use)} of {show(limit)} in use"
    return figures


def _put_charge(request: VmRequest) -> Put:
    amounts = Amounts.of(request.specs)
    return Put(keys.charge(request.owner, request.uuid), Charge(amounts=amounts).to_json())


def admit_vm(request: VmRequest, image_revision: int, budget: Budget) -> Step:
    """Write a new VM, take its name, charge its owner, and note that it uses its image.

    The image must be as it was at `image_revision`. QuotaExceeded when the owner's quota does not allow it.
    """
    name_key = keys.name(request.owner, "vm", request.name)
    image = unchanged(keys.image(request.image), image_revision)
    return budget.admit(Amounts(), Amounts.of(request.specs)) + Step(
        (absent(keys.vm(request.uuid)), absent(name_key), image),
        (
            Put(keys.vm(request.uuid), request.to_json()),
            Put(name_key, request.uuid.encode()),
            Put(keys.image_use(request.image, request.uuid), b""),
            _put_charge(request),
        ),
    )


def change_vm(before: VmRequest, after: VmRequest, vm_revision: int, budget: Budget | None) -> Step:
    """Write a changed VM: a new name is taken and the old one given back, new specs are charged.

    `budget` is needed where specs differ; QuotaExceeded when it does not allow what grows.
    """
    step = Step((unchanged(keys.vm(after.uuid), vm_revision),), (Put(keys.vm(after.uuid), after.to_json()),))
    if after.name != before.name:
        new, old = (keys.name(after.owner, "vm", name) for name in (after.name, before.name))
        step += Step((absent(new),), (Put(new, after.uuid.encode()), Delete(old)))
    if after.specs != before.specs:
        if budget is None:
            raise ValueError("new specs need the budget of their owner")
        step += budget.admit(Amounts.of(before.specs), Amounts.of(after.specs)) + Step((), (_put_charge(after),))
    return step


def release_vm(request: VmRequest, vm_revision: int) -> Step:
    """Remove a VM of which nothing is left, with its name, its charge and its use of the image."""
    return Step(
        (unchanged(keys.vm(request.uuid), vm_revision),),
        (
            Delete(keys.vm(request.uuid)),
            Delete(keys.name(request.owner, "vm", request.name)),
            Delete(keys.image_use(request.image, request.uuid)),
            Delete(keys.charge(request.owner, request.uuid)),
        ),
    )


def admit_image(request: ImageRequest, account_revision: int) -> Step:
    """Write a new image and take its name; its owner's account must be as it was at `account_revision`."""
    name_key = keys.name(request.owner, "image", request.name)
    account = unchanged(keys.account(request.owner), account_revision)
    return Step(
        (absent(keys.image(request.uuid)), absent(name_key), account),
        (Put(keys.image(request.uuid), request.to_json()), Put(name_key, request.uuid.encode())),
    )


def change_image(before: ImageRequest, after: ImageRequest, image_revision: int) -> Step:
    """Write a changed image; a new name is taken and the old one given back."""
    step = Step((unchanged(keys.image(after.uuid), image_revision),), (Put(keys.image(after.uuid), after.to_json()),))
    if after.name != before.name:
        new, old = (keys.name(after.owner, "image", name) for name in (after.name, before.name))
        step += Step((absent(new),), (Put(new, after.uuid.encode()), Delete(old)))
    return step


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


def delete_account(account: Account, account_revision: int) -> Step:
    """Remove an account to which nothing is charged and whose things hold no name."""
    unused = (none_below(keys.charges(account.name)), none_below(keys.names(account.name)))
    return Step(
        (unchanged(keys.account(account.name), account_revision), *unused), (Delete(keys.account(account.name)),)
    )
