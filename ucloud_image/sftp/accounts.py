"""Who may log in."""

from typing import Protocol


class Accounts(Protocol):
    """Where users are known. All may block; Unavailable when it can't be told now."""

    def may_use(self, user: str) -> bool:
        """Whether there is such a user, who may use the cloud."""
        ...

    def public_keys(self, user: str) -> tuple[str, ...]:
        """The keys of a user who may log in, as lines of an authorized_keys file; none for anybody else."""
        ...

    def check_password(self, user: str, password: str, address: str) -> bool:
        """Whether it is the password of a user who may log in, as somebody at an IP address says.

        TooManyTries while guesses are held off.
        """
        ...
