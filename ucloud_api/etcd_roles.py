"""ucloud-admin etcd-roles: a user of etcd, with its role, for each daemon, as the table in common.rights says."""

import os
from collections.abc import Sequence

import click
from pydantic import TypeAdapter, ValidationError

from common import rights, settings
from common.errors import UcloudError
from common.rights import User
from common.schemas.vm import HostName
from common.store import EtcdOptions
from common.store.access import AccessControl

_HOST_NAME = TypeAdapter(HostName)


@click.group()
def etcd_roles() -> None:
    """Let each daemon do in etcd what it has to do, and nothing else.

    A daemon is known by the common name of its certificate: ucloud-scheduler, on hosts ucloud-vm@h1.
    """


def _users(_context: click.Context, _parameter: click.Parameter, hosts: Sequence[str]) -> tuple[User, ...]:
    for host in hosts:
        try:
            _HOST_NAME.validate_python(host)
        except ValidationError as error:
            allowed = "a host is called by lower-case letters, digits, dots and hyphens"
            raise click.BadParameter(f"{host!r}: {allowed}") from error
    return (*rights.users_of_control(), *(user for host in hosts for user in rights.users_of_host(host)))


@etcd_roles.command()
@click.argument("users", metavar="[HOST]...", nargs=-1, callback=_users)
def users(users: tuple[User, ...]) -> None:
    """Name the users of the control plane and of these hosts, one a line: each needs a certificate."""
    for user in users:
        click.echo(user.name)


@etcd_roles.command()
def show() -> None:
    """Show who may read and write what, as a table in Markdown."""
    for line in rights.as_markdown():
        click.echo(line)


@etcd_roles.command()
@click.argument("users", metavar="[HOST]...", nargs=-1, callback=_users)
def apply(users: tuple[User, ...]) -> None:
    """Have etcd know the users of the control plane and of these hosts; who has no role is refused from then on.

    Comes as etcd's root: UCLOUD_ETCD_CERT_FILE and UCLOUD_ETCD_KEY_FILE name its certificate. Run it again after an
    upgrade or for a new host: what is as it should be stays, and rights that are not in the table any more are taken.
    """
    try:
        control = AccessControl(EtcdOptions.from_settings(settings.load(os.environ).etcd))
        try:
            for user in users:
                changed = control.set_user(user.name, user.rights())
                click.echo(f"{user.name}: {'changed' if changed else 'as it should be'}")
            control.enable()
        finally:
            control.close()
    except UcloudError as error:
        raise click.ClickException(str(error)) from error
