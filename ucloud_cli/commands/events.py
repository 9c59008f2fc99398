"""The command `events` of each kind: what happened to a thing, and what happens to it from now on. Nothing polls."""

import json

import click
import yaml

from ucloud_cli.errors import ApiAway, NotFound
from ucloud_cli.kind import Kind, is_uuid, name_argument
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, Layout, local_time, note, print_list
from ucloud_cli.problems import Resource
from ucloud_cli.stream import Follower, Told, Trouble

_COLUMNS: Columns = {
    "AT": Column(lambda event: local_time(event["at"])),
    "WHAT": Column(lambda event: event["what"]),
    "BY": Column(lambda event: event["by"]),
    "REPORTER": Column(lambda event: event["reporter"].removeprefix("-"), wide=True),
    "DETAILS": Column(lambda event: event["details"], wide=True),
}


def add_events(group: click.Group, kind: Kind) -> None:
    """Add the command `events`."""

    _add(group, kind, "events", f"List what happened to {_a(kind.noun)}, oldest first.")


def add_logins(group: click.Group, kind: Kind) -> None:
    """Add the command `logins`, of users."""
    _add(group, kind, "logins", "List who logged in as a user, from where, or was refused, oldest first.")


def _add(group: click.Group, kind: Kind, what: str, words: str) -> None:
    @group.command(what, help=words)
    @name_argument(kind)
    @click.option("--follow", is_flag=True, help="Go on with what happens from now on; ctrl-c ends it.")
    @table_options(tuple(_COLUMNS))
    @shared_options
    @pass_session
    def command(session: Session, name: str, follow: bool) -> None:
        session.layout.check(_COLUMNS)
        path = f"{_path(session, kind, name)}/{what}"
        if follow:
            _follow(Follower(session.client, path), session.layout)
        else:
            print_list(session.client.all(path), _COLUMNS, session.layout)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _path(session: Session, kind: Kind, name: str) -> str:
    """Where the thing is, or was: what happened to one that is gone can be asked for by its uuid."""
    try:
        return kind.path_of(kind.find(session.client, name))
    except NotFound:
        if kind.key == "uuid" and is_uuid(name):
            return kind.path_to(name)
        raise


def _follow(follower: Follower, layout: Layout) -> None:
    try:
        while True:
            match follower.news.get():
                case Told(event):
                    _print(event, layout)
                case Trouble(ApiAway() as error):
                    note(error.message)
                case Trouble(error):
                    raise error
    except KeyboardInterrupt:
        pass  # which is how one ends it
    finally:
        follower.close()


def _print(event: Resource, layout: Layout) -> None:
    if layout.how == "json":
        click.echo(json.dumps(event))
    elif layout.how == "yaml":
        click.echo(yaml.safe_dump(event, sort_keys=False, explicit_start=True, allow_unicode=True), nl=False)
    else:
        print_list([event], _COLUMNS, Layout(layout.how, layout.columns, header=False))
