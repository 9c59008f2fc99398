"""The page that a host's processes share, and the marks of guests that don't end with their host."""

import subprocess
import sys
from pathlib import Path

import pytest

from common import clock
from common.errors import ConfigurationError
from common.guests import HaMarks
from common.lifeline import Lifeline

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
_WRITE = """
import sys
from pathlib import Path
from common.lifeline import Lifeline
Lifeline(Path(sys.argv[1]), "boot").renewed_at = 12.5
"""


def test_what_one_process_writes_another_reads(tmp_path: Path) -> None:
    ours = Lifeline(tmp_path / "host", "boot")
    assert (ours.renewed_at, ours.asked_at, ours.beat_at, ours.clean_at) == (0, 0, 0, 0)
    ours.asked_at, ours.beat_at, ours.clean_at = 1.25, 2.5, 3.75
    subprocess.run([sys.executable, "-c", _WRITE, str(tmp_path / "host")], check=True)
    assert (ours.renewed_at, ours.asked_at, ours.beat_at, ours.clean_at) == (12.5, 1.25, 2.5, 3.75)


def test_what_an_earlier_boot_wrote_is_forgotten(tmp_path: Path) -> None:
    Lifeline(tmp_path, "boot 1").renewed_at = 99999.0
    assert Lifeline(tmp_path, "boot 2").renewed_at == 0


def test_half_a_page_is_none(tmp_path: Path) -> None:
    Lifeline(tmp_path, "boot").renewed_at = 1.0
    (tmp_path / "lifeline").write_bytes(b"half")
    assert Lifeline(tmp_path, "boot").renewed_at == 0


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"host\.run_directory"):
        Lifeline(tmp_path / "file/host", "boot")


def test_a_host_is_in_touch_for_as_long_as_its_lease_surely_holds(tmp_path: Path) -> None:
    line = Lifeline(tmp_path, "boot")
    assert not line.is_in_touch(1e9), "it never was"
    line.renewed_at = clock.now()
    assert line.is_in_touch(1000)
    line.renewed_at = clock.now() - 1000.5
    assert not line.is_in_touch(1000)


def test_sleeping_until_a_moment_that_is_past_takes_no_time() -> None:
    clock.sleep_until(0)
    began = clock.now()
    clock.sleep_until(began + 0.05)
    assert clock.now() >= began + 0.05


def test_a_vm_is_highly_available_unless_marked(tmp_path: Path) -> None:
    marks = HaMarks(tmp_path)
    assert marks.is_ha(VM)
    marks.set(VM, ha=False)
    marks.set(VM, ha=False)
    assert not marks.is_ha(VM)
    assert marks.vms() == {VM}
    marks.set(VM, ha=True)
    marks.set(VM, ha=True)
    assert marks.is_ha(VM)
    assert marks.vms() == frozenset()
