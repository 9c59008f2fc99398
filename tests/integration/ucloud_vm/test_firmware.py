"""A guest that is started by UEFI: it boots, and moves while it runs."""

import subprocess
import uuid
from pathlib import Path

import pytest

from common.schemas.image import Firmware
from common.schemas.vm import Actual, Requested, Specs
from devcloud.first_vm import build_image
from tests.integration.common.storage.disks import stage
from tests.integration.ucloud_vm.pair import Pair, Vm, boot, wait_beat
from tests.integration.ucloud_vm.rig import Rig

SPECS = Specs.of(cpu=1, ram_mib=256, ssd_mib=128).model_copy(update={"firmware": Firmware.UEFI})
"""With less memory its boot loader has no place for the kernel."""
PARTITIONS = "label: dos\nstart=1MiB, size=24MiB, type=ef, bootable\nstart=25MiB, type=83\n"
"""Those of the guest's image, but ending where its disk ends: else UEFI takes none of them for one."""


@pytest.fixture
def image(rig: Rig, tmp_path: Path) -> str:
    """The guest, with partitions that UEFI takes."""
    raw, qcow2, image = tmp_path / "guest.raw", tmp_path / "guest.qcow2", str(uuid.uuid4())
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(build_image()), str(raw)], check=True)
    subprocess.run(["sfdisk", "--quiet", str(raw)], input=PARTITIONS, text=True, check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(qcow2)], check=True)
    rig.images.publish(image, stage(rig.images, image, qcow2))
    return image


def test_a_guest_is_started_by_uefi_and_moves(pair: Pair, image: str) -> None:
    vm = Vm(pair.one.new_vm(), pair.one, image=image, specs=SPECS)
    boot(vm)
    assert "BdsDxe: starting" in vm.host.serial_log(vm.uuid).read_text(errors="replace")
    boot_id, count = wait_beat(vm)
    move = pair.send(pair.begin(vm))
    pair.finish(vm, move)
    assert wait_beat(vm, count)[0] == boot_id
    status = vm.host.status(vm.uuid)
    assert status is not None
    assert status.specs == SPECS  # nothing waits for its next start
    vm.requested, vm.generation = Requested.STOPPED, 2
    vm.place(Actual.STOPPED)
    pair.remove(vm)
    pair.one.images.remove_template(image)
