"""libvirt is told of a disk in a Ceph and of the key to it, which nobody gets back out of it. No guest is started."""

import base64
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from common.schemas.vm import Specs
from common.storage import CephSecret, RbdDisk
from tests.integration.ucloud_vm.rig import Rig
from ucloud_vm.figures import libvirt_call_seconds
from ucloud_vm.hypervisor import Machine
from ucloud_vm.libvirt.accelerator import Accelerator
from ucloud_vm.libvirt.hypervisor import LibvirtHypervisor

SECRET = CephSecret("0b5d6f5e-1d53-4a0c-9df1-000000000001", "client.ucloud", b"a key of 28 bytes, say so...")
KEY = base64.b64encode(SECRET.value).decode()


@pytest.fixture
def machine(host_rig: Rig) -> Iterator[Machine]:
    """A machine with a disk in a Ceph, which libvirt knows."""
    vm = str(uuid.uuid4())
    root = RbdDisk("ssd", f"vm-{vm}-root", 64, "ucloud", Path("/etc/ceph/ceph.conf"), SECRET.uuid)
    folder, log = host_rig.host.run / "vm" / vm, host_rig.host.data / "log" / f"{vm}.log"
    made = Machine(vm, 1, Specs.of(cpu=1, ram_mib=64, ssd_mib=64), {"root": root}, folder / "s", log, folder / "v")
    hypervisor = LibvirtHypervisor(
        host_rig.libvirt_uri, Accelerator.TCG, libvirt_call_seconds(CollectorRegistry()), lambda: (SECRET,)
    )
    hypervisor.define(made)
    yield made
    hypervisor.undefine(vm)
    host_rig.virsh("secret-undefine", SECRET.uuid)


def test_libvirt_keeps_the_key_and_gives_it_to_nobody(host_rig: Rig, machine: Machine) -> None:
    assert SECRET.uuid in host_rig.virsh("secret-list", "--ephemeral", "--private")
    asked = ["virsh", "-q", "-c", host_rig.libvirt_uri, "secret-get-value", SECRET.uuid]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "private" in refused.stderr
    assert KEY not in host_rig.virsh("dumpxml", "--security-info", machine.vm_uuid)
    files = [path for path in (host_rig.host.data / "libvirt").rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() or SECRET.value in path.read_bytes() for path in files)


def test_a_key_is_told_anew_at_each_connection(host_rig: Rig, machine: Machine) -> None:
    again = LibvirtHypervisor(
        host_rig.libvirt_uri, Accelerator.TCG, libvirt_call_seconds(CollectorRegistry()), lambda: (SECRET,)
    )
    assert machine.vm_uuid in again.vms()


def test_qemu_is_told_where_the_disk_is(host_rig: Rig, machine: Machine) -> None:
    arguments = host_rig.virsh("domxml-to-native", "qemu-argv", "--domain", f"ucloud-{machine.vm_uuid}")
    assert '"driver":"rbd","pool":"ssd"' in arguments
    assert f'"image":"vm-{machine.vm_uuid}-root"' in arguments
    assert '"conf":"/etc/ceph/ceph.conf"' in arguments
    assert '"discard":"unmap"' in arguments
    assert KEY not in arguments
