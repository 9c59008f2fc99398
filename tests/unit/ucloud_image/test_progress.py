"""Percentages follow what is on the disk, not how long a file claims to be."""

import threading
from pathlib import Path

from ucloud_image.progress import progress

MIB = 1024 * 1024


def test_it_grows_with_what_is_written_and_stops_short_of_all(tmp_path: Path) -> None:
    target, told, news = tmp_path / "target", list[int](), threading.Event()

    def report(percent: int) -> None:
        told.append(percent)
        news.set()

    with target.open("wb") as file, progress(target, 4 * MIB, report):
        file.truncate(1024 * MIB)
        for number in range(1, 4):
            news.clear()
            file.write(b"x" * (2 * MIB if number == 3 else MIB))
            file.flush()
            assert news.wait(30)
    assert told[0] == 0
    assert told == sorted(set(told))
    assert 20 <= told[1] <= 30
    assert told[-1] == 99
