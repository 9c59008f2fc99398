"""What is asked over HTTP and what is answered, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from ucloud_meta.tree import TEXT


@dataclass(frozen=True)
class Request:
    """A request: its header fields by their names in lower case, the values of repeated ones in their order."""

    method: str
    target: str
    fields: Mapping[str, tuple[str, ...]]

    def field(self, name: str) -> str | None:
        """The value of a field; None where it is missing, or there twice: then nobody knows which counts."""
        values = self.fields.get(name, ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True)
class Answer:
    """An answer; the connection ends with it unless it `keeps` it."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = TEXT
    fields: Mapping[str, str] = field(default_factory=dict)
    keeps: bool = False


def refuse(status: HTTPStatus, **fields: str) -> Answer:
    """An answer that says no more than its status."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Answer(status, f"{status.value} {status.phrase}\n".encode(), fields=named)
