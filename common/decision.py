"""What a plan is told of the past and what it says: data alone, so that plans can import it and stay pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from common.schemas.record import Record

S = TypeVar("S", bound=Record)
A = TypeVar("A")


@dataclass(frozen=True)
class Failure:
    """The last step on an object failed, `count` times in a row."""

    count: int
    reason: str
    permanent: bool
    at: datetime


@dataclass(frozen=True)
class Decision(Generic[S, A]):
    """What a plan says: the status to report (None: remove it), the steps to take now, when to look again."""

    status: S | None
    actions: tuple[A, ...] = ()
    again_in_s: float | None = None
    is_repair: bool = False
    """The steps are for something that has been reported already: they come first, also while nobody can be told."""
