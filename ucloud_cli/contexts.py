"""The contexts file: at which API the user is logged in as whom. It holds session tokens, so it is for its owner alone.

It must never be written half, and never be read while others could have read it or written to it.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ucloud_cli.errors import CliError

DEFAULT_FILE = "~/.config/ucloud/contexts.yaml"
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Context(BaseModel):
    """One login: an API, a user, and the token of the session while there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    user: str
    realm: str = "ucloud"
    token: Annotated[str | None, Field(repr=False)] = None
    expires_at: str = ""
    ca_file: str = ""
    project: str = ""
    """Whose things are meant where nothing is said; empty: the user's."""


class Contexts(BaseModel):
    """All contexts by name, and the one that is used where none is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    current: str | None = None
    contexts: dict[str, Context] = {}

    def with_context(self, name: str, context: Context) -> "Contexts":
        """These, with a context added or replaced; the same user goes on with the same project."""
        known = self.contexts.get(name)
        if known and (known.url, known.user) == (context.url, context.user):
            context = context.model_copy(update={"project": known.project})
        return Contexts(current=self.current, contexts={**self.contexts, name: context})

    def with_project(self, name: str, project: str) -> "Contexts":
        """These, with a context whose things are a project's (empty: the user's)."""
        context = self.contexts[name].model_copy(update={"project": project})
        return Contexts(current=self.current, contexts={**self.contexts, name: context})

    def without(self, name: str) -> "Contexts":
        """These, without a context."""
        rest = {each: context for each, context in self.contexts.items() if each != name}
        return Contexts(current=None if self.current == name else self.current, contexts=rest)

    def used(self, name: str) -> "Contexts":
        """These, with another current one."""
        return Contexts(current=name, contexts=self.contexts)


class ContextsFile:
    """The file at `path`, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Contexts:
        """What it holds; CliError when others can read it, or when it is not what this program writes."""
        try:
            with self.path.open(encoding="utf-8") as file:
                _check_private(self.path, os.fstat(file.fileno()))
                content = yaml.safe_load(file)
        except FileNotFoundError:
            return Contexts()
        except OSError as error:
            raise CliError(f"{self.path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise self._malformed() from error
        try:
            return Contexts.model_validate(content or {})
        except ValidationError as error:
            raise self._malformed() from error

    def change(self, change: Callable[[Contexts], Contexts]) -> None:
        """Replace what it holds by what `change` makes of it; two that do so at once wait for one another."""
        try:
            # Where it is a link into another folder, that is where it belongs.
            path = self.path.resolve()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(path.parent):
                _replace(path, yaml.safe_dump(change(self.read()).model_dump(exclude_defaults=True), sort_keys=False))
        except OSError as error:
            raise CliError(f"{self.path} can't be written: {error.strerror}") from error

    def _malformed(self) -> CliError:
        # The reader's own words could quote a token.
        return CliError(f"{self.path} can't be understood; mend it, or remove it and log in again: ucloud login")


def contexts_file(environment: Mapping[str, str]) -> ContextsFile:
    """The file that UCLOUD_CONTEXT_FILE names, or the one in the user's home."""
    return ContextsFile(Path(environment.get("UCLOUD_CONTEXT_FILE") or DEFAULT_FILE).expanduser())


def read_private(path: Path) -> str:
    """The text of a file with a secret; CliError when others can read it, or when it can't be read."""
    try:
        with path.open(encoding="utf-8") as file:
            _check_private(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is no text") from error


def _check_private(path: Path, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode) and found.st_mode & _FOR_OTHERS:
        raise CliError(f"{path} holds secrets and others can read it, type: chmod 600 {path}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, readable by its owner alone from its first byte on."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
