"""The commands for users: what a name may do here, its one-time tokens at the OTP server, its logins."""

from collections.abc import Callable
from typing import Any

import click

from ucloud_cli.commands.events import add_events, add_logins
from ucloud_cli.commands.seeds import Enrolment, OtpAdmin, enrol_options, otp_options
from ucloud_cli.commands.ssh_key import ssh_key
from ucloud_cli.errors import CliError, NotFound
from ucloud_cli.groups import Group
from ucloud_cli.kind import F, add_delete, add_list, add_show, name_argument, new_name, print_result
from ucloud_cli.kinds import USER
from ucloud_cli.options import Session, pass_session, shared_options
from ucloud_cli.output import note
from ucloud_cli.problems import Resource
from ucloud_cli.quota import quota_of, quota_options


@click.group(cls=Group)
def user() -> None:
    """Users, their quotas and ssh keys; users and quotas are for admins."""


def _account_options(command: F) -> F:
    """What an account says of a user, each as it was, or the API's default, where it is not said."""
    decorators: list[Callable[[F], F]] = [
        click.option(
            "--source",
            type=click.Choice(["embedded", "ldap"]),
            help="Who says that the user is there: admins, or LDAP.  [default: embedded]",
        ),
        click.option("--admin/--no-admin", "is_admin", default=None, help="Sees and changes what others own."),
        click.option("--enable/--disable", "enabled", default=None, help="Whether it may do anything."),
        quota_options,
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _changes(said: dict[str, Any]) -> Resource:
    """What to send for what was said; what is not sent stays."""
    body = {key: said[key] for key in ("realm", "source", "is_admin", "enabled") if said[key] is not None}
    return body | quota_of(said)


@user.command()
@new_name(required=True)
@click.option("--realm", help="Whose users it belongs to.  [default: ucloud]")
@_account_options
@shared_options
@pass_session
def create(session: Session, /, name: str, **said: Any) -> None:
    """Give the user called NAME an account."""
    created = session.client.post(USER.path, {"name": name, **_changes(said)})
    print_result(session, USER, created, created)


@user.command()
@new_name(required=True)
@click.option("--realm", default="ucloud", show_default=True, help="Whose users it belongs to.")
@_account_options
@otp_options
@enrol_options
@shared_options
@pass_session
def add(session: Session, /, name: str, otp: OtpAdmin, enrolment: Enrolment, **said: Any) -> None:
    """Give the user called NAME an account and one-time tokens, and show the seed to be scanned.

    The OTP server is asked as an admin of the realm ungleich-admin.
    """
    enrolment.check()
    session.client.post(USER.path, {"name": name, **_changes(said)})
    try:
        seed = otp.create(name, said["realm"])
    except CliError:
        note(f"the account is made, its one-time tokens are not; when that is mended: ucloud user seed {name}")
        raise
    enrolment.show(session, name, seed)


@user.command()
@name_argument(USER)
@otp_options
@enrol_options
@shared_options
@pass_session
def seed(session: Session, /, name: str, otp: OtpAdmin, enrolment: Enrolment) -> None:
    """Give a user a new seed and show it: no one-time token of the old one is right from then on.

    Sessions go on; ucloud session list and end see to those of a lost phone.
    """
    enrolment.check()
    realm = USER.find(session.client, name)["realm"]
    enrolment.show(session, name, otp.replace(name, realm))


@user.command()
@name_argument(USER)
@otp_options
@shared_options
@pass_session
def remove(session: Session, /, name: str, otp: OtpAdmin) -> None:
    """Remove the account of a user that owns nothing, and its one-time tokens."""
    account = USER.find(session.client, name)
    session.client.delete(USER.path_of(account))
    try:
        otp.delete(name, account["realm"])
    except NotFound:
        note(f"{name} had no one-time tokens")
    except CliError:
        realm = account["realm"]
        note(f"the account is removed, its one-time tokens are not: ucloud-otp-admin delete {name} --realm {realm}")
        raise
    click.echo(f"{name} is removed")


@user.command("set")
@name_argument(USER)
@click.option("--realm", help="Whose users it belongs to.")
@_account_options
@shared_options
@pass_session
def set_user(session: Session, /, name: str, **said: Any) -> None:
    """Change what a user may do."""
    changes = _changes(said)
    if not changes:
        raise click.UsageError("say what to set; ucloud user set --help lists it")
    changed = session.client.patch(USER.path_of(USER.find(session.client, name)), changes)
    print_result(session, USER, changed, changed)


@user.command()
@name_argument(USER)
@shared_options
@pass_session
def unlock(session: Session, name: str) -> None:
    """Let a user try to log in again at once, after too many wrong tries from anywhere."""
    session.client.delete(f"{USER.path_to(name)}/lockout")
    click.echo(f"{name} may try again")


add_list(user, USER)
add_show(user, USER)
add_events(user, USER)
add_logins(user, USER)
add_delete(user, USER, "Delete a user that owns nothing.")
user.add_command(ssh_key)
