"""What a directory of users is asked."""

from typing import Protocol

from common.schemas.directory import Person


class Directory(Protocol):
    """Knows users. A name may be anything that somebody typed: what can't be one is nobody's."""

    def find(self, name: str) -> Person | None:
        """The user of that name, if there is one and it may use the cloud; Unavailable."""
        ...

    def is_password(self, name: str, password: str) -> bool:
        """Whether it is the password of that user, who may use the cloud; Unavailable.

        An unknown name takes as long as a wrong password. Guessing is held off elsewhere (common.lockout).
        """
        ...
