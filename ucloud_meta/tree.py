"""The paths below http://metadata, of one VM. Pure.

A directory is listed with and without a slash at the end of its path, as EC2 and OpenStack do it. A path is taken as it
is written: nothing in it is decoded, and `..` is a name like any other, which nothing has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class File:
    """Something to read."""

    text: str
    content_type: str = TEXT


@dataclass(frozen=True)
class Directory:
    """Files and directories by name. `listing` is what it is listed as, where that is not as usual."""

    entries: Mapping[str, Union["Directory", File]]
    listing: tuple[str, ...] | None = None

    def text(self) -> str:
        """One name a line, those of directories with a slash."""
        names = self.listing
        if names is None:
            names = tuple(f"{name}/" if isinstance(it, Directory) else name for name, it in self.entries.items())
        return "\n".join(names)


def read(root: Directory, path: str) -> File | None:
    """The file or the listing at `path`, which begins with a slash; None where there is nothing."""
    found: Directory | File = root
    *directories, last = path.split("/")[1:] or [""]
    for name in [*directories, last] if last else directories:
        entry = found.entries.get(name) if isinstance(found, Directory) else None
        if entry is None:
            return None
        found = entry
    if isinstance(found, Directory):
        return File(found.text())
    return found if last else None
