"""The commands that begin and end a session: login, logout, whoami.

The seed that one-time tokens are computed from never leaves this machine, and neither it nor a token is ever printed.
"""

import binascii
import ipaddress
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import click
import pyotp

from ucloud_cli.client import Access, Client
from ucloud_cli.contexts import Context, read_private
from ucloud_cli.errors import ApiAway, CliError, Misused, NotAllowed
from ucloud_cli.kinds import AMOUNTS, USER, used
from ucloud_cli.options import DEFAULT_URL, Session, login_command, pass_session, shared_options
from ucloud_cli.output import Fields, Look, local_time, note, print_one
from ucloud_cli.problems import Resource

_STEP_S = 30  # RFC 6238: how long a one-time token is the current one
_REFUSED = (
    "the one-time token or the password is wrong, one is missing, the token is too old or used already, or there is no "
    "such user; try the next token"
)


def _share(what: str) -> Look:
    return lambda shown: used(shown["account"], what)


_FIELDS: Fields = {
    "user": lambda shown: f"{shown['user']} of {shown['account']['realm']}",
    "admin": lambda shown: "yes" if shown["is_admin"] else "no",
    "context": lambda shown: shown["context"] or "(UCLOUD_TOKEN)",
    "url": lambda shown: shown["url"],
    "session": lambda shown: f"until {local_time(shown['expires_at'])}{_left(shown['expires_at'])}",
    "quota": lambda shown: "" if shown["account"]["quota"] else "no limit",
    **{what.replace("_", " "): _share(what) for what in AMOUNTS},
}


@click.command()
@click.option("--name", help="Who you are.  [default: who you were in the context]")
@click.option("--realm", help="Whose users you belong to.  [default: the context's, or ucloud]")
@click.option(
    "--seed-file",
    type=click.Path(path_type=Path),
    help="Compute the one-time token from the seed in this file; the seed stays here.",
)
@click.option("--token-stdin", is_flag=True, help="Read the one-time token from standard input.")
@click.option("--password", "asks_password", is_flag=True, help="Ask for your password, too.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Your password is what is in this file.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="The CA that vouches for the API's certificate.")
@shared_options
@pass_session
def login(
    session: Session,
    /,
    name: str | None,
    realm: str | None,
    ca_file: Path | None,
    **said: Any,
) -> None:
    """Begin a session with a one-time token, a password or both, and keep it in a context.

    The context is called --context, or as you are.
    """
    proofs = Proofs(**said)
    target, wanted = _target(session, name, realm, ca_file)
    client = Client(Access(wanted.url, ca_file=wanted.ca_file, unknown_caller=_REFUSED), note)
    warn_if_readable(wanted.url)
    began = proofs.begin(client, wanted)
    context = wanted.model_copy(update={"token": began["token"], "expires_at": began["expires_at"]})
    session.contexts.change(lambda contexts: contexts.with_context(target, context).used(target))
    shown = {"context": target, "url": context.url, **{key: began[key] for key in ("user", "is_admin", "expires_at")}}
    if session.layout.is_data:
        print_one(shown, {}, session.layout)
    else:
        click.echo(f"{context.user} is logged in at {context.url} until {local_time(context.expires_at)}")


def _target(session: Session, name: str | None, realm: str | None, ca_file: Path | None) -> tuple[str, Context]:
    """The name of the context to log into, and the context without a token; what is not said is as it was there."""
    contexts = session.contexts.read()
    target = session.context or name or contexts.current
    if target is None:
        raise Misused("say who you are: ucloud login --name NAME")
    old = contexts.contexts.get(target)
    user = name or (old.user if old else None)
    if user is None:
        raise Misused(f"say who you are: ucloud login --name NAME --context {target}")
    current = contexts.contexts.get(contexts.current or "")
    known = old or current
    url = (session.url or (known.url if known else DEFAULT_URL)).rstrip("/")
    if old and not session.context and old.url != url:
        raise Misused(
            f'the context "{target}" is for {old.url}; say --context {target} to have it replaced, or another name'
        )
    was_there = known if known and known.url == url else None
    return target, Context(
        url=url,
        user=user,
        realm=realm or (old.realm if old and old.user == user else "ucloud"),
        ca_file=str(ca_file.absolute()) if ca_file else (was_there.ca_file if was_there else ""),
    )


@dataclass(frozen=True)
class Proofs:
    """How the user proves who they are, as the options say; UsageError where they contradict one another."""

    seed_file: Path | None
    token_stdin: bool
    asks_password: bool
    password_file: Path | None

    def __post_init__(self) -> None:
        if self.seed_file and self.token_stdin:
            raise click.UsageError("say --seed-file or --token-stdin, not both")
        if self.asks_password and self.password_file:
            raise click.UsageError("say --password or --password-file, not both")

    def begin(self, client: Client, wanted: Context) -> Resource:
        """A session, by what is read or asked for now."""
        has_password = self.asks_password or self.password_file is not None
        password = _password(wanted.user, self.password_file) if has_password else None
        if self.seed_file:
            return _login_by_seed(client, wanted, _read_seed(self.seed_file), password)
        if self.password_file and not self.token_stdin:
            return _begin(client, wanted, None, password)
        return _begin(client, wanted, _ask_token(wanted.user, self.token_stdin, not has_password), password)


def _begin(client: Client, wanted: Context, token: str | None, password: str | None) -> Resource:
    proofs = {"token": token, "password": password}
    shown = {proof: value for proof, value in proofs.items() if value is not None}
    began = client.post_once("/v1/session", {"name": wanted.user, "realm": wanted.realm, **shown})
    if not {"token", "user", "is_admin", "expires_at"} <= began.keys():
        raise CliError(f"what answers at {client.url} is not the API of ucloud")
    return began


def _login_by_seed(client: Client, wanted: Context, seed: str, password: str | None) -> Resource:
    """A session by a token of now; where that one was used already, by the next one."""
    generator = pyotp.TOTP(seed, interval=_STEP_S)
    try:
        return _begin(client, wanted, generator.now(), password)
    except NotAllowed:
        wait_s = _STEP_S - time.time() % _STEP_S
        note(f"the token of this moment was refused, perhaps it was used already; trying the next in {wait_s:.0f} s")
        Event().wait(wait_s)
        return _begin(client, wanted, generator.now(), password)


def _read_seed(file: Path) -> str:
    seed = "".join(read_private(file).split())
    try:
        pyotp.TOTP(seed).now()
    except (binascii.Error, ValueError):
        # Its own words could quote the seed.
        raise Misused(f"{file} holds no seed (base32)") from None
    return seed


def _ask_token(user: str, token_stdin: bool, is_needed: bool) -> str | None:
    """The one-time token that is typed; None for none, where it is not needed."""
    if token_stdin:
        token = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        hint, default = ("", None) if is_needed else (" (empty: none)", "")
        text = f"One-time token of {user}{hint}"
        token = click.prompt(text, default=default, show_default=False, hide_input=True, err=True).strip()
    else:
        raise Misused("there is no terminal to ask for a one-time token; say --token-stdin or --seed-file FILE")
    if not token and is_needed:
        raise Misused("there is no one-time token on standard input")
    return str(token) or None


def _password(user: str, file: Path | None) -> str:
    if file:
        password = read_private(file).rstrip("\n")
    elif sys.stdin.isatty():
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    else:
        raise Misused("there is no terminal to ask for a password; say --password-file FILE")
    if not password:
        raise Misused("the password is empty")
    return str(password)


def warn_if_readable(url: str) -> None:
    """Say so when a session's token would travel in the clear."""
    parts = urlsplit(url)
    try:
        local = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = parts.hostname == "localhost"
    if parts.scheme == "http" and not local:
        note(f"warning: {url} is not https, whoever is on the way can read and use your session")


@click.command()
@shared_options
@pass_session
def logout(session: Session) -> None:
    """End the session; its context stays, to log in again."""
    chosen = session.chosen_context()
    if chosen is None or not chosen[1].token:
        click.echo("you are not logged in")
        return
    name, context = chosen
    session.url = None  # a session ends where it began
    client = Client(Access(context.url, context.token, ca_file=context.ca_file), note)
    try:
        client.delete("/v1/session")
    except NotAllowed:
        pass  # it was over already
    except ApiAway as error:
        note(f"{error.message}; the session is forgotten here, and ends by itself at {local_time(context.expires_at)}")
    ended = context.model_copy(update={"token": None, "expires_at": ""})
    session.contexts.change(
        # Somebody may have logged in again meanwhile.
        lambda contexts: contexts.with_context(name, ended) if contexts.contexts.get(name) == context else contexts
    )
    click.echo(f"{context.user} is logged out; to log in again: {login_command(name, context)}")


@click.command()
@shared_options
@pass_session
def whoami(session: Session) -> None:
    """Show who you are, until when, and your quota with what of it is used."""
    me = session.client.get("/v1/session")
    account = session.client.get(USER.path_to(me["user"]))
    chosen = None if os.environ.get("UCLOUD_TOKEN") else session.chosen_context()
    shown = {**me, "context": chosen[0] if chosen else None, "url": session.client.url, "account": account}
    print_one(shown, _FIELDS, session.layout)


def _left(expires_at: str) -> str:
    """How long that is from now: ", 7 h 59 min"."""
    try:
        left_s = (datetime.fromisoformat(expires_at) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return ""
    minutes = max(0, int(left_s // 60))
    return f", {minutes // 60} h {minutes % 60} min" if minutes >= 60 else f", {minutes} min"
