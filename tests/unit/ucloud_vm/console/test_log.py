"""The files of serial logs."""

from pathlib import Path

from ucloud_vm.console.log import MAX_TAIL_BYTES, SerialLogs

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
OTHER = "6f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"


def test_rotated_logs_go_with_the_log(tmp_path: Path) -> None:
    logs = SerialLogs(tmp_path)
    for name in (f"{VM}.log", f"{VM}.log.0", f"{OTHER}.log", "lock"):
        (tmp_path / name).touch()
    assert logs.vms() == {VM, OTHER}
    logs.remove(VM)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{OTHER}.log", "lock"]


def test_a_long_log_is_cut_to_its_end(tmp_path: Path) -> None:
    logs = SerialLogs(tmp_path)
    # As QEMU does: one descriptor, opened for appending, that outlives the cut.
    with logs.path(VM).open("ab", buffering=0) as guest:
        guest.write(b"a" * (17 * 1024 * 1024) + b"end")
        logs.cut_long_ones()
        assert logs.path(VM).stat().st_size == MAX_TAIL_BYTES
        guest.write(b", and on")
    assert logs.path(VM).read_bytes().endswith(b"aaend, and on")
