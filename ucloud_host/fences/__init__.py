"""Fences: each can say of a silent host whether it is sure that nothing there writes to its VMs' disks any more.

A fence that isn't sure says so. None may take silence, a time-out or an error for a yes.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from common.schemas.host import ConfirmedDead, HostStatus
from common.store import Compare


class Word(StrEnum):
    """What a fence can say. Only YES counts."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What a fence said, and why, in words for an admin that stay the same as long as nothing happens."""

    word: Word
    why: str
    rests_on: tuple[Compare, ...] = ()
    """YES: what must still be so in etcd when the host is found dead."""
    again_in_s: float | None = None
    """NO: nothing but time is missing, this much of it."""

    def __str__(self) -> str:
        return f"{self.word}: {self.why}"


@dataclass(frozen=True)
class Silence:
    """A host whose sign of life is gone, as a fence is asked about it."""

    host: str
    seen_s: float
    """For how long the judge has seen it without a sign of life, by its own clock."""
    guarded_s: float | None = None
    """What the last sign of life said of the host's guard; see Alive."""
    status: HostStatus | None = None
    """What the host measured of itself; None: that can't be read."""
    confirmed: ConfirmedDead | None = None
    """An admin's word, if it is on this very silence."""


class Fence(Protocol):
    """One way to be sure."""

    def ask(self, silence: Silence) -> Answer:
        """Answer, after doing what makes it sure. UcloudError is as good as an unknown."""
        ...
