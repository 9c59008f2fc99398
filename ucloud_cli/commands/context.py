"""The commands for contexts, the logins that are kept."""

import click

from ucloud_cli.contexts import Context, Contexts
from ucloud_cli.errors import NotFound
from ucloud_cli.groups import Group
from ucloud_cli.names import near
from ucloud_cli.options import Session, complete_contexts, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, local_time, print_list
from ucloud_cli.problems import Resource

_COLUMNS: Columns = {
    "CURRENT": Column(lambda context: "*" if context["current"] else ""),
    "NAME": Column(lambda context: context["name"]),
    "USER": Column(lambda context: context["user"]),
    "REALM": Column(lambda context: context["realm"], wide=True),
    "PROJECT": Column(lambda context: context["project"]),
    "URL": Column(lambda context: context["url"]),
    "SESSION": Column(lambda context: f"until {local_time(context['expires_at'])}" if context["expires_at"] else ""),
}


@click.group(cls=Group)
def context() -> None:
    """Logins that are kept: at which API, as whom."""


def _shown(contexts: Contexts, name: str) -> Resource:
    """A context without its token."""
    whole: Context = contexts.contexts[name]
    return {"name": name, "current": name == contexts.current, **whole.model_dump(exclude={"token"})}


@context.command("list")
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def list_contexts(session: Session) -> None:
    """List contexts."""
    session.layout.check(_COLUMNS)
    contexts = session.contexts.read()
    print_list([_shown(contexts, name) for name in sorted(contexts.contexts)], _COLUMNS, session.layout)


@context.command()
@click.argument("name", shell_complete=complete_contexts)
@shared_options
@pass_session
def use(session: Session, name: str) -> None:
    """Make a context the current one."""

    def change(contexts: Contexts) -> Contexts:
        _check(contexts, name)
        return contexts.used(name)

    session.contexts.change(change)
    print_list([_shown(session.contexts.read(), name)], _COLUMNS, session.layout)


@context.command()
@click.argument("name", shell_complete=complete_contexts)
@shared_options
@pass_session
def delete(session: Session, name: str) -> None:
    """Forget a context. Its session goes on until its end; ucloud logout ends one."""

    def change(contexts: Contexts) -> Contexts:
        _check(contexts, name)
        return contexts.without(name)

    session.contexts.change(change)
    click.echo(f"{name} is deleted")


def _check(contexts: Contexts, name: str) -> None:
    if name not in contexts.contexts:
        like = near(name, contexts.contexts)
        raise NotFound(f'there is no context "{name}"{like} (ucloud context list shows them)')
