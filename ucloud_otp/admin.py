"""ucloud-otp-admin: makes, lists and removes the names that have one-time tokens, directly in etcd.

It shows a seed once, to whoever made it, and writes it into no file but a new one that only its owner reads.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import click
import pyotp
from pydantic import ValidationError

from common import settings
from common.errors import UcloudError
from common.schemas.record import describe
from common.store import EtcdOptions, Store
from ucloud_otp.entries import Entries

P = ParamSpec("P")


@contextmanager
def _entries() -> Iterator[Entries]:
    store = Store(EtcdOptions.from_settings(settings.load(os.environ).etcd))
    try:
        yield Entries(store)
    finally:
        store.close()


def _with_entries(command: Callable[Concatenate[Entries, P], None]) -> Callable[P, None]:
    """Hand the entries to a command, and tell its user of errors in one line."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _entries() as entries:
                command(entries, *args, **kwargs)
        except ValidationError as error:
            raise click.ClickException(describe(error)) from error
        except (UcloudError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


_realm = click.option("--realm", required=True, help="ucloud for users, ungleich-auth for services.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """One-time tokens: who has them. Reads the settings of the daemons (UCLOUD_CONFIG)."""


@main.command()
@click.argument("name")
@_realm
@click.option("--seed-file", type=click.Path(path_type=Path), help="Write the seed into this new file (mode 0600).")
@_with_entries
def create(entries: Entries, name: str, realm: str, seed_file: Path | None) -> None:
    """Make NAME in a realm. Its seed is printed, or written to a file; it can't be read again."""
    if seed_file is None:
        _, entry = entries.create(name, realm)
        click.echo(entry.seed)
        return
    seed = pyotp.random_base32()
    _write_new(seed_file, seed)
    try:
        entries.create(name, realm, seed)
    except BaseException:
        seed_file.unlink()
        raise
    click.echo(f"{name} of {realm}: its seed is in {seed_file}", err=True)


def _write_new(path: Path, seed: str) -> None:
    """Write a seed to a file that does not exist yet, for its owner's eyes only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{seed}\n")
        file.flush()
        os.fsync(file.fileno())


@main.command("list")
@_with_entries
def list_entries(entries: Entries) -> None:
    """List realms and names, without their seeds."""
    for entry in entries.list():
        click.echo(f"{entry.realm} {entry.name}")


@main.command()
@click.argument("name")
@_realm
@_with_entries
def delete(entries: Entries, name: str, realm: str) -> None:
    """Remove NAME from a realm: no token of it is right from now on. Sessions that it began go on."""
    entries.delete(name, realm)


@main.command()
@click.argument("name")
@_realm
@_with_entries
def unblock(entries: Entries, name: str, realm: str) -> None:
    """Let NAME try again at once, after too many wrong tokens."""
    entries.unblock(name, realm)


if __name__ == "__main__":
    sys.exit(main())
