"""`power`: the host's power is off. It cuts it, and believes nothing but the word that it is off.

Sources: DMTF DSP0266 (Redfish), schema ComputerSystem: PowerState, #ComputerSystem.Reset.
"""

import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from common.errors import ConfigurationError
from common.settings import FenceSettings, read_secret
from ucloud_host.fences import Answer, Fence, Silence, Word

_LOOK_EVERY_S = 0.5
_MOST_SAID = 200


def power_fence(settings: FenceSettings) -> Fence:
    """The fence that the settings say; ConfigurationError unless they say exactly one."""
    if bool(settings.redfish_url) == bool(settings.power_command):
        raise ConfigurationError("fence.methods: `power` needs either fence.redfish_url or fence.power_command")
    if settings.power_command:
        return CommandFence(settings.power_command, settings.timeout_s)
    password = read_secret("fence.redfish_password_file", settings.redfish_password_file)
    return RedfishFence(
        settings.redfish_url, (settings.redfish_user, password), settings.redfish_ca_file, settings.timeout_s
    )


class RedfishFence:
    """Asks the host's BMC. `url` is that of its system, with `{host}` for the host's name."""

    def __init__(self, url: str, login: tuple[str, str], ca_file: str, timeout_s: float) -> None:
        self._url = url
        self._login = login
        self._verify: bool | str = ca_file or True
        self._timeout_s = timeout_s

    def ask(self, silence: Silence) -> Answer:
        """See Fence."""
        url = self._url.replace("{host}", silence.host)
        deadline_s = time.monotonic() + self._timeout_s
        try:
            with requests.Session() as session:
                session.auth = self._login if self._login[0] else None
                session.verify = self._verify
                session.trust_env = False  # neither a proxy nor another password
                return self._cut(session, url, deadline_s)
        except requests.RequestException as error:
            return Answer(Word.UNKNOWN, f"its BMC does not answer as it should: {_brief(type(error).__name__)}")

    def _cut(self, session: requests.Session, url: str, deadline_s: float) -> Answer:
        system = self._call(session, "GET", url, deadline_s)
        if system.get("PowerState") == "Off":
            return Answer(Word.YES, "its BMC says that its power is off")
        # Only the path of what the BMC names: its password is for this BMC alone.
        action = system.get("Actions", {}).get("#ComputerSystem.Reset", {}).get("target", "")
        target = urljoin(url, urlsplit(action).path) if action else f"{url}/Actions/ComputerSystem.Reset"
        self._call(session, "POST", target, deadline_s, {"ResetType": "ForceOff"})
        pause = threading.Event()
        while time.monotonic() < deadline_s:
            state = self._call(session, "GET", url, deadline_s).get("PowerState")
            if state == "Off":
                return Answer(Word.YES, "its BMC has cut its power, and says that it is off")
            pause.wait(_LOOK_EVERY_S)
        return Answer(Word.NO, "its BMC was told to cut its power, and does not say that it is off")

    def _call(
        self, session: requests.Session, method: str, url: str, deadline_s: float, body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        left_s = max(0.1, deadline_s - time.monotonic())
        answer = session.request(method, url, json=body, timeout=left_s, allow_redirects=False)
        answer.raise_for_status()
        if method != "GET":
            return {}
        found = answer.json()
        if not isinstance(found, dict):
            raise requests.exceptions.InvalidJSONError("not an object")
        return found


class CommandFence:
    """Runs a command of the admin's with the host's name as its last argument; 0 says that the power is off."""

    def __init__(self, command: str, timeout_s: float) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(f"fence.power_command: {error}") from error
        self._timeout_s = timeout_s

    def ask(self, silence: Silence) -> Answer:
        """See Fence."""
        with tempfile.TemporaryFile() as said:
            try:
                # A session of its own, so that all that it has started can be ended with it.
                process = subprocess.Popen(
                    [*self._command, silence.host],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            except OSError as error:
                return Answer(Word.UNKNOWN, f"fence.power_command can't be run: {error.strerror}")
            try:
                status = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return Answer(Word.UNKNOWN, f"fence.power_command took longer than {self._timeout_s:g} s")
            if status == 0:
                return Answer(Word.YES, "fence.power_command says that its power is off")
            said.seek(0)
            words = _brief(said.read(4096).decode(errors="replace"))
            return Answer(Word.UNKNOWN, f"fence.power_command ended with {status}: {words}".rstrip(": "))


def _brief(text: str) -> str:
    """The last line of a text, and not too much of it."""
    return (text.strip().splitlines() or [""])[-1][:_MOST_SAID]
