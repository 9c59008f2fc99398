"""Wall clocks that tests set: no namespace can be given one, so libfaketime shows a host's programs a false one.

What no admin can set (CLOCK_MONOTONIC, CLOCK_BOOTTIME) they go on seeing as it is. Source: libfaketime's README.
"""

from pathlib import Path

_LIBRARY = "/usr/$LIB/faketime/libfaketimeMT.so.1"  # the loader puts the machine's own folder in place of $LIB


def environment(file: Path) -> dict[str, str]:
    """The environment of programs whose wall clock is as `file` says."""
    return {
        "LD_PRELOAD": _LIBRARY,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_ahead(file: Path, seconds: int) -> None:
    """The wall clock jumps to so many seconds ahead of the machine's (negative: behind it)."""
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n", encoding="ascii")
    new.replace(file)
