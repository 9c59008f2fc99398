"""A VM made without ucloud, as an admin would at a shell of the host: a clone of the image, and `virsh create`.

Its domain is the one that ucloud made for a VM of its own, under another name and with files of its own, and without
the mark by which ucloud knows what belongs to it.
"""

import json
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.serial import wait_first_byte
from devcloud.cloud import Cloud

_COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Sample:
    """A VM of ucloud that runs on a host: its domain's description and the image that its disk rests on."""

    host: str
    xml: str
    template: Path

    @classmethod
    def take(cls, cloud: Cloud, host: str, vm_uuid: str) -> "Sample":
        """Look at the VM `vm_uuid`, which runs on `host`."""
        xml = _run(cloud, host, "virsh", "dumpxml", "--inactive", vm_uuid)
        root = _require(ET.fromstring(xml), "devices/disk/source").attrib["file"]  # noqa: S314 - libvirt's own
        told = json.loads(_run(cloud, host, "qemu-img", "info", "-U", "--output=json", root))
        return cls(host, xml, Path(told["full-backing-filename"]).resolve())

    @property
    def serial_log(self) -> Path:
        """Where the sample's serial output goes; its uuid is a part of the path."""
        return Path(_require(ET.fromstring(self.xml), "devices/serial/log").attrib["file"])  # noqa: S314


@dataclass(frozen=True)
class Times:
    """Seconds from the beginning to each step."""

    cloned: float
    created: float
    first_byte: float


def measure(cloud: Cloud, sample: Sample, directory: Path, ssd_gib: int) -> Times:
    """Make a VM like the sample, wait for its first serial byte, and remove it; `directory` is on the store's disk."""
    directory.mkdir()
    name = f"by-hand-{uuid.uuid4().hex[:8]}"
    xml, disk, log = directory / "domain.xml", directory / "root.qcow2", directory / "serial.log"
    xml.write_text(describe(sample, name, directory), encoding="utf-8")
    # The clock runs on the host: to enter it is no part of the work.
    script = f"""set -e
        date +%s.%N
        qemu-img create -q -f qcow2 -F qcow2 -b {sample.template} {disk} {ssd_gib}G
        date +%s.%N
        virsh -q create {xml} > /dev/null
        date +%s.%N"""
    try:
        began, cloned, created = map(float, _run(cloud, sample.host, "sh", "-c", script).split())
        first_byte = wait_first_byte(log)
        return Times(cloned - began, created - began, first_byte - began)
    finally:
        subprocess.run(
            cloud.enter(sample.host, "virsh", "destroy", name),
            capture_output=True,
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
        )
        shutil.rmtree(directory)


def describe(sample: Sample, name: str, directory: Path) -> str:
    """The description of a domain like the sample, called `name`, all of whose files are in `directory`."""
    domain = ET.fromstring(sample.xml)  # noqa: S314 - libvirt's own output
    if (metadata := domain.find("metadata")) is not None:
        domain.remove(metadata)
    _require(domain, "name").text = name
    _require(domain, "uuid").text = str(uuid.uuid4())
    _require(domain, "devices/disk/source").set("file", str(directory / "root.qcow2"))
    serial = directory / "serial.sock"
    for device in ("serial", "console"):
        if (source := domain.find(f"devices/{device}/source")) is not None:
            source.set("path", str(serial))
        if (log := domain.find(f"devices/{device}/log")) is not None:
            log.set("file", str(directory / "serial.log"))
    graphics = _require(domain, "devices/graphics")
    for element in (graphics, *graphics.iterfind("listen")):
        if "socket" in element.attrib:
            element.set("socket", str(directory / "vnc.sock"))
    return ET.tostring(domain, encoding="unicode")


def _require(element: ET.Element, path: str) -> ET.Element:
    found = element.find(path)
    if found is None:
        raise LookupError(f"the domain has no {path}")
    return found


def _run(cloud: Cloud, host: str, *command: str) -> str:
    done = subprocess.run(
        cloud.enter(host, *command), capture_output=True, text=True, check=False, timeout=_COMMAND_TIMEOUT_S
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
