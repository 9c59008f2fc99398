"""The commands that look at a VM's guest: its serial log, its screen, its console."""

import sys
from pathlib import Path

import click

from ucloud_cli.console import converse
from ucloud_cli.errors import CliError
from ucloud_cli.kind import name_argument
from ucloud_cli.kinds import VM
from ucloud_cli.options import Session, pass_session, shared_options


@click.command()
@name_argument(VM)
@click.option("--tail", "tail_bytes", type=click.IntRange(1, 1024 * 1024), metavar="BYTES", help="Only the end of it.")
@shared_options
@pass_session
def log(session: Session, name: str, tail_bytes: int | None) -> None:
    """Print a VM's serial log."""
    found = VM.find(session.client, name)
    click.echo(session.client.content(f"{VM.path_of(found)}/log", tail_bytes=tail_bytes), nl=False)


@click.command()
@name_argument(VM)
@click.option("-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Where to; standard output if not.")
@shared_options
@pass_session
def screenshot(session: Session, name: str, file: Path | None) -> None:
    """Take a picture (PNG) of a VM's display."""
    if file is None and sys.stdout.isatty():
        raise click.UsageError(f"a picture is nothing for a terminal; say where to: -f {name}.png")
    found = VM.find(session.client, name)
    picture = session.client.content(f"{VM.path_of(found)}/screenshot")
    if file is None:
        click.echo(picture, nl=False)
        return
    try:
        file.write_bytes(picture)
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from error


@click.command()
@name_argument(VM)
@click.option("--until", metavar="TEXT", help="End when the guest has written this; fail if it does not.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End after so long."
)
@shared_options
@pass_session
def console(session: Session, name: str, until: str | None, timeout_s: float | None) -> None:
    """Use a VM's serial console.

    Ctrl-] ends it. What is piped in is typed: printf 'root\\n' | ucloud vm console web --until '# ' --timeout 30
    """
    found = VM.find(session.client, name)
    converse(session.client, f"{VM.path_of(found)}/console", name, until, timeout_s)
