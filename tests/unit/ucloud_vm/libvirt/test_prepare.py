"""Which of libvirt's status files are those of starts that came to nothing."""

from pathlib import Path

from ucloud_vm.libvirt.prepare import forget_unfinished_starts

STATUS = "<!-- made by libvirt -->\n<domstatus state='paused' reason='starting up' pid='{}'><domain/></domstatus>\n"


def test_only_a_start_without_a_process_is_forgotten(tmp_path: Path) -> None:
    contents = {
        "unfinished.xml": STATUS.format(0),
        "running.xml": STATUS.format(4711),
        "torn.xml": STATUS.format(0)[:60],
        "network.xml": "<networkstatus pid='0'/>",
        "driver.pid": "0",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    assert forget_unfinished_starts(tmp_path) == ["unfinished"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driver.pid", "network.xml", "running.xml", "torn.xml"]


def test_nothing_is_fine(tmp_path: Path) -> None:
    assert forget_unfinished_starts(tmp_path / "none") == []
