"""qemu-img on the disks of a store, which no guest has open: it takes their locks."""

import subprocess

from common.errors import TemporaryError

_LIMIT_S = 60.0


def qemu_img(*arguments: str, limit_s: float = _LIMIT_S) -> None:
    """Have it done; TemporaryError when it fails, or takes longer than `limit_s`: then it is ended in its midst."""
    try:
        subprocess.run(
            ("qemu-img", *arguments),
            check=True,
            capture_output=True,
            text=True,
            timeout=limit_s,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise TemporaryError("qemu-img is not installed on this host") from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"qemu-img {arguments[0]} took longer than {limit_s:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise TemporaryError(f"qemu-img {arguments[0]} failed: {error.stderr.strip()}") from error
