"""Whether a disk or a snapshot is surely wanted no more: what etcd says counts, whatever a daemon still believes."""

import uuid
from datetime import UTC, datetime

import pytest

from common import keys
from common.errors import TemporaryError
from common.schemas.disk import DiskKind, DiskSpec
from common.schemas.snapshot import Snapshot
from common.schemas.vm import Placement, Role, Specs, VmRequest
from common.store import Delete, Put, Store, absent, present
from ucloud_vm.permit import NOT_ORDERED_NOW, Permit

VM = str(uuid.uuid4())
SERIAL = "0123abcd"


def _order(role: Role, *serials: str) -> Placement:
    disks = tuple(DiskSpec(kind=DiskKind.SSD, size_mib=1, serial=serial) for serial in ("root", *serials))
    specs, now = Specs(cpu=1, ram_mib=128, disks=disks), datetime.now(UTC)
    request = VmRequest(uuid=VM, owner="alice", name="web", specs=specs, image="i", created_at=now)
    return Placement(epoch=1, role=role, generation=1, request=request, placed_at=now)


def test_a_disk_goes_only_by_an_order_that_stands_and_does_not_have_it(store: Store) -> None:
    permit, key = Permit(store, "h1", None, 10), keys.placement("h1", VM)
    with pytest.raises(TemporaryError, match=NOT_ORDERED_NOW):
        permit.check_removal(VM, SERIAL)  # the VM is another host's by now
    store.commit([absent(key)], [Put(key, _order(Role.RUN).to_json())])
    permit.check_removal(VM, SERIAL)
    for other in (_order(Role.RUN, SERIAL), _order(Role.LEFT), _order(Role.INCOMING)):
        store.commit([present(key)], [Put(key, other.to_json())])
        with pytest.raises(TemporaryError, match=NOT_ORDERED_NOW):
            permit.check_removal(VM, SERIAL)
    store.commit([present(key)], [Delete(key)])


def test_snapshots_are_changed_only_by_whom_the_vm_is_ordered_from(store: Store) -> None:
    permit, key = Permit(store, "h1", None, 10), keys.placement("h1", VM)

    def order(role: Role) -> bytes:
        plain = _order(role)
        snapshot = Snapshot(id="s", name="before", created_at=plain.placed_at, disks=plain.request.specs.disks)
        request = plain.request.model_copy(update={"snapshots": (snapshot,)})
        return plain.model_copy(update={"request": request}).to_json()

    with pytest.raises(TemporaryError, match=NOT_ORDERED_NOW):
        permit.check_snapshots(VM, None)
    store.commit([absent(key)], [Put(key, order(Role.RUN))])
    permit.check_snapshots(VM, None)
    permit.check_snapshots(VM, "another")
    with pytest.raises(TemporaryError, match=NOT_ORDERED_NOW):
        permit.check_snapshots(VM, "s")  # as this daemon has not heard yet
    for other in (Role.LEFT, Role.INCOMING):
        store.commit([present(key)], [Put(key, order(other))])
        with pytest.raises(TemporaryError, match=NOT_ORDERED_NOW):
            permit.check_snapshots(VM, None)
    store.commit([present(key)], [Delete(key)])
