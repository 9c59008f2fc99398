"""Asks ucloud_otp, or any ungleich-otp, whether a one-time token is right. Source: ungleich-otp v0.6.

The API proves itself there with one-time tokens of its own. No seed, and no token of anybody, goes into a log or an
error.
"""

import logging

import pyotp
import requests

from common.errors import ConfigurationError, TooManyTries
from common.settings import read_secret
from common.settings.identity import OtpSettings
from ucloud_api.problems import ApiProblem, unavailable

_log = logging.getLogger(__name__)
_TIMEOUT_S = (2.0, 5.0)
_DEFAULT_RETRY_AFTER_S = 60


class OtpClient:
    """The server of one-time tokens that the settings name."""

    def __init__(self, configuration: OtpSettings) -> None:
        self._settings = configuration

    def verify(self, name: str, realm: str, token: str) -> bool:
        """Whether `token` is right for a name of a realm: it can be so only once.

        TooManyTries as that server says; ApiProblem (503) when it does not answer, or the API can't ask it.
        """
        reply = self._ask({"verifyname": name, "verifyrealm": realm, "verifytoken": token})
        match reply.status_code:
            case 200:
                return True
            case 400 | 403:
                self._note_refusal(reply)
                return False
            case 429:
                after = reply.headers.get("Retry-After", "")
                raise TooManyTries(int(after) if after.isdecimal() else _DEFAULT_RETRY_AFTER_S)
        _log.error("%s answered %d", self._settings.url, reply.status_code)
        raise _away(f"the server of one-time tokens answered {reply.status_code}")

    def _ask(self, subject: dict[str, str]) -> requests.Response:
        caller = {"name": self._settings.name, "realm": self._settings.realm, "token": self._own_token()}
        try:
            with requests.Session() as session:
                session.trust_env = False  # it is asked directly, by nobody's proxy and .netrc
                return session.post(
                    self._settings.url,
                    json={**caller, **subject},
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                    verify=self._settings.ca_file or True,
                )
        # OSError: the file of certificates is not there.
        except (requests.RequestException, OSError) as error:
            _log.error("%s does not answer: %s", self._settings.url, type(error).__name__)
            raise _away("the server of one-time tokens does not answer") from error

    def _own_token(self) -> str:
        """The token that proves the API now; the seed is read each time, so that it may be replaced at any time."""
        try:
            seed = read_secret("[otp] seed_file", self._settings.seed_file).strip()
            if seed:
                return pyotp.TOTP(seed).now()
            raise ConfigurationError(f"[otp] seed_file: {self._settings.seed_file} is empty, or not named")
        except (ConfigurationError, ValueError) as error:
            is_about_file = isinstance(error, ConfigurationError)
            _log.error("%s", error if is_about_file else "[otp] seed_file: what it holds is no seed")
            raise _away("the API can't prove itself to the server of one-time tokens; its log says why") from error

    def _note_refusal(self, reply: requests.Response) -> None:
        """ungleich-otp says of a wrong user what it says of a wrong caller: an admin has to find out which it is."""
        if reply.status_code == requests.codes.bad_request or "credentials" in reply.text[:1000]:
            _log.warning(
                "%s refused the question of %s (%s), or somebody's token: are [otp] seed_file and this clock right?",
                self._settings.url,
                self._settings.name,
                self._settings.realm,
            )


def _away(detail: str) -> ApiProblem:
    return unavailable("otp-unavailable", detail)
