"""What the elected judge holds of a host whose sign of life is gone."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from common.schemas.record import Record
from common.schemas.vm import HostName


class Sentence(StrEnum):
    """How far the judge is with a silent host."""

    SILENT = "SILENT"
    """Its sign of life is gone, and it may still run VMs: nothing of it is started elsewhere."""
    DEAD = "DEAD"
    """A fence worked: none of its HA VMs writes to a disk any more, until it takes up its sign of life again."""


class Verdict(Record):
    """`/v1/verdict/<host>`, made while the sign of life is absent, removed in the transaction that takes it up again.

    So a verdict that exists says that the host was not alive since; and who compares it in a transaction knows that the
    host is not back yet.
    """

    host: HostName
    sentence: Sentence
    since: datetime
    """When the judge first missed the sign of life."""
    judged_at: datetime | None = None
    """When it was found DEAD."""
    boot_id: str = ""
    """Which boot of the host this speaks of."""
    fenced_by: str = ""
    """DEAD: the fences that worked, as in the setting ("self+storage")."""
    waits_for: str = ""
    """SILENT: what must happen before the host can be found DEAD, in a sentence for the admin."""
    answers: dict[str, str] = Field(default_factory=dict)
    """The last answer of each fence: "yes: ...", "no: ..." or "unknown: ..."."""
