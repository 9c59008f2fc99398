"""What lets a stream or a console go on: the session that it was begun with."""

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import g

from common import keys
from common.errors import Unavailable
from ucloud_api.access.auth import Caller, caller_of, current_caller, find_session
from ucloud_api.worker.state import State
from ucloud_api.worker.watch import Topic

SESSION, ACCOUNT = "session", "account"
"""The kinds of topics that a permit depends on."""


@dataclass(frozen=True)
class Permit:
    """Holds until the session ends, or the rights of its user change."""

    session_key: str
    caller: Caller
    expires_at: datetime

    @property
    def topics(self) -> tuple[Topic, Topic]:
        """What to be woken by, as the permit may then have ended."""
        return (SESSION, keys.last_part(self.session_key)), (ACCOUNT, self.caller.user)

    @property
    def left_s(self) -> float:
        """How long the session lasts if nobody ends it."""
        return max(0.0, (self.expires_at - datetime.now(UTC)).total_seconds())

    def holds(self, state: State) -> bool:
        """Whether it holds still."""
        try:
            found = find_session(state, self.session_key)
        except Unavailable:
            return True  # that is not known now, and there is no news to tell either
        return found is not None and caller_of(state, found[1]) == self.caller


def current_permit() -> Permit:
    """What lets the caller of this request follow something."""
    return Permit(g.session_key, current_caller(), g.session.expires_at)
