"""What the checks say."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from common.admission import Step

if TYPE_CHECKING:
    from ucloud_api.doctor.snapshot import Snapshot


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "ERROR"
    """Something does not work, or data is at risk."""
    WARNING = "WARNING"
    """It works, and should be looked after."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be. `code` and `thing` tell it from others."""

    code: str
    severity: Severity
    thing: str
    """The key or the name of what it is about."""
    sentence: str
    advice: str
    """What to do."""
    fix: Step | None = None
    """The transaction that mends it, if that is safe; it compares all that the finding rests on."""


Check = Callable[["Snapshot"], Iterable[Finding]]


def error(code: str, thing: str, sentence: str, advice: str, fix: Step | None = None) -> Finding:
    """A finding that is an error."""
    return Finding(code, Severity.ERROR, thing, sentence, advice, fix)


def warning(code: str, thing: str, sentence: str, advice: str, fix: Step | None = None) -> Finding:
    """A finding that is a warning."""
    return Finding(code, Severity.WARNING, thing, sentence, advice, fix)
