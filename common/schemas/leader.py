"""The elected instance of a daemon."""

from datetime import datetime

from common.schemas.record import Record


class Leader(Record):
    """`/v1/leader/<daemon>`: who leads, for people to read; what fences is the key's create revision."""

    instance: str
    since: datetime
    process: str = ""
    """Which process it is, for another on the same machine to tell whether it is dead (common.process)."""
