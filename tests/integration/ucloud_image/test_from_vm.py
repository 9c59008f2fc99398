"""Images made from snapshots of VMs: a real image daemon, real etcd, disks as their hosts leave them."""

import os
import subprocess
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import admission, keys
from common.schemas.image import ImageActual, ImageRequest
from common.schemas.snapshot import Snapshot, SnapshotSource
from common.schemas.vm import Requested, Specs, VmRequest
from common.settings import StorageSettings
from common.storage import FileDisk
from common.storage.directory import DirectoryStore
from common.store import Put, unchanged
from tests.integration.common.storage.disks import file_of, opened, prepare, stage
from tests.integration.ucloud_image.conftest import Images, StartImageDaemon, qemu_img, qemu_io

SPECS = Specs.of(1, 64, 64)


@dataclass
class Vm:
    """A VM with a root disk that rests on a template, whose snapshot it has."""

    images: Images
    disks: DirectoryStore
    request: VmRequest

    @property
    def snapshot(self) -> Snapshot:
        return self.request.snapshots[0]

    @property
    def disk(self) -> FileDisk:
        found = self.disks.disks(self.request.uuid).root
        assert isinstance(found, FileDisk)
        return found

    def write(self, **changes: object) -> None:
        """Have it in etcd, as it is or changed."""
        key = keys.vm(self.request.uuid)
        entry = self.images.store.get(key)
        record = self.request.model_copy(update=changes)
        self.images.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, record.to_json())])

    def image(self) -> ImageRequest:
        """Have an image wanted of it."""
        source = SnapshotSource(vm=self.request.uuid, snapshot=self.snapshot.id, vm_name="web", name="before")
        image_uuid = str(uuid.uuid4())
        name = f"i-{image_uuid[:8]}"
        request = ImageRequest(uuid=image_uuid, owner="alice", name=name, source=source, created_at=datetime.now(UTC))
        step = admission.admit_image(request, self.images._account_revision())
        self.images.store.commit(step.compares, step.operations)
        return request


@pytest.fixture
def vm(images: Images, tmp_path: Path) -> Vm:
    disks = DirectoryStore(StorageSettings(ssd_directory=images.ssd))
    template = str(uuid.uuid4())
    disks.publish(template, stage(disks, template, prepare(images.ssd / "t.qcow2", 32, 0xAB)))
    now = datetime.now(UTC)
    snapshot = Snapshot(id=str(uuid.uuid4()), name="before", created_at=now, disks=SPECS.disks)
    request = VmRequest(
        uuid=str(uuid.uuid4()), owner="alice", name="web", specs=SPECS, image=template, created_at=now,
        snapshots=(snapshot,),
    )  # fmt: skip
    made = Vm(images, disks, request)
    disks.create(request.uuid, template, SPECS.disks)
    qemu_io(made.disk.path, "write -P 1 1M 1M")
    disks.take_snapshot(request.uuid, snapshot.id, ("root",))
    qemu_io(made.disk.path, "write -P 2 0 4M")
    made.write()
    return made


def test_what_was_written_before_is_in_it_and_nothing_else(
    images: Images, start_daemon: StartImageDaemon, vm: Vm
) -> None:
    start_daemon()
    with opened(vm.disk):  # its guest is on
        request = vm.image()
        status = images.wait_status(request)
    assert (status.actual, status.virtual_size_mib, status.sha256) == (ImageActual.READY, 64, "")
    template = images.template(request)
    said = subprocess.run(
        ["qemu-io", "-r", "-f", "qcow2", "-c", "read -P 0xab 0 64k", "-c", "read -P 1 1M 1M", "-c", "read -P 0 2M 62M",
         str(template)], check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "failed" not in said, said
    shown = subprocess.run(["qemu-img", "info", str(template)], check=True, capture_output=True, text=True).stdout
    assert "backing file" not in shown
    assert "Snapshot list" not in shown
    assert images.work_left() == []
    images.delete(request)
    images.wait_gone(request)


def test_a_disk_of_somebody_else_is_read_by_nobody_but_its_owner(
    images: Images, start_daemon: StartImageDaemon, vm: Vm
) -> None:
    os.chown(vm.disk.path, 64055, 64055)  # libvirt-qemu, as of a guest that is on
    start_daemon()
    assert images.wait_status(vm.image()).actual is ImageActual.READY
    assert (vm.disk.path.stat().st_uid, vm.disk.path.stat().st_mode & 0o777) == (64055, 0o600)


@pytest.mark.parametrize("changes", [{"snapshots": ()}, {"requested": Requested.DELETED}])
def test_of_what_is_no_longer_wanted_there_is_no_image(
    images: Images, start_daemon: StartImageDaemon, vm: Vm, changes: dict[str, object]
) -> None:
    vm.write(**changes)
    start_daemon()
    status = images.wait_status(vm.image())
    assert status.actual is ImageActual.REJECTED
    assert status.reason == "the snapshot before of VM web was removed before it was copied"


def test_of_disks_in_another_store_there_is_no_image(images: Images, start_daemon: StartImageDaemon, vm: Vm) -> None:
    vm.disks.remove(vm.request.uuid)
    start_daemon()
    status = images.wait_status(vm.image())
    assert (status.actual, status.reason) == (ImageActual.REJECTED, "the snapshot is gone from the store")


def test_a_disk_that_names_a_file_of_the_server_brings_nothing_of_it(
    images: Images, start_daemon: StartImageDaemon, vm: Vm, tmp_path: Path
) -> None:
    """As who has taken over the QEMU of a guest could write it."""
    secret = tmp_path / "secret.qcow2"
    qemu_img("create", "-f", "qcow2", secret, "64M")
    qemu_io(secret, "write -P 0x5e 32M 1M")
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", secret, file_of(vm.disk))
    start_daemon()
    status = images.wait_status(vm.image(), frozenset({*ImageActual} - {ImageActual.CHECKING, ImageActual.IMPORTING}))
    assert status.actual is not ImageActual.READY
    assert not images.template(vm.image()).exists()
