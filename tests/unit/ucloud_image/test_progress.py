"""How far a conversion is, from what qemu-img, or who has taken it over, says."""

from ucloud_image.progress import Progress


def _told(*said: bytes, seconds_apart: float = 2.0) -> list[int]:
    now_s, told = [0.0], list[int]()
    progress = Progress(told.append, lambda: now_s[0])
    for each in said:
        now_s[0] += seconds_apart
        progress.hear(each)
    return told


def test_it_goes_up_and_stops_short_of_all() -> None:
    some = b"    (0.00/100%)\r", b"    (1.01/100%)\r    (2.02/100%)\r", b"    (50.9", b"9/100%)\r"
    assert _told(*some, b"    (100.00/100%)\r") == [0, 2, 99]


def test_it_is_told_now_and_then() -> None:
    said = [b"    (%d.00/100%%)\r" % percent for percent in range(100)]
    assert _told(*said, seconds_apart=0.11) == [0, 9, 19, 29, 39, 49, 59, 69, 79, 89, 99]


def test_nonsense_tells_nothing() -> None:
    assert _told(b"(999.00/100%)", b"(1.00/100%)", b"\xff(", b"qemu-img: error while reading") == [0, 99]
