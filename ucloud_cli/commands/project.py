"""The commands for projects: users who have things together, and how much of them."""

from typing import Any
from urllib.parse import quote

import click

from ucloud_cli.commands.events import add_events
from ucloud_cli.errors import Refused
from ucloud_cli.groups import Group
from ucloud_cli.kind import (
    add_delete,
    add_list,
    add_show,
    complete_names,
    name_argument,
    new_name,
    print_result,
)
from ucloud_cli.kinds import PROJECT, USER
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, print_list
from ucloud_cli.quota import quota_of, quota_options

_ROLES = click.Choice(["owner", "member", "reader"])
_MEMBERS: Columns = {
    "USER": Column(lambda member: member["user"]),
    "ROLE": Column(lambda member: member["role"]),
}
_project_argument = click.argument("name", metavar="PROJECT", shell_complete=complete_names(PROJECT))
_role_option = click.option(
    "--role",
    type=_ROLES,
    default="member",
    show_default=True,
    help="Readers see things, members make and change them, owners also say who is in the project.",
)


@click.group("project", cls=Group)
def project() -> None:
    """Projects, whose members have VMs, images and networks together."""


@project.command()
@new_name(required=True)
@click.option("--owner", shell_complete=complete_names(USER), help="Its first owner.  [default: you]")
@quota_options
@shared_options
@pass_session
def create(session: Session, /, name: str, owner: str | None, **said: Any) -> None:
    """Create a project, called NAME; for admins."""
    body = {"name": name, **({"owner": owner} if owner else {}), **quota_of(said)}
    created = session.client.post(PROJECT.path, body)
    print_result(session, PROJECT, created, created)


@project.command("set")
@name_argument(PROJECT)
@quota_options
@shared_options
@pass_session
def set_project(session: Session, /, name: str, **said: Any) -> None:
    """Change a project's quota; for admins."""
    changes = quota_of(said)
    if not changes:
        raise click.UsageError("say what to set; ucloud project set --help lists it")
    changed = session.client.patch(PROJECT.path_of(PROJECT.find(session.client, name)), changes)
    print_result(session, PROJECT, changed, changed)


@project.command()
@click.argument("name", required=False, shell_complete=complete_names(PROJECT))
@click.option("--none", "is_none", is_flag=True, help="Your own things again.")
@shared_options
@pass_session
def use(session: Session, name: str | None, is_none: bool) -> None:
    """Have all commands mean the things of a project, as long as nothing else is said; the context remembers it."""
    if bool(name) == is_none:
        raise click.UsageError("say a NAME, or --none")
    chosen = session.chosen_context()
    if chosen is None:
        raise Refused("there is no login that could remember it, type: ucloud login --name NAME")
    wanted = PROJECT.find(session.client, name)["name"] if name else ""
    session.contexts.change(lambda contexts: contexts.with_project(chosen[0], wanted))
    click.echo(f"{chosen[0]}: the project {wanted}" if wanted else f"{chosen[0]}: no project")


@project.group(cls=Group)
def member() -> None:
    """Who is in a project."""


def _path(project_name: str, user: str) -> str:
    return f"{PROJECT.path_to(project_name)}/member/{quote(user, safe='')}"


@member.command()
@_project_argument
@click.argument("user", shell_complete=complete_names(USER))
@_role_option
@shared_options
@pass_session
def add(session: Session, name: str, user: str, role: str) -> None:
    """Have USER in PROJECT."""
    changed = session.client.post(f"{PROJECT.path_to(name)}/member", {"user": user, "role": role})
    print_list(changed["members"], _MEMBERS, session.layout)


@member.command("set")
@_project_argument
@click.argument("user", shell_complete=complete_names(USER))
@click.option("--role", type=_ROLES, required=True)
@shared_options
@pass_session
def set_member(session: Session, name: str, user: str, role: str) -> None:
    """Give USER another role in PROJECT."""
    changed = session.client.patch(_path(name, user), {"role": role})
    print_list(changed["members"], _MEMBERS, session.layout)


@member.command()
@_project_argument
@click.argument("user", shell_complete=complete_names(USER))
@shared_options
@pass_session
def remove(session: Session, name: str, user: str) -> None:
    """Have USER in PROJECT no more; you may leave it yourself."""
    session.client.delete(_path(name, user))
    click.echo(f"{user} is no member of {name} any more")


@member.command("list")
@_project_argument
@table_options(tuple(_MEMBERS))
@shared_options
@pass_session
def list_members(session: Session, name: str) -> None:
    """List the members of PROJECT."""
    session.layout.check(_MEMBERS)
    print_list(PROJECT.find(session.client, name)["members"], _MEMBERS, session.layout)


add_list(project, PROJECT)
add_show(project, PROJECT)
add_events(project, PROJECT)
add_delete(project, PROJECT, "Delete a project that owns nothing.")
