"""The guest that system tests boot, alone under QEMU: it boots, names its boot, fills its disk, and powers off."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud.first_vm import build_image
from devcloud.waiting import wait_for

_BOOT_TIMEOUT_S = 90


class Guest:
    """A QEMU with an overlay of the image, larger than it; `console` is what it wrote to its serial port."""

    def __init__(self, directory: Path, image: Path) -> None:
        self._log = directory / "serial.log"
        self._monitor = directory / "monitor"
        disk = directory / "disk.qcow2"
        overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(disk), "3G"]
        subprocess.run(overlay, check=True)
        machine = "-nodefaults -display none -machine q35 -accel tcg,tb-size=64 -cpu max -m 128 -no-reboot"
        devices = f"-drive file={disk},if=virtio -serial file:{self._log} -qmp unix:{self._monitor},server=on,wait=off"
        self.process = subprocess.Popen(["qemu-system-x86_64", *machine.split(), *devices.split()])

    @property
    def console(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_console(self, text: str) -> None:
        wait_for(f"{text!r} on the console", lambda: text in self.console, _BOOT_TIMEOUT_S)

    def press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as monitor, monitor.makefile("rw") as lines:
            monitor.connect(str(self._monitor))
            lines.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                print(json.dumps({"execute": command}), file=lines, flush=True)
                assert "error" not in json.loads(lines.readline())


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(tmp_path, build_image())
    yield guest
    guest.process.kill()
    guest.process.wait()


def test_it_boots_to_a_login_prompt_and_powers_off_by_acpi(guest: Guest) -> None:
    guest.wait_console("ucguest login:")
    reports = dict(line[8:].split(" ", 1) for line in guest.console.splitlines() if line.startswith("UCGUEST "))
    boot_id = reports["boot-id"].split()[0]
    assert len(boot_id) == 36
    root_mib = int(reports["root"].partition("MiB")[0])
    assert 2500 < root_mib < 3072
    guest.press_power_button()
    assert guest.process.wait(_BOOT_TIMEOUT_S) == 0
    assert "UCGUEST shutdown" in guest.console
