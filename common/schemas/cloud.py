"""What the elected scheduler says of the cloud as a whole: drains under way, and what it would move to even it out."""

from pydantic import Field

from common.schemas.record import Part, Record
from common.schemas.vm import HostName


class Drain(Part):
    """How far a host that is to be empty is from it."""

    left: int
    """How many VMs are placed there still."""
    moving: int
    """How many of them are on their way."""
    stuck: dict[str, str] = Field(default_factory=dict)
    """Why some of the others can't leave now, by uuid; no more than a few dozen are named."""


class PlannedMove(Part):
    """A move that would make the cloud more even."""

    vm: str
    """The VM's uuid."""
    source: HostName
    to: HostName
    why: str


class Rebalance(Part):
    """What is planned to make hosts equally full."""

    margin: float
    """How much emptier another host must be, 0 to 1."""
    is_on: bool
    """Whether the moves are made; else they are only shown."""
    left_this_hour: int
    """How many moves may begin before those of the last hour are an hour old."""
    moves: tuple[PlannedMove, ...] = ()


class CloudStatus(Record):
    """`/v1/status/cloud`; written by the elected ucloud_scheduler when it changes, at most each few seconds."""

    drains: dict[HostName, Drain] = Field(default_factory=dict)
    rebalance: Rebalance | None = None
