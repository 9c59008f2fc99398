"""The fence `storage` on a real Ceph: a guest that hangs on a silent host writes no more, whatever it is told."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import keys
from common.errors import TemporaryError
from common.schemas.host import HostStatus
from common.schemas.vm import Placement, Specs, VmRequest
from common.settings import StorageSettings
from common.storage.rbd import RbdStore
from common.store import Put, Store, absent
from devcloud.ceph import CephCluster
from tests.integration.common.storage.disks import IMAGE, VM, holds, import_image, opened, qemu_io, root, sized
from ucloud_host.fences import Answer, Silence, Word
from ucloud_host.fences.storage import StorageFence


@pytest.fixture
def disks(rbd_settings: StorageSettings, tmp_path: Path) -> Iterator[RbdStore]:
    """A VM with two disks."""
    made = RbdStore(rbd_settings.model_copy(update={"rbd_timeout_s": 3}))
    import_image(made, tmp_path)
    made.create(VM, IMAGE, sized(64, 8))
    yield made
    made.close()


def ask(store: Store, disks: RbdStore, status: HostStatus) -> Answer:
    return StorageFence(store, disks).ask(Silence("h1", 5, status=status))


@pytest.fixture
def status(store: Store, disks: RbdStore) -> HostStatus:
    """A host of the same Ceph with the VM placed on it."""
    request = VmRequest(
        uuid=VM,
        owner="ann",
        name="web",
        specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=64, hdd_mib=8),
        image=IMAGE,
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
    )
    placement = Placement(epoch=1, generation=1, request=request, placed_at=request.created_at)
    key = keys.placement("h1", VM)
    store.commit([absent(key)], [Put(key, placement.to_json())])
    capacities = disks.capacity()
    return HostStatus(name="h1", cpu=1, ram_mib=1, ssd=capacities.ssd, hdd=capacities.hdd)


def test_a_guest_that_hangs_is_cut_off_and_its_successor_is_not(
    store: Store, disks: RbdStore, status: HostStatus
) -> None:
    with opened(root(disks)) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("write -P 1 0 64k\n")
        guest.stdin.flush()
        while "wrote" not in guest.stdout.readline():
            pass
        os.kill(guest.pid, signal.SIGSTOP)
        assert ask(store, disks, status).word is Word.YES
        qemu_io(root(disks), "write -P 2 0 64k")
        os.kill(guest.pid, signal.SIGCONT)
        said, _ = guest.communicate("write -P 3 0 64k\nflush\nquit\n", timeout=60)
        assert "wrote" not in said
    assert holds(root(disks), 2)


def test_while_the_cluster_hangs_there_is_no_yes(
    store: Store, disks: RbdStore, status: HostStatus, ceph: CephCluster
) -> None:
    ceph.pause("ceph-osd")
    try:
        with pytest.raises(TemporaryError):  # which is as good as an unknown
            ask(store, disks, status)
    finally:
        ceph.resume("ceph-osd")
    assert ask(store, disks, status).word is Word.YES
