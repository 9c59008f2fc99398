"""The description that libvirt gets, and what is read back from libvirt."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from common.errors import PermanentError
from common.schemas.disk import MOST_DISKS, DiskKind, DiskSpec
from common.schemas.image import Firmware
from common.schemas.vm import Specs
from common.storage import CephSecret, FileDisk, RbdDisk
from ucloud_vm.destination import Files
from ucloud_vm.hypervisor import Machine, Nic
from ucloud_vm.libvirt.accelerator import Accelerator
from ucloud_vm.libvirt.domain import (
    NAMESPACE,
    UEFI,
    Mark,
    Plugged,
    disk_caches,
    disk_xml,
    free_target,
    nic_xml,
    qemu_owner,
    read_disks,
    read_mark,
    read_ports,
    relocate,
    secret_xml,
    to_xml,
)

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
MACHINE = Machine(
    vm_uuid=VM,
    epoch=7,
    specs=Specs.of(cpu=2, ram_mib=128, ssd_mib=1024),
    disks={"root": FileDisk(Path("/store/vms/root.qcow2"), direct_io=True, size_mib=1024)},
    serial_socket=Path("/run/s.sock"),
    serial_log=Path("/log/s&t.log"),
    vnc_socket=Path("/run/v.sock"),
)


NIC = Nic("00000000a1", "02:00:00:00:00:a1", "tap00000000a1", "ucbr77", 1430)


RBD = RbdDisk(
    "ssd", f"vm-{VM}-root", 1024, "ucloud", Path("/etc/ceph/ceph.conf"), "0b5d6f5e-1d53-4a0c-9df1-000000000001"
)


def describe(machine: Machine = MACHINE, accelerator: Accelerator = Accelerator.TCG) -> ET.Element:
    return ET.fromstring(to_xml(machine, accelerator))  # noqa: S314 - our own


def test_a_domain_carries_uuid_sizes_and_the_epoch() -> None:
    domain = describe()
    assert domain.findtext("uuid") == VM
    assert domain.findtext("memory") == "128"
    assert domain.findtext("vcpu") == "2"
    metadata = domain.find(f"./metadata/{{{NAMESPACE}}}vm")
    assert metadata is not None
    assert read_mark(ET.tostring(metadata, encoding="unicode")) == Mark(7, MACHINE.specs)


def told_by_firmware(domain: ET.Element) -> dict[str | None, str | None]:
    assert domain.find("./os/smbios[@mode='sysinfo']") is not None
    return {entry.get("name"): entry.text for entry in domain.iterfind("./sysinfo[@type='smbios']/system/entry")}


def test_the_firmware_tells_cloud_init_where_to_ask() -> None:
    assert told_by_firmware(describe(replace(MACHINE, nics=(NIC,)))) == {
        "manufacturer": "ucloud",
        "product": "ucloud VM",
        "serial": "ds=nocloud-net;s=http://[fd00:ec2::254]/nocloud/",
    }


def test_a_guest_without_cards_is_not_told_to_ask() -> None:
    assert "serial" not in told_by_firmware(describe())


def test_the_mark_is_read_as_libvirt_gives_it_back_without_its_namespace() -> None:
    assert read_mark('<vm epoch="3" cpu="1" ram_mib="96" ssd_mib="9" hdd_mib="0"/>') == Mark(
        3, Specs.of(cpu=1, ram_mib=96, ssd_mib=9)
    )


@pytest.mark.parametrize("metadata", ["<vm epoch='3'/>", "<vm epoch='3' cpu='0' ram_mib='96' ssd_mib='9'/>"])
def test_a_domain_without_the_specs_is_ours_all_the_same(metadata: str) -> None:
    assert read_mark(metadata) == Mark(3, None)


def test_another_kind_of_domain_than_the_accelerators() -> None:
    assert ET.fromstring(to_xml(MACHINE, Accelerator.TCG, "test")).get("type") == "test"  # noqa: S314 - our own


def test_the_firmware_is_the_images_and_is_kept_in_the_mark() -> None:
    assert describe().find("os/loader") is None
    uefi = replace(MACHINE, specs=MACHINE.specs.model_copy(update={"firmware": Firmware.UEFI}))
    loader = describe(uefi).find("os/loader")
    assert loader is not None
    assert (loader.text, loader.attrib) == (UEFI, {"readonly": "yes", "type": "rom"})
    metadata = describe(uefi).find(f"./metadata/{{{NAMESPACE}}}vm")
    assert metadata is not None
    assert read_mark(ET.tostring(metadata, encoding="unicode")) == Mark(7, uefi.specs)


@pytest.mark.parametrize(("ram_mib", "cache_mib"), [(96, "64"), (512, "128"), (65536, "256")])
def test_without_kvm_the_translator_has_a_cache_by_the_guests_size(ram_mib: int, cache_mib: str) -> None:
    machine = replace(MACHINE, specs=MACHINE.specs.model_copy(update={"ram_mib": ram_mib}))
    domain = describe(machine, accelerator=Accelerator.TCG)
    assert domain.get("type") == "qemu"
    assert domain.find("cpu[@mode='maximum']") is not None
    assert domain.findtext("features/tcg/tb-cache") == cache_mib


def test_with_kvm_the_guest_sees_the_hosts_processor() -> None:
    domain = describe(accelerator=Accelerator.KVM)
    assert domain.get("type") == "kvm"
    assert domain.find("cpu[@mode='host-passthrough']") is not None
    assert domain.find("features/tcg") is None


def test_disks_use_the_page_cache_only_where_the_file_system_demands_it() -> None:
    hdd = FileDisk(Path("/hdd/vms/hdd.qcow2"), direct_io=False, size_mib=8)
    disks = describe(replace(MACHINE, disks={**MACHINE.disks, "hdd": hdd})).findall("devices/disk")
    found = [(disk.find("source"), disk.find("target"), disk.find("driver")) for disk in disks]
    seen = [
        tuple(
            (part.get(name) if part is not None else "")
            for part, name in zip(row, ("file", "dev", "cache"), strict=True)
        )
        for row in found
    ]
    assert seen == [("/store/vms/root.qcow2", "vda", "none"), ("/hdd/vms/hdd.qcow2", "vdb", "writeback")]


def test_consoles_are_unix_sockets_and_nothing_listens_on_the_network() -> None:
    devices = describe().find("devices")
    assert devices is not None
    graphics = devices.find("graphics")
    assert graphics is not None
    assert graphics.attrib == {"type": "vnc", "socket": "/run/v.sock"}
    serial = devices.find("serial")
    assert serial is not None
    assert serial.get("type") == "unix"
    log = serial.find("log")
    assert log is not None
    assert log.attrib == {"file": "/log/s&t.log", "append": "on"}


def test_a_port_is_a_card_with_its_mac_and_a_tap_in_the_bridge_of_its_network() -> None:
    second = Nic("00000000b2", "02:00:00:00:00:b2", "tap00000000b2", "ucbr78", 0)
    cards = describe(replace(MACHINE, nics=(NIC, second))).findall("devices/interface")
    assert [card.get("type") for card in cards] == ["bridge", "bridge"]
    assert {part.tag: part.attrib for part in cards[0]} == {
        "mac": {"address": "02:00:00:00:00:a1"},
        "source": {"bridge": "ucbr77"},
        "target": {"dev": "tap00000000a1"},
        "model": {"type": "virtio"},
        "mtu": {"size": "1430"},
        "rom": {"enabled": "no"},
    }
    assert cards[1].find("mtu") is None
    assert nic_xml(NIC) == ET.tostring(cards[0], encoding="unicode").replace("\n", "").replace("  ", "")


def test_a_seed_disk_is_the_last_one_and_can_only_be_read() -> None:
    hdd = FileDisk(Path("/hdd/vms/hdd.qcow2"), direct_io=True, size_mib=8)
    domain = describe(replace(MACHINE, disks={**MACHINE.disks, "hdd": hdd}, seed=Path("/run/seed.img")))
    disks = domain.findall("devices/disk")
    assert [disk.find("readonly") is not None for disk in disks] == [False, False, True]
    parts = {part.tag: part.attrib for part in disks[-1]}
    assert parts["driver"] == {"name": "qemu", "type": "raw", "cache": "writeback"}
    assert (parts["source"], parts["target"]) == ({"file": "/run/seed.img"}, {"dev": "vdc", "bus": "virtio"})
    assert len(domain.findall("devices/controller[@model='pcie-root-port']")) == 19
    # What it moves with is decided by what it writes to.
    assert disk_caches(ET.tostring(domain, encoding="unicode")) == {"none"}


def test_who_has_a_seed_disk_is_not_told_to_ask() -> None:
    assert "serial" not in told_by_firmware(describe(replace(MACHINE, nics=(NIC,), seed=Path("/run/seed.img"))))


def test_on_another_host_it_has_the_seed_disk_there() -> None:
    here = to_xml(replace(MACHINE, seed=Path("/run/seed.img")), Accelerator.TCG)
    moved = relocate(here, 9, Files({"root": "/b/root"}, "/b/s.sock", "/b/s.log", "/b/v.sock", "/b/seed"))
    sources = ET.fromstring(moved).iterfind("devices/disk/source")  # noqa: S314 - our own
    assert [source.get("file") for source in sources] == ["/b/root", "/b/seed"]


def test_there_are_root_ports_for_all_cards_that_a_guest_may_get() -> None:
    ports = describe().findall("devices/controller[@model='pcie-root-port']")
    assert len(ports) == 18


def test_the_ports_of_a_domain_are_read_from_its_taps() -> None:
    described = to_xml(replace(MACHINE, nics=(NIC,)), Accelerator.TCG)
    assert read_ports(described) == {"00000000a1": ""}
    live = described.replace("<rom ", '<alias name="net0"/><rom ')
    assert read_ports(live) == {"00000000a1": "net0"}
    assert read_ports(described.replace("tap00000000a1", "vnet7")) == {}


def test_on_another_host_its_cards_are_the_same() -> None:
    here = to_xml(replace(MACHINE, nics=(NIC,)), Accelerator.TCG)
    moved = relocate(here, 9, Files({"root": "/b/root"}, "/b/s.sock", "/b/s.log", "/b/v.sock"))
    cards = [
        [(part.tag, part.attrib) for part in ET.fromstring(xml).iterfind("devices/interface/*")]  # noqa: S314
        for xml in (here, moved)
    ]
    assert cards[0] == cards[1]


@pytest.mark.parametrize("metadata", ["", "<vm/>", "<vm epoch='x'/>", "<vm epoch='-1'/>", "<a"])
def test_metadata_that_we_did_not_write_is_nobodys(metadata: str) -> None:
    assert read_mark(metadata) is None


@pytest.mark.parametrize(
    ("secmodels", "owner"),
    [
        ("<secmodel><model>dac</model><baselabel type='kvm'>+64055:+109</baselabel></secmodel>", (64055, 109)),
        ("<secmodel><model>none</model></secmodel>", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_user_that_qemu_runs_as(secmodels: str, owner: tuple[int, int]) -> None:
    assert qemu_owner(f"<capabilities><host>{secmodels}</host></capabilities>") == owner


def test_on_another_host_it_has_the_files_and_the_epoch_there() -> None:
    hdd = FileDisk(Path("/store/vms/hdd.qcow2"), direct_io=False, size_mib=8)
    files = Files({"root": "/b/root", "hdd": "/b/hdd"}, "/b/s.sock", "/b/s.log", "/b/v.sock")
    here = to_xml(replace(MACHINE, disks={**MACHINE.disks, "hdd": hdd}), Accelerator.TCG)
    moved = ET.fromstring(relocate(here, 9, files))  # noqa: S314 - our own
    found = {
        "root": [source.get("file") for source in moved.iterfind("devices/disk/source")],
        "serial": [line.get("path") for line in moved.iterfind("devices/serial/source")],
        "log": [log.get("file") for log in moved.iterfind("devices/serial/log")],
        "vnc": [display.get("socket") for display in moved.iterfind("devices/graphics")],
    }
    assert found == {
        "root": ["/b/root", "/b/hdd"],
        "serial": ["/b/s.sock"],
        "log": ["/b/s.log"],
        "vnc": ["/b/v.sock"],
    }
    metadata = moved.find(f"./metadata/{{{NAMESPACE}}}vm")
    assert metadata is not None
    assert read_mark(ET.tostring(metadata, encoding="unicode")) == Mark(9, MACHINE.specs)
    assert disk_caches(here) == {"none", "writeback"}
    assert "/store/" not in relocate(here, 9, files)


def test_a_disk_in_ceph_is_named_and_its_secret_only_referred_to() -> None:
    disk = describe(replace(MACHINE, disks={"root": RBD})).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "network"
    parts = {part.tag: part.attrib for part in disk.iter()}
    assert parts["driver"] == {"name": "qemu", "type": "raw", "cache": "writeback", "discard": "unmap"}
    assert parts["source"] == {"protocol": "rbd", "name": f"ssd/vm-{VM}-root"}
    assert parts["config"] == {"file": "/etc/ceph/ceph.conf"}
    assert parts["auth"] == {"username": "ucloud"}
    assert parts["secret"] == {"type": "ceph", "uuid": RBD.secret_uuid}


ADDED = FileDisk(Path("/store/vms/0ddba115.qcow2"), direct_io=True, size_mib=8)
HDD = FileDisk(Path("/hdd/vms/hdd.qcow2"), direct_io=True, size_mib=8)
MANY = replace(MACHINE, disks={**MACHINE.disks, "0ddba115": ADDED, "hdd": HDD}, seed=Path("/run/seed.img"))


def test_each_disk_has_its_serial_at_a_target_that_is_not_the_seed_disks() -> None:
    described = to_xml(MANY, Accelerator.TCG)
    assert read_disks(described) == {
        "root": Plugged("vda", ""), "0ddba115": Plugged("vdb", ""), "hdd": Plugged("vdd", ""),
    }  # fmt: skip
    assert free_target(described) == "vde"
    assert free_target(described, described.replace('"vdd"', '"vde"')) == "vdf"
    live = described.replace("<serial>hdd</serial>", '<serial>hdd</serial><alias name="ua-1"/>')
    assert read_disks(live)["hdd"] == Plugged("vdd", "ua-1")


def test_there_are_targets_for_as_many_disks_as_there_may_be() -> None:
    disks = {f"{number:08x}": ADDED for number in range(MOST_DISKS)}
    described = to_xml(replace(MACHINE, disks=disks), Accelerator.TCG)
    assert read_disks(described).keys() == disks.keys()
    assert free_target(described) not in {plugged.target for plugged in read_disks(described).values()}


def test_a_disk_is_plugged_in_as_one_is_that_was_there_at_the_start() -> None:
    (first,) = describe().iterfind("devices/disk")
    for part in first.iter():
        part.text, part.tail = (part.text or "").strip() or None, None
    assert disk_xml("root", MACHINE.disks["root"], "vda") == ET.tostring(first, encoding="unicode")


def test_disks_of_a_domain_of_an_earlier_version_have_the_serials_of_then() -> None:
    disks = {"root": MACHINE.disks["root"], "hdd": HDD}
    old = re.sub("<serial>.*</serial>", "", to_xml(replace(MANY, disks=disks), Accelerator.TCG))
    assert {serial: plugged.target for serial, plugged in read_disks(old).items()} == {"root": "vda", "hdd": "vdb"}
    files = Files({"root": "/b/root", "hdd": "/b/hdd"}, "/s", "/l", "/v", "/b/seed")
    moved = ET.fromstring(relocate(old, 9, files))  # noqa: S314 - our own
    assert [source.get("file") for source in moved.iterfind("devices/disk/source")] == ["/b/root", "/b/hdd", "/b/seed"]


def test_on_another_host_each_disk_is_found_by_its_serial_and_what_is_not_there_is_left_out() -> None:
    files = Files({"hdd": "/b/hdd", "root": "/b/root"}, "/s", "/l", "/v", "/b/seed")
    moved = ET.fromstring(relocate(to_xml(MANY, Accelerator.TCG), 9, files))  # noqa: S314 - our own
    assert [source.get("file") for source in moved.iterfind("devices/disk/source")] == ["/b/root", "/b/hdd", "/b/seed"]


def test_the_mark_says_which_disks_there_were_and_their_sums_to_earlier_versions() -> None:
    more = (DiskSpec(kind=DiskKind.SSD, size_mib=8, serial="0ddba115"),)
    specs = Specs(cpu=2, ram_mib=128, disks=(*Specs.of(2, 128, 1024, 16).disks, *more))
    mark = describe(replace(MACHINE, specs=specs)).find(f"./metadata/{{{NAMESPACE}}}vm")
    assert mark is not None
    assert read_mark(ET.tostring(mark, encoding="unicode")) == Mark(7, specs)
    assert (mark.get("ssd_mib"), mark.get("hdd_mib")) == ("1032", "16")


@pytest.mark.parametrize("disks", ["", "root", "root:ssd", "root:ssd:x", "hdd:hdd:8", "root:ssd:8:9"])
def test_a_mark_with_other_disks_than_we_write_is_ours_all_the_same(disks: str) -> None:
    mark = read_mark(f"<vm epoch='3' cpu='1' ram_mib='96' disks='{disks}'/>")
    assert mark is not None
    assert mark.epoch == 3


def test_a_secret_is_described_without_its_value() -> None:
    secret = CephSecret(RBD.secret_uuid, "client.ucloud", b"geheim")
    described = ET.fromstring(secret_xml(secret))  # noqa: S314 - our own
    assert described.attrib == {"ephemeral": "yes", "private": "yes"}
    assert described.findtext("uuid") == RBD.secret_uuid
    assert "geheim" not in secret_xml(secret) + repr(secret)


def test_a_disk_in_ceph_is_the_same_on_the_other_host_whose_settings_may_be_elsewhere() -> None:
    there = Files({"root": f"rbd:/opt/ceph.conf:ssd/vm-{VM}-root"}, "/s", "/l", "/v")
    moved = ET.fromstring(relocate(to_xml(replace(MACHINE, disks={"root": RBD}), Accelerator.TCG), 8, there))  # noqa: S314
    source = moved.find("devices/disk/source")
    assert source is not None
    assert source.attrib == {"protocol": "rbd", "name": f"ssd/vm-{VM}-root"}
    assert [part.attrib for part in source] == [{"file": "/opt/ceph.conf"}]


@pytest.mark.parametrize(
    ("machine", "there"),
    [(replace(MACHINE, disks={"root": RBD}), "/store/root.qcow2"), (MACHINE, "rbd:/etc/ceph.conf:ssd/x")],
)
def test_a_disk_does_not_move_to_a_store_of_another_kind(machine: Machine, there: str) -> None:
    with pytest.raises(PermanentError, match="another kind"):
        relocate(to_xml(machine, Accelerator.TCG), 8, Files({"root": there}, "/s", "/l", "/v"))
