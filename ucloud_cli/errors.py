"""What goes wrong for a user: one line on stderr, and an exit status that a script can tell apart."""

from typing import IO, Any

import click

EXIT_STATUSES = """\b
Exit statuses:
  0  done
  1  failed
  2  typed wrong, or a value that is not allowed
  3  not logged in, or not allowed to you
  4  there is no such thing
  5  refused as things stand: its state, a name that is taken, a quota
  6  the API or what it needs does not answer: the same may work later"""


class CliError(click.ClickException):
    """It did not work; the message says what to do about it where that is known."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # One line of text, whatever the API put into it.
        super().__init__(" ".join("".join(each if each.isprintable() else " " for each in message).split()))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it as one line."""
        click.echo(f"ucloud: {self.format_message()}", file=file, err=file is None)


class Interrupted(CliError):
    """The user did not want to wait any longer."""

    exit_code = 130


class Misused(CliError):
    """What was typed is not allowed."""

    exit_code = 2


class NotAllowed(CliError):
    """The API does not know who asks, or does not let them."""

    exit_code = 3


class NotFound(CliError):
    """There is no such thing."""

    exit_code = 4


class Refused(CliError):
    """It can't be done as things stand."""

    exit_code = 5


class Outdated(Refused):
    """Somebody else changed it since it was read."""


class ApiAway(CliError):
    """The API does not answer, or says that it can't at the moment: the same request may work later.

    `patience_s` is how long it makes sense to try again, `retry_after_s` what the API asks for between two tries.
    """

    exit_code = 6

    def __init__(self, message: str, patience_s: float = 0.0, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.patience_s = patience_s
        self.retry_after_s = retry_after_s

    def format_message(self) -> str:
        """What went wrong, and when to try again if the API says so."""
        return self.message + (f"; try again in {self.retry_after_s:.0f} s" if self.retry_after_s else "")
