"""Whether there is room for what disks are to grow by."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from common.errors import TemporaryError
from common.schemas.disk import DiskSpec

P = TypeVar("P", bound=Hashable)


def check_room(growths: Iterable[tuple[P, int, DiskSpec]], free_mib: Callable[[P], int]) -> None:
    """TemporaryError where a place has no room for what all disks there grow by.

    Of each disk it is told where it is, by how many MiB it grows, and what is wanted.
    """
    left_mib: dict[P, int] = {}
    for place, more_mib, wanted in growths:
        if place not in left_mib:
            left_mib[place] = free_mib(place)
        left_mib[place] -= more_mib
        if left_mib[place] < 0:
            said = f"can't grow the {wanted.serial} disk to {wanted.size_mib} MiB"
            raise TemporaryError(f"{said}: its host's store has not that much room")
