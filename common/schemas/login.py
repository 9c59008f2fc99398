"""How those are held off who guess at a user's password or one-time token."""

from datetime import datetime

from common.schemas.record import Record


class LoginDoor(Record):
    """Tries of one user through one door that came to nothing, or are not decided yet; `/v1/login-door/<user>/<door>`.

    It is gone with its lease when nobody tries for a day.
    """

    tries: int
    closed_until: datetime
    """No proof is looked at before this time."""
    try_id: str = ""
    """Of the last try, random: no two of them write the same, so none takes another's write for its own."""


class KnownNetwork(Record):
    """That a user logged in from a network; `/v1/known-network/<user>/<network>`, gone with its lease."""

    at: datetime
