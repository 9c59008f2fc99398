"""What images, VMs and snapshots are called in stores: by uuids, and nothing else becomes a part of a name there."""

import re

from common.errors import PermanentError

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def checked(name: str) -> str:
    """`name`, if it is a uuid; else PermanentError."""
    if not UUID.fullmatch(name):
        raise PermanentError(f"{name!r} is not a uuid in lower case")
    return name
