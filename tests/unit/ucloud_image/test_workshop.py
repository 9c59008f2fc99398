"""The room that imports are promised."""

import os
from pathlib import Path

import pytest

from common.errors import TemporaryError
from ucloud_image.workshop import Workshop

GIB = 1024**3


def test_what_others_were_promised_is_not_promised_again(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "import", reserve_gib=1)
    numbers = os.statvfs(tmp_path)
    most = numbers.f_bavail * numbers.f_frsize
    with workshop.room(most // 2):
        with pytest.raises(TemporaryError, match=r"the store is full: the import takes up to [0-9]+ MiB"):
            workshop.room(most // 2).__enter__()
        with workshop.room(0):
            pass
    with workshop.room(most // 2):
        pass


def test_a_reserve_is_kept(tmp_path: Path) -> None:
    numbers = os.statvfs(tmp_path)
    free_bytes = numbers.f_bavail * numbers.f_frsize
    with pytest.raises(TemporaryError), Workshop(tmp_path / "import", reserve_gib=1).room(free_bytes - GIB // 2):
        pass
    with Workshop(tmp_path / "import", reserve_gib=0).room(free_bytes - GIB // 2):
        pass
