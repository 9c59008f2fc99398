"""Which boot of this machine it is."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The id that the kernel chose for this boot (proc(5))."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
