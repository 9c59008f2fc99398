"""Seeds of one-time tokens: made at an OTP server by one of its admins, and shown once to be scanned or kept in a file.

It speaks as ungleich-otp's own client does, and reads its variables of the environment. A seed is printed to a terminal
or a pipe that was asked for, or written to a new file that only its owner reads; it goes nowhere else.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from threading import Event
from typing import Any, cast
from urllib.parse import urlsplit

import click
import pyotp
import requests
import segno

from ucloud_cli.contexts import read_private
from ucloud_cli.errors import ApiAway, CliError, Misused, NotAllowed, NotFound, Refused
from ucloud_cli.kind import F
from ucloud_cli.options import Session
from ucloud_cli.output import note

_STEP_S = 30
_TIMEOUT_S = (5, 20)
DEFAULT_OTP_URL = "http://[::1]:9705/ungleichotp/"


@dataclass(frozen=True)
class OtpAdmin:
    """Somebody of the realm ungleich-admin, at an OTP server. Each of its tokens does one thing."""

    url: str
    name: str
    realm: str
    seed_file: Path | None
    ca_file: Path | None

    def create(self, name: str, realm: str) -> str:
        """Make a name of a realm; returns its seed. Refused when it is there."""
        return self._seed(self._ask("POST", {"name": name, "realm": realm}))

    def replace(self, name: str, realm: str) -> str:
        """Give a name of a realm a new seed, whether or not it had one; returns it."""
        return self._seed(self._ask("POST", {"name": name, "realm": realm, "replace": True}))

    def delete(self, name: str, realm: str) -> None:
        """Remove a name from a realm; NotFound."""
        self._ask("DELETE", {"name": name, "realm": realm})

    def _seed(self, reply: requests.Response) -> str:
        try:
            return str(reply.json()["seed"])
        except (ValueError, KeyError, TypeError) as error:
            raise CliError(f"what answers at {self.url} is no OTP server") from error

    def _ask(self, method: str, subject: dict[str, Any]) -> requests.Response:
        """The answer to a token of now; where that was used already, to the next one."""
        generator = self._generator()
        try:
            return self._once(method, subject, generator.now())
        except NotAllowed:
            wait_s = _STEP_S - time.time() % _STEP_S
            note(f"the OTP server refused {self.name}'s token, perhaps it was used already; the next in {wait_s:.0f} s")
            Event().wait(wait_s)
            return self._once(method, subject, generator.now())

    def _once(self, method: str, subject: dict[str, Any], token: str) -> requests.Response:
        caller = {"auth_name": self.name, "auth_realm": self.realm, "auth_token": token}
        try:
            with requests.Session() as session:
                session.trust_env = False
                reply = session.request(
                    method,
                    self.url,
                    json={**caller, **subject},
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                    verify=str(self.ca_file) if self.ca_file else True,
                )
        except (requests.RequestException, OSError) as error:
            raise ApiAway(f"the OTP server at {self.url} does not answer (--otp-url names another)") from error
        return self._checked(reply, subject)

    def _checked(self, reply: requests.Response, subject: dict[str, Any]) -> requests.Response:
        name = f"{subject['name']} of {subject['realm']}"
        match reply.status_code:
            case 200 | 201 | 204:
                return reply
            case 400 if "unique" in reply.text:
                raise Refused(f"{name} has one-time tokens already; ucloud user seed gives new ones")
            case 403 if "credentials" in reply.text:
                raise NotAllowed(f"the OTP server at {self.url} does not know {self.name} of {self.realm}")
            case 403:
                raise NotAllowed(f"{self.name} of {self.realm} may not do that at the OTP server: {self.url}")
            case 404:
                raise NotFound(f"the OTP server knows no {name}")
            case 429 | 503:
                raise ApiAway(f"the OTP server at {self.url} wants to be asked later ({reply.status_code})")
        raise CliError(f"the OTP server at {self.url} answered {reply.status_code}")

    def _generator(self) -> pyotp.TOTP:
        if self.seed_file is None:
            raise Misused("say --otp-seed-file FILE, with the seed of an admin of the OTP server")
        try:
            generator = pyotp.TOTP("".join(read_private(self.seed_file).split()), interval=_STEP_S)
            generator.now()
        except ValueError:
            raise Misused(f"{self.seed_file} holds no seed (base32)") from None
        return generator


@dataclass(frozen=True)
class Enrolment:
    """How a new seed gets to its user."""

    file: Path | None
    has_code: bool

    def check(self) -> None:
        """Misused where the seed could not be shown, before there is one."""
        if self.file and self.file.exists():
            raise Misused(f"{self.file} is there already; a seed goes into a new file")

    def show(self, session: Session, name: str, seed: str) -> None:
        """Print the seed as an otpauth URI and, on a terminal, as a QR code; or write it into the file."""
        if self.file:
            _write_new(self.file, seed)
            note(f"the seed of {name} is in {self.file}")
            return
        host = urlsplit(session.client.url).hostname or "ucloud"
        uri = pyotp.TOTP(seed, interval=_STEP_S).provisioning_uri(name=name, issuer_name=f"ucloud {host}")
        if self.has_code and sys.stdout.isatty():
            note(f"scan this as {name}, with an authenticator; it is not shown again")
            segno.make(uri, error="l", micro=False).terminal(compact=True)
        click.echo(uri)


def _write_new(path: Path, seed: str) -> None:
    """Write a seed to a file that does not exist yet, for its owner's eyes only."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{seed}\n")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}; the seed is lost: ucloud user seed gives another") from error


def otp_options(command: F) -> F:
    """Where the OTP server is and as whom it is asked, as `otp`."""

    def run(*args: Any, **said: Any) -> Any:
        taken = {what: said.pop(f"otp_{what}") for what in ("url", "name", "realm", "seed_file", "ca_file")}
        taken["url"] = f"{taken['url'].removesuffix('verify/').rstrip('/')}/"
        return command(*args, otp=OtpAdmin(**taken), **said)

    path = click.Path(path_type=Path)
    return _decorated(
        command,
        run,
        click.option("--otp-url", envvar="UNGLEICHOTPSERVER", default=DEFAULT_OTP_URL, help="Where the OTP server is."),
        click.option("--otp-name", envvar="UNGLEICHOTPNAME", default="admin", help="As which of its admins to ask it."),
        click.option("--otp-realm", envvar="UNGLEICHOTPREALM", default="ungleich-admin", help="The admin's realm."),
        click.option("--otp-seed-file", envvar="UNGLEICHOTPSEEDFILE", type=path, help="The file with its seed."),
        click.option("--otp-ca-file", type=path, help="The CA that vouches for the OTP server's certificate."),
    )


def enrol_options(command: F) -> F:
    """How a new seed is shown, as `enrolment`."""

    def run(*args: Any, **said: Any) -> Any:
        return command(*args, enrolment=Enrolment(said.pop("seed_out"), said.pop("qr")), **said)

    return _decorated(
        command,
        run,
        click.option("--seed-out", type=click.Path(path_type=Path), help="Write the seed into this new file instead."),
        click.option("--qr/--no-qr", default=True, help="Whether to draw it on a terminal, to be scanned."),
    )


def _decorated(command: F, run: Callable[..., Any], *options: Callable[[Any], Any]) -> F:
    """`run` in the command's place, with its options and these."""
    decorated: Any = wraps(command)(run)
    for option in reversed(options):
        decorated = option(decorated)
    return cast(F, decorated)
