"""Moves of VMs: what is asked for, and what is shown of moves, drains and the balance."""

from typing import Annotated

from pydantic import Field

from common.schemas.vm import HostName
from ucloud_api.models.shared import In, Out


class VmMigrate(In):
    """How a VM is to move."""

    to: Annotated[HostName | None, Field(description="The name of a host; left out: whichever suits best.")] = None
    cold: Annotated[bool, Field(strict=True, description="True: the guest is shut down for it and started there.")] = (
        False
    )


class Move(Out):
    """How far a VM is with moving to another host."""

    wish: Annotated[int, Field(description="Counts what was asked for: to move, or to stay.")]
    dealt_with: Annotated[int, Field(description="The last wish that was carried out, or that can't be.")]
    to: Annotated[str | None, Field(description="The name of the host that it is on its way to; null: to none.")]
    live: Annotated[bool, Field(description="Its guest goes on running meanwhile.")]
    percent: Annotated[int, Field(description="How much of it is there, 0 to 100.")]
    failure: Annotated[str, Field(description="Why the last move, if it failed, did.")]


class DrainingVm(Out):
    """A VM that is still on a host that is to be empty."""

    uuid: str
    name: str
    owner: str
    to: Annotated[str | None, Field(description="The name of the host that it is on its way to; null: to none.")]
    percent: Annotated[int, Field(description="How much of it is there, 0 to 100.")]
    reason: Annotated[str, Field(description="Why it does not leave, as far as that is known.")]


class Drain(Out):
    """How far a host is from being empty."""

    host: str
    is_draining: Annotated[bool, Field(description="Whether VMs are to leave it now.")]
    cold: Annotated[bool, Field(description="Guests that can't leave while they run are shut down for it.")]
    vms: Annotated[tuple[DrainingVm, ...], Field(description="What is placed there still.")]


class PlannedMove(Out):
    """A move that would make hosts equally full."""

    vm: Annotated[str, Field(description="The VM's uuid.")]
    name: Annotated[str, Field(description="Its name.")]
    owner: str
    source: Annotated[str, Field(description="The name of the host that it is on.")]
    to: Annotated[str, Field(description="The name of the host that it would come to.")]
    why: str


class Rebalance(Out):
    """What would make hosts equally full."""

    margin: Annotated[float, Field(description="How much emptier another host must be, 0 to 1.")]
    is_on: Annotated[bool, Field(description="Whether the moves are made; else they are only shown.")]
    left_this_hour: Annotated[int, Field(description="How many moves may begin now.")]
    moves: tuple[PlannedMove, ...]
