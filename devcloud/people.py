"""Who uses a cloud: the API's own one-time tokens, an admin and a user, and where they are logged in.

All is done as an administrator does it, with the programs of the product. Seeds are in files of mode 0600 below the
cloud's data, sessions in its contexts file; neither is ever printed.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from devcloud.errors import DevcloudError
from devcloud.programs import SCRIPTS
from ucloud_cli.contexts import Context, Contexts, ContextsFile

ADMIN = "admin"
USER = "alice"
API = "ucloud-api"
_USERS_REALM = "ucloud"
_SERVICES_REALM = "ungleich-auth"
_LEAST_LEFT = timedelta(hours=1)
_TIMEOUT_S = 90


@dataclass(frozen=True)
class People:
    """The people of one cloud; their files are in `directory`."""

    directory: Path

    @property
    def contexts(self) -> ContextsFile:
        """Where they are logged in: a context for each, called as they are."""
        return ContextsFile(self.directory / "contexts.yaml")

    def seed_file(self, name: str) -> Path:
        """The file with the seed of `name`'s one-time tokens."""
        return self.directory / f"{name}.seed"

    @property
    def ssh_key(self) -> Path:
        """The file with the user's private ssh key; the public one is beside it."""
        return self.directory / f"{USER}.ssh"

    def token(self, name: str) -> str:
        """The bearer token of `name`'s session."""
        return (self._context(name) or Context(url="", user=name)).token or ""

    def enrol(self, url: str, environment: Mapping[str, str]) -> None:
        """Make one-time tokens and accounts for those who have none, and log everybody in at `url` who is not.

        `environment` is that of a command on a machine of the control plane.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = _runner(environment)
        self._make_tokens(run, API, _SERVICES_REALM)
        if not self.seed_file(ADMIN).exists():
            run("ucloud-admin", "create", ADMIN, "--realm", _USERS_REALM)
            self._make_tokens(run, ADMIN, _USERS_REALM)
        self._log_in(run, ADMIN, url)
        if not self.seed_file(USER).exists():
            run("ucloud", "--context", ADMIN, "user", "create", USER, "--realm", _USERS_REALM)
            self._make_tokens(run, USER, _USERS_REALM)
        self._log_in(run, USER, url)

    def _make_tokens(self, run: "_Run", name: str, realm: str) -> None:
        file = self.seed_file(name)
        if not file.exists():
            run("ucloud-otp-admin", "create", name, "--realm", realm, "--seed-file", str(file))

    def _log_in(self, run: "_Run", name: str, url: str) -> None:
        if self._has_session(name, url):
            return
        options = ("--name", name, "--realm", _USERS_REALM, "--seed-file", str(self.seed_file(name)))
        run("ucloud", "--context", name, "--url", url, "login", *options)

    def _has_session(self, name: str, url: str) -> bool:
        context = self._context(name)
        if context is None or context.url != url or not context.token:
            return False
        answer = requests.get(f"{url}/v1/session", headers={"Authorization": f"Bearer {context.token}"}, timeout=10)
        return answer.ok and datetime.fromisoformat(answer.json()["expires_at"]) > datetime.now(UTC) + _LEAST_LEFT

    def _context(self, name: str) -> Context | None:
        return self.contexts.read().contexts.get(name)

    # --- whoever started the cloud ------------------------------------------------------------------------------------

    @property
    def _lent_note(self) -> Path:
        return self.directory / "lent.json"

    def lend(self, to: ContextsFile, cloud_name: str) -> bool:
        """Add the sessions to a person's contexts, as `cloud_name` (the user) and `cloud_name`-admin.

        False, and nothing is changed, where the person has other contexts of these names.
        """
        sessions = self.contexts.read().contexts
        lent = {cloud_name: sessions[USER], f"{cloud_name}-admin": sessions[ADMIN]}
        before = to.read()
        if not self._lent_note.exists():
            if lent.keys() & before.contexts.keys():
                return False
            made = [str(each) for each in (to.path, *to.path.parents) if not each.exists()]
            note = {"file": str(to.path), "names": [*lent], "current": before.current, "made": made}
            self._lent_note.write_text(json.dumps(note), encoding="utf-8")
            to.change(lambda contexts: contexts.used(cloud_name))
        for name, context in lent.items():
            if before.contexts.get(name) != context:
                to.change(lambda contexts, name=name, context=context: contexts.with_context(name, context))  # type: ignore[misc]
        return True

    def take_back(self) -> None:
        """Remove what `lend` added, with the file and folders that it made; harmless when nothing was lent."""
        if not self._lent_note.exists():
            return
        note = json.loads(self._lent_note.read_text(encoding="utf-8"))
        file = ContextsFile(Path(note["file"]))
        if not file.path.exists():
            return

        def without(contexts: Contexts) -> Contexts:
            kept = {name: each for name, each in contexts.contexts.items() if name not in note["names"]}
            current = note["current"] if contexts.current in note["names"] else contexts.current
            return Contexts(current=current if current in kept else None, contexts=kept)

        file.change(without)
        if note["made"] and not file.read().contexts:
            file.path.unlink()
            for directory in map(Path, note["made"][1:]):
                if any(directory.iterdir()):
                    break
                directory.rmdir()


_Run = Callable[..., None]


def _runner(environment: Mapping[str, str]) -> _Run:
    """What runs a program of the product; DevcloudError with its complaint when it fails."""

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [SCRIPTS / program, *arguments],
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        # An account that was made before a kill is as good as a new one.
        if done.returncode and "already" not in done.stderr:
            raise DevcloudError(f"{program} {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")

    return run
