"""From a machine to libvirt's description of it, and back to what is ours in one. Pure.

Source: libvirt, "Domain XML format" (formatdomain.html).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from pydantic import ValidationError

from common.errors import PermanentError
from common.guests import DOMAIN_PREFIX
from common.schemas.disk import HDD, MOST_DISKS, ROOT
from common.schemas.image import Firmware
from common.schemas.network import METADATA_V6, NOCLOUD
from common.schemas.port import MOST_PORTS, PortId
from common.schemas.vm import Specs
from common.storage import CephSecret, Disk, FileDisk, RbdDisk
from ucloud_vm.destination import Files, RbdPlace, read_locator
from ucloud_vm.hypervisor import Machine, Nic
from ucloud_vm.libvirt.accelerator import Accelerator

NAMESPACE = "https://ucloud.ch/xmlns/libvirt/1"
"""The namespace of the metadata by which ucloud's domains are told from others."""

NAMESPACE_PREFIX = "ucloud"
NAME_PREFIX = DOMAIN_PREFIX
SEED_TARGET = "vdc"
UEFI = "/usr/share/ovmf/OVMF.fd"
"""Of Debian's package ovmf. As a ROM it needs no file for its variables, which would have to follow the guest wherever
it goes: it boots what is at the place for removable media, /EFI/BOOT/BOOTX64.EFI."""
_TARGETS = tuple(f"vd{letter}" for letter in "abdefghijk")
"""Of disks. That of one that was plugged in is free again only when its guest has let go of it."""
_OLD_SERIALS = {"vda": ROOT, "vdb": HDD}
"""Earlier versions told a guest no serials; these are those of disks that have none."""
_TAP = re.compile(r"tap([0-9a-f]{10})")
_OTHER_CARDS = 2
"""The balloon and the source of random numbers; beside these, ports, disks, and the seed disk of who has one. On a q35
machine each has a root port of its own, and what is to be plugged into a guest that runs needs one that is free."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_TCG_CACHE_MIB = 64, 256
"""What a guest has at least and at most for its translated code: a quarter of its memory, as QEMU gave it up to 4.2.
With less it is translated again and again (Debian took half as long again to boot with 32 MiB, or more); with QEMU's
default today, a part of the host's memory, a small guest is three times as large."""
_SEED = f"ds=nocloud-net;s=http://[{METADATA_V6}]/{NOCLOUD}/"
"""Where cloud-init finds what a VM is told of itself, as it reads it in the serial number of the machine ("NoCloud" in
its documentation). Without a word by the firmware it does not ask anybody, and does nothing."""


@dataclass(frozen=True)
class Mark:
    """What ucloud keeps in a domain: the epoch of its placement, and the specs that it was defined with."""

    epoch: int
    specs: Specs | None


def to_xml(machine: Machine, accelerator: Accelerator, kind: str = "") -> str:
    """The domain XML of a machine. `kind` is a type of domains other than the one that the accelerator means."""
    domain = ET.Element("domain", type=kind or ("kvm" if accelerator is Accelerator.KVM else "qemu"))
    _text(domain, "name", NAME_PREFIX + machine.vm_uuid)
    _text(domain, "uuid", machine.vm_uuid)
    _add_metadata(domain, machine)
    _text(domain, "memory", str(machine.specs.ram_mib), unit="MiB")
    _text(domain, "vcpu", str(machine.specs.cpu))
    _add_identity(domain, machine)
    _add_platform(domain, accelerator, machine.specs)
    devices = ET.SubElement(domain, "devices")
    for (serial, disk), target in zip(machine.disks.items(), _TARGETS, strict=False):
        devices.append(_disk(disk, serial, target))
    if machine.seed:
        _add_seed(devices, machine.seed)
    for nic in machine.nics:
        devices.append(_interface(nic))
    _add_serial(devices, machine)
    ET.SubElement(devices, "graphics", type="vnc", socket=str(machine.vnc_socket))
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga", vram="16384", heads="1")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(MOST_PORTS + MOST_DISKS + _OTHER_CARDS + bool(machine.seed)):
        ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")
    ET.SubElement(devices, "memballoon", model="virtio")
    random = ET.SubElement(devices, "rng", model="virtio")
    _text(random, "backend", "/dev/urandom", model="random")
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def secret_xml(secret: CephSecret) -> str:
    """The description of a secret that QEMU may use and nobody may read; its value is told apart from it.

    Source: libvirt, "Secret XML format" (formatsecret.html).
    """
    element = ET.Element("secret", ephemeral="yes", private="yes")
    _text(element, "uuid", secret.uuid)
    usage = ET.SubElement(element, "usage", type="ceph")
    _text(usage, "name", f"ucloud {secret.name}")
    return ET.tostring(element, encoding="unicode")


def nic_xml(nic: Nic) -> str:
    """The description of a card, to be plugged into a guest that is on."""
    return ET.tostring(_interface(nic), encoding="unicode")


def disk_xml(serial: str, disk: Disk, target: str) -> str:
    """The description of a disk, to be plugged into a guest that is on at a target that is free."""
    return ET.tostring(_disk(disk, serial, target), encoding="unicode")


@dataclass(frozen=True)
class Plugged:
    """A disk as libvirt has it. `alias` is empty while its domain is off."""

    target: str
    alias: str


def read_disks(domain_xml: str) -> dict[str, Plugged]:
    """The disks that a domain writes to, by their serials."""
    domain = ET.fromstring(domain_xml)  # noqa: S314 - libvirt's own output, which has no entities
    found = {}
    for disk in domain.iterfind("devices/disk"):
        target, alias = disk.find("target"), disk.find("alias")
        if serial := _serial_of(disk):
            name = alias.get("name", "") if alias is not None else ""
            found[serial] = Plugged(target.get("dev", "") if target is not None else "", name)
    return found


def free_target(*domain_xmls: str) -> str:
    """A target that is in none of the descriptions of a domain; PermanentError when there is none."""
    used = {plugged.target for xml in domain_xmls for plugged in read_disks(xml).values()}
    for target in _TARGETS:
        if target not in used:
            return target
    raise PermanentError("the guest has as many disks as it can have")


def _serial_of(disk: ET.Element) -> str:
    """The serial of a disk of ours; empty for another, and for the seed disk."""
    if disk.find("readonly") is not None:
        return ""
    target = disk.find("target")
    return disk.findtext("serial") or _OLD_SERIALS.get(target.get("dev", "") if target is not None else "", "")


def read_ports(domain_xml: str) -> dict[PortId, str]:
    """The ports that a domain has cards for, by their taps, with libvirt's alias of each; empty while it is off."""
    domain = ET.fromstring(domain_xml)  # noqa: S314 - libvirt's own output, which has no entities
    aliases = {}
    for card in domain.iterfind("devices/interface"):
        target, alias = card.find("target"), card.find("alias")
        if match := _TAP.fullmatch(target.get("dev", "") if target is not None else ""):
            aliases[match[1]] = alias.get("name", "") if alias is not None else ""
    return aliases


def relocate(domain_xml: str, epoch: int, files: Files) -> str:
    """The description of a domain of ours as it is to be on another host: with its epoch, and the files there."""
    domain = ET.fromstring(domain_xml)  # noqa: S314 - libvirt's own output, which has no entities
    for disk in domain.iterfind(f"devices/disk/target[@dev='{SEED_TARGET}']/.."):
        _move_disk(disk, files.seed)
    for devices in domain.iterfind("devices"):
        for disk in devices.findall("disk"):
            _relocate_disk(devices, disk, files)
    # libvirt tells of the serial line twice.
    for line in (*domain.iterfind("devices/serial"), *domain.iterfind("devices/console")):
        _set(line, "source", "path", files.serial_socket)
        _set(line, "log", "file", files.serial_log)
    for display in domain.iterfind("devices/graphics"):
        display.set("socket", files.vnc_socket)
        _set(display, "listen", "socket", files.vnc_socket)
    for metadata in domain.iterfind("metadata"):
        for mark in metadata.findall(f"{{{NAMESPACE}}}vm"):
            metadata.remove(mark)
            _add_mark(metadata, {**mark.attrib, "epoch": str(epoch)})
    return ET.tostring(domain, encoding="unicode")


def disk_caches(domain_xml: str) -> frozenset[str]:
    """The cache modes of the disks that a domain writes to."""
    domain = ET.fromstring(domain_xml)  # noqa: S314 - as above
    disks = (disk for disk in domain.iterfind("devices/disk") if disk.find("readonly") is None)
    return frozenset(driver.get("cache", "default") for disk in disks for driver in disk.iterfind("driver"))


def read_mark(metadata_xml: str) -> Mark | None:
    """What a domain's metadata element of our namespace says; None when it is none that we wrote."""
    try:
        element = ET.fromstring(metadata_xml)  # noqa: S314 - libvirt's own output, which has no entities
    except ET.ParseError:
        return None
    said: dict[str, Any] = {name: int(value) for name, value in element.items() if _NUMBER.fullmatch(value)}
    epoch = said.pop("epoch", None)
    if epoch is None:
        return None
    if firmware := element.get("firmware"):
        said["firmware"] = firmware
    if disks := element.get("disks"):
        fields = (disk.split(":") for disk in disks.split())
        said["disks"] = [dict(zip(("serial", "kind", "size_mib"), disk, strict=False)) for disk in fields]
    try:
        return Mark(epoch, Specs.model_validate(said))
    except ValidationError:
        return Mark(epoch, None)


def qemu_owner(capabilities_xml: str) -> tuple[int, int]:
    """The uid and gid that QEMU runs as, from libvirt's capabilities (formatcaps.html); root when they don't say."""
    capabilities = ET.fromstring(capabilities_xml)  # noqa: S314 - as above
    for model in capabilities.iterfind("./host/secmodel"):
        if model.findtext("model") == "dac":
            for label in model.iterfind("baselabel"):
                if match := re.fullmatch(r"\+([0-9]+):\+([0-9]+)", label.text or ""):
                    return int(match[1]), int(match[2])
    return 0, 0


def _add_metadata(domain: ET.Element, machine: Machine) -> None:
    specs = machine.specs
    # Hosts of earlier versions, where the VM may move to, know the sums alone.
    mark = {"epoch": machine.epoch, **specs.model_dump(exclude={"disks"})}
    mark["disks"] = " ".join(f"{disk.serial}:{disk.kind}:{disk.size_mib}" for disk in specs.disks)
    _add_mark(ET.SubElement(domain, "metadata"), {name: str(value) for name, value in mark.items()})


def _add_mark(metadata: ET.Element, mark: dict[str, str]) -> None:
    # ElementTree makes up a prefix unless it is told one; libvirt wants it to be declared right here.
    ET.SubElement(metadata, f"{NAMESPACE_PREFIX}:vm", {f"xmlns:{NAMESPACE_PREFIX}": NAMESPACE, **mark})


def _add_identity(domain: ET.Element, machine: Machine) -> None:
    """What the firmware (SMBIOS) tells the guest of the machine."""
    system = ET.SubElement(ET.SubElement(domain, "sysinfo", type="smbios"), "system")
    _text(system, "entry", "ucloud", name="manufacturer")
    _text(system, "entry", "ucloud VM", name="product")
    # Who has no card when it starts has nobody to ask, and would wait for an answer; who has a seed disk need not ask.
    if machine.nics and not machine.seed:
        _text(system, "entry", _SEED, name="serial")


def _add_platform(domain: ET.Element, accelerator: Accelerator, specs: Specs) -> None:
    os = ET.SubElement(domain, "os")
    _text(os, "type", "hvm", arch="x86_64", machine="q35")
    if specs.firmware is Firmware.UEFI:
        _text(os, "loader", UEFI, readonly="yes", type="rom")
    ET.SubElement(os, "boot", dev="hd")
    ET.SubElement(os, "smbios", mode="sysinfo")
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    if accelerator is Accelerator.KVM:
        ET.SubElement(features, "apic")
        ET.SubElement(domain, "cpu", mode="host-passthrough", migratable="on")
    else:
        least, most = _TCG_CACHE_MIB
        cache_mib = min(max(specs.ram_mib // 4, least), most)
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(cache_mib), unit="MiB")
        ET.SubElement(domain, "cpu", mode="maximum")
    ET.SubElement(domain, "clock", offset="utc")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    # A guest asleep would be neither running nor off, and nothing here would wake it.
    sleep = ET.SubElement(domain, "pm")
    ET.SubElement(sleep, "suspend-to-mem", enabled="no")
    ET.SubElement(sleep, "suspend-to-disk", enabled="no")


def _disk(disk: Disk, serial: str, target: str) -> ET.Element:
    match disk:
        case FileDisk():
            element = ET.Element("disk", type="file", device="disk")
            cache = "none" if disk.direct_io else "writeback"
            ET.SubElement(element, "driver", name="qemu", type="qcow2", cache=cache, discard="unmap")
            ET.SubElement(element, "source", file=str(disk.path))
        case RbdDisk():
            element = ET.Element("disk", type="network", device="disk")
            # librbd's own cache, which writes through until the guest has shown that it flushes.
            ET.SubElement(element, "driver", name="qemu", type="raw", cache="writeback", discard="unmap")
            auth = ET.SubElement(element, "auth", username=disk.client)
            ET.SubElement(auth, "secret", type="ceph", uuid=disk.secret_uuid)
            source = ET.SubElement(element, "source", protocol="rbd", name=f"{disk.pool}/{disk.image}")
            ET.SubElement(source, "config", file=str(disk.conf))
    ET.SubElement(element, "target", dev=target, bus="virtio")
    _text(element, "serial", serial)
    return element


def _add_seed(devices: ET.Element, seed: Path) -> None:
    """A disk that can only be read, the last one. Its image is in memory, where not every kernel reads past a cache."""
    element = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="raw", cache="writeback")
    ET.SubElement(element, "source", file=str(seed))
    ET.SubElement(element, "target", dev=SEED_TARGET, bus="virtio")
    ET.SubElement(element, "readonly")


def _interface(nic: Nic) -> ET.Element:
    """A card. No guest boots from the network, so it has no program for that, which would have to be on each host."""
    interface = ET.Element("interface", type="bridge")
    ET.SubElement(interface, "mac", address=nic.mac)
    ET.SubElement(interface, "source", bridge=nic.bridge)
    ET.SubElement(interface, "target", dev=nic.tap)
    ET.SubElement(interface, "model", type="virtio")
    if nic.mtu:
        ET.SubElement(interface, "mtu", size=str(nic.mtu))
    ET.SubElement(interface, "rom", enabled="no")
    return interface


def _add_serial(devices: ET.Element, machine: Machine) -> None:
    serial = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(serial, "source", mode="bind", path=str(machine.serial_socket))
    ET.SubElement(serial, "log", file=str(machine.serial_log), append="on")
    ET.SubElement(serial, "target", port="0")


def _relocate_disk(devices: ET.Element, disk: ET.Element, files: Files) -> None:
    """Have a disk be where the other host has it; one that it has not is none of the domain's next life either.

    Of the guest that is on, the plan sees to it beforehand that it has no such disk.
    """
    serial = _serial_of(disk)
    if serial in files.disks:
        _move_disk(disk, files.disks[serial])
    elif serial:
        devices.remove(disk)


def _move_disk(disk: ET.Element, there: str) -> None:
    """Have a disk be what `locator` called it on the other host."""
    place = read_locator(there)
    if (disk.get("type") == "network") != isinstance(place, RbdPlace):
        raise PermanentError("its new host keeps disks in a store of another kind")
    if isinstance(place, RbdPlace):
        _set(disk, "source", "name", place.name)
        for source in disk.iterfind("source"):
            _set(source, "config", "file", place.conf)
    else:
        _set(disk, "source", "file", place)


def _set(parent: ET.Element, tag: str, name: str, value: str) -> None:
    """Set an attribute of the children called `tag`."""
    for element in parent.iterfind(tag):
        element.set(name, value)


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
