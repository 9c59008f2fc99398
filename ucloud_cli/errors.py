"""What goes wrong for a user: one line on stderr, and an exit status that a script can tell apart."""

from typing import IO, Any

import click


class CliError(click.ClickException):
    """It did not work; the message says what to do about it where that is known."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # One line, whatever the API put into it.
        super().__init__(" ".join(message.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it as one line."""
        click.echo(f"ucloud: {self.message}", file=file, err=file is None)


class Misused(CliError):
    """What was typed is not allowed."""

    exit_code = 2


class NotFound(CliError):
    """There is no such thing."""

    exit_code = 4


class ApiAway(CliError):
    """The API does not answer, or says that it can't at the moment: the same request may work later."""
