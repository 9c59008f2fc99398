"""Who may log in."""

from typing import Protocol


class Accounts(Protocol):
    """Where users are known. Both may block; Unavailable when it can't be told now."""

    def public_keys(self, user: str) -> tuple[str, ...]:
        """The keys of a user who may log in, as lines of an authorized_keys file; none for anybody else."""
        ...

    def check_password(self, user: str, password: str, address: str) -> bool:
        """Whether it is the password of a user who may log in, as somebody at an IP address says.

        TooManyTries while guesses are held off.
        """
        ...
