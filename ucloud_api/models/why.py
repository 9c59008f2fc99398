"""Why a VM is as it is."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from common.schemas.vm import Actual, Cause, Requested, Role
from ucloud_api.models.shared import Out


class WhyScore(Out):
    """How full a host would have become by taking the VM."""

    host: str
    load: Annotated[float, Field(description="0: empty, 1: full.")]


class WhyPlacement(Out):
    """An order to a host, and the host's answer."""

    host: str
    role: Role
    placed_at: datetime
    cause: Annotated[Cause | None, Field(description="Why the VM was given to this host; null: that is not known.")]
    hosts: Annotated[int, Field(description="How many hosts there were to choose from; 0: that is not known.")]
    refused: Annotated[dict[str, int], Field(description="How many of those would not do, by the reason.")]
    scores: Annotated[tuple[WhyScore, ...], Field(description="The best of the others; for admins.")]
    coming_from: str | None
    moving_to: str | None
    status: Annotated[Actual | None, Field(description="What the host says; null: it says nothing yet.")]
    since: datetime | None
    reason: str
    host_state: Annotated[str, Field(description="ALIVE, SILENT or DEAD.")]
    fence: Annotated[str, Field(description="Of a host that is not alive, what is waited for; for admins.")]


class Why(Out):
    """What is requested of a VM, where it is, and what it waits for."""

    uuid: str
    name: str
    requested: Requested
    status: Actual
    reason: str
    generation: int
    observed_generation: int
    placements: tuple[WhyPlacement, ...]
    waits_for: Annotated[tuple[str, ...], Field(description="What must happen before it is as requested.")]
    lines: Annotated[tuple[str, ...], Field(description="All of it, to be read by people.")]
