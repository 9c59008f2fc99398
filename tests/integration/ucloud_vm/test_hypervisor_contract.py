"""What every hypervisor must do: libvirt's QEMU, and its test driver. A new one is a new entry of `kinds`."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from common.errors import PermanentError, TemporaryError
from common.schemas.disk import MOST_DISKS, DiskKind, DiskSpec
from common.schemas.port import MOST_PORTS
from common.schemas.vm import Specs
from common.storage import Disk
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.rig import BLANK, Rig
from ucloud_vm.figures import libvirt_call_seconds
from ucloud_vm.hypervisor import Hypervisor, Machine, Nic, OffCause, Power
from ucloud_vm.libvirt.accelerator import Accelerator
from ucloud_vm.libvirt.hypervisor import LibvirtHypervisor

SPECS = Specs.of(cpu=1, ram_mib=64, ssd_mib=64)


@dataclass
class Setting:
    """A hypervisor, what it told of, and the way around it."""

    hypervisor: Hypervisor
    rig: Rig
    uri: str
    news: list[str | None]

    def machine(self) -> Machine:
        """A machine with a disk without a system, and with sockets in a folder of its own."""
        vm = self.rig.new_vm()
        self.rig.images.create(vm, BLANK, SPECS.disks)
        disks = self.rig.images.disks(vm).whole
        folder = self.rig.host.run / "vm" / vm
        folder.mkdir()
        log = self.rig.host.data / "log" / f"{vm}.log"
        return Machine(vm, 1, SPECS, disks, folder / "serial.sock", log, folder / "vnc.sock")

    def with_disks(self, vm: str, count: int) -> dict[str, Disk]:
        """A machine's disks, so many in all."""
        more = (DiskSpec(kind=DiskKind.SSD, size_mib=8, serial=f"{number:08x}") for number in range(1, count))
        self.rig.images.create(vm, BLANK, (*SPECS.disks, *more))
        return dict(sorted(self.rig.images.disks(vm).whole.items(), key=lambda disk: disk[0] != "root"))

    def power(self, machine: Machine) -> tuple[Power, OffCause]:
        domain = self.hypervisor.find(machine.vm_uuid)
        assert domain is not None
        return domain.power, domain.off_cause

    def virsh(self, *arguments: str) -> str:
        return self.rig.virsh(*arguments, uri=self.uri)


kinds: dict[str, Callable[[Rig], str]] = {"qemu": lambda rig: rig.libvirt_uri, "test": lambda rig: rig.test_uri}


@pytest.fixture(scope="module", params=kinds)
def setting(request: pytest.FixtureRequest, host_rig: Rig) -> Iterator[Setting]:
    uri = kinds[request.param](host_rig)
    hypervisor = LibvirtHypervisor(uri, Accelerator.TCG, libvirt_call_seconds(CollectorRegistry()))
    news: list[str | None] = []
    hypervisor.subscribe(news.append)
    stop = threading.Event()
    threads = [
        threading.Thread(target=body, args=(stop,)) for body in (hypervisor.run_events, hypervisor.keep_connected)
    ]
    for thread in threads:
        thread.start()
    wait_for("a connection", lambda: hypervisor.problem() is None, 30)
    yield Setting(hypervisor, host_rig, uri, news)
    stop.set()
    hypervisor.close()
    for thread in threads:
        thread.join(10)


@pytest.fixture
def machine(setting: Setting) -> Iterator[Machine]:
    """A machine that is defined."""
    made = setting.machine()
    setting.hypervisor.define(made)
    yield made
    setting.hypervisor.power_off(made.vm_uuid)
    setting.hypervisor.undefine(made.vm_uuid)
    setting.rig.images.remove(made.vm_uuid)


def test_nobody_knows_a_vm_that_was_not_defined(setting: Setting) -> None:
    vm = setting.rig.new_vm()
    assert setting.hypervisor.find(vm) is None
    assert vm not in setting.hypervisor.vms()
    setting.hypervisor.undefine(vm)
    for step in (setting.hypervisor.start, setting.hypervisor.suspend, setting.hypervisor.shut_down):
        with pytest.raises(TemporaryError, match="no domain"):
            step(vm)


def test_what_is_defined_is_off_and_can_be_defined_anew(setting: Setting, machine: Machine) -> None:
    domain = setting.hypervisor.find(machine.vm_uuid)
    assert domain is not None
    assert (domain.epoch, domain.power, domain.specs) == (1, Power.OFF, SPECS)
    assert setting.hypervisor.vms() == {machine.vm_uuid}
    larger = SPECS.model_copy(update={"cpu": 2, "ram_mib": 96})
    setting.hypervisor.define(replace(machine, epoch=7, specs=larger))
    domain = setting.hypervisor.find(machine.vm_uuid)
    assert domain is not None
    assert (domain.epoch, domain.power, domain.specs) == (7, Power.OFF, larger)
    assert setting.hypervisor.vms() == {machine.vm_uuid}
    setting.hypervisor.start(machine.vm_uuid)
    assert setting.virsh("vcpucount", f"ucloud-{machine.vm_uuid}", "--live").strip() == "2"


def test_each_step_leads_where_it_should_and_may_be_taken_twice(setting: Setting, machine: Machine) -> None:
    vm = machine.vm_uuid
    for step, power in (
        (setting.hypervisor.start, Power.RUNNING),
        (setting.hypervisor.suspend, Power.PAUSED),
        (setting.hypervisor.resume, Power.RUNNING),
        (setting.hypervisor.suspend, Power.PAUSED),
        (setting.hypervisor.power_off, Power.OFF),
        (setting.hypervisor.start, Power.RUNNING),
        (setting.hypervisor.power_off, Power.OFF),
    ):
        for _ in range(2):
            step(vm)
            assert setting.power(machine)[0] is power
    assert setting.power(machine) == (Power.OFF, OffCause.DESTROYED)
    for step in (setting.hypervisor.suspend, setting.hypervisor.resume):
        with pytest.raises(TemporaryError):
            step(vm)


def test_the_power_button_may_be_pressed_and_is_the_guests_to_answer(setting: Setting, machine: Machine) -> None:
    setting.hypervisor.start(machine.vm_uuid)
    for _ in range(2):
        setting.hypervisor.shut_down(machine.vm_uuid)
    assert setting.power(machine) in ((Power.RUNNING, OffCause.UNKNOWN), (Power.OFF, OffCause.GUEST))


def test_what_is_undefined_is_gone_for_good(setting: Setting) -> None:
    machine = setting.machine()
    setting.hypervisor.define(machine)
    for _ in range(2):
        setting.hypervisor.undefine(machine.vm_uuid)
        assert setting.hypervisor.find(machine.vm_uuid) is None


def test_it_tells_of_each_change_whoever_made_it(setting: Setting, machine: Machine) -> None:
    for change in (
        lambda: setting.hypervisor.start(machine.vm_uuid),
        lambda: setting.hypervisor.suspend(machine.vm_uuid),
        lambda: setting.virsh("resume", f"ucloud-{machine.vm_uuid}"),
        lambda: setting.virsh("destroy", f"ucloud-{machine.vm_uuid}"),
    ):
        setting.news.clear()
        change()
        wait_for("news of it", lambda: machine.vm_uuid in setting.news, 30)
    assert setting.power(machine) == (Power.OFF, OffCause.DESTROYED)


def test_domains_of_others_are_nobodys(setting: Setting, tmp_path: Path) -> None:
    vm, xml = setting.rig.new_vm(), tmp_path / "stranger.xml"
    kind = "test" if setting.uri.startswith("test") else "qemu"
    xml.write_text(
        f"<domain type='{kind}'><name>ucloud-{vm}</name><uuid>{vm}</uuid><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>",
        encoding="ascii",
    )
    setting.virsh("define", str(xml))
    assert vm not in setting.hypervisor.vms()
    for step in (setting.hypervisor.find, setting.hypervisor.start, setting.hypervisor.undefine):
        with pytest.raises(PermanentError, match="not ucloud's"):
            step(vm)
    assert vm in setting.virsh("list", "--all", "--uuid")
    setting.virsh("undefine", f"ucloud-{vm}")


def test_a_display_can_be_looked_at_while_its_guest_is_on(setting: Setting, machine: Machine) -> None:
    with pytest.raises(TemporaryError):
        setting.hypervisor.screenshot(machine.vm_uuid)
    setting.hypervisor.start(machine.vm_uuid)
    assert setting.hypervisor.screenshot(machine.vm_uuid).startswith(b"\x89PNG")


def test_a_disk_grows_under_its_guest_or_the_hypervisor_says_that_it_can_not(
    setting: Setting, machine: Machine
) -> None:
    setting.hypervisor.start(machine.vm_uuid)
    domain = setting.hypervisor.find(machine.vm_uuid)
    assert domain is not None
    if not domain.grows:
        return
    for size_mib, found_mib in ((100, 100), (80, 100)):
        setting.hypervisor.grow_disks(machine.vm_uuid, Specs.of(1, 64, size_mib, 50).disks)
        root = setting.rig.images.disks(machine.vm_uuid).root
        assert root is not None
        assert root.size_mib == found_mib
    assert f"{100 * 1024 * 1024}" in setting.virsh("domblkinfo", f"ucloud-{machine.vm_uuid}", "vda")


def test_disks_are_what_it_was_defined_with(setting: Setting, machine: Machine) -> None:
    vm = machine.vm_uuid
    both = setting.with_disks(vm, 2)
    for disks in (both, machine.disks):
        setting.hypervisor.define(replace(machine, disks=disks))
        for step in (setting.hypervisor.find, setting.hypervisor.start, setting.hypervisor.power_off):
            step(vm)
            domain = setting.hypervisor.find(vm)
            assert domain is not None
            assert domain.disks == set(disks)


def test_disks_are_plugged_into_a_guest_or_the_hypervisor_says_that_it_can_not(
    setting: Setting, machine: Machine
) -> None:
    """As many as there may be, into a guest that has as many ports as there may be."""
    vm = machine.vm_uuid
    setting.hypervisor.start(vm)
    domain = setting.hypervisor.find(vm)
    assert domain is not None
    if not domain.plugs:
        return
    disks = setting.with_disks(vm, MOST_DISKS)
    for number, serial in enumerate(disks):
        for _ in range(2):
            setting.hypervisor.plug_disk(vm, serial, disks[serial])
        domain = setting.hypervisor.find(vm)
        assert domain is not None
        assert len(domain.disks) == number + 1
    added = [DiskSpec(kind=DiskKind.SSD, size_mib=number + 9, serial=serial) for number, serial in enumerate(disks)]
    setting.hypervisor.grow_disks(vm, added[1:])
    sizes_mib = {serial: disk.size_mib for serial, disk in setting.rig.images.disks(vm).whole.items()}
    assert [sizes_mib[serial] for serial in list(disks)[1:]] == [disk.size_mib for disk in added[1:]]
    # This guest, which has no system, does not let go of it.
    setting.hypervisor.unplug_disk(vm, added[1].serial)
    setting.hypervisor.unplug_disk(vm, "ffffffff")
    setting.hypervisor.power_off(vm)
    # It has them when it is off, too: should one be lost, that is known.
    domain = setting.hypervisor.find(vm)
    assert domain is not None
    assert domain.disks == set(disks)


NIC = Nic("b000000001", "02:b0:00:00:00:01", "tapb000000001", "ucbr99", 1400)


@pytest.fixture
def bridge(setting: Setting) -> Iterator[None]:
    """The bridge that the card is to be in."""
    setting.rig.ip(f"link add {NIC.bridge} mtu {NIC.mtu} type bridge")
    setting.rig.ip(f"link set {NIC.bridge} up")
    yield
    setting.rig.ip(f"link delete {NIC.bridge}")


def test_ports_are_what_it_was_defined_with(setting: Setting, machine: Machine, bridge: None) -> None:
    vm = machine.vm_uuid
    for nics in ((NIC,), ()):
        setting.hypervisor.define(replace(machine, nics=nics))
        for step in (setting.hypervisor.find, setting.hypervisor.start, setting.hypervisor.power_off):
            step(vm)
            domain = setting.hypervisor.find(vm)
            assert domain is not None
            assert domain.ports == {nic.port for nic in nics}


def test_a_port_is_plugged_into_a_guest_or_the_hypervisor_says_that_it_can_not(
    setting: Setting, machine: Machine, bridge: None
) -> None:
    vm = machine.vm_uuid
    setting.hypervisor.start(vm)
    domain = setting.hypervisor.find(vm)
    assert domain is not None
    if not domain.plugs:
        return
    for number in range(MOST_PORTS):
        nic = replace(NIC, port=f"b00000001{number}", mac=f"02:b0:00:00:01:0{number}", tap=f"tapb00000001{number}")
        for _ in range(2):
            setting.hypervisor.plug(vm, nic)
        domain = setting.hypervisor.find(vm)
        assert domain is not None
        assert len(domain.ports) == number + 1
        assert f"mtu {NIC.mtu}" in setting.rig.links(nic.tap)[nic.tap]
    # This guest, which has no system, does not let go of it.
    setting.hypervisor.unplug(vm, "b000000010")
    setting.hypervisor.unplug(vm, "b0000000ff")
    setting.hypervisor.power_off(vm)
    assert setting.rig.links("tap") == {}
