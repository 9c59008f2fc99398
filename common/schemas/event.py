"""Something that happened, as it is kept outside the hot keys."""

from datetime import datetime

from common.schemas.record import Record


class EventRecord(Record):
    """`/v1/event/<reporter>/<kind>/<thing>/<id>`: never changed, gone with its lease."""

    at: datetime
    what: str
    """A sentence for the thing's owner."""
    owner: str = ""
    """Whose thing it is."""
    by: str = ""
    """Which user asked for it; empty: the cloud did it by itself."""
    admin_only: str = ""
    """What only admins are to see of it, a host's inner life for example."""
