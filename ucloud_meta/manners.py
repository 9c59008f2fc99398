"""Which requests are looked at at all, whoever asks. Pure.

A guest may run a program that fetches what strangers tell it to fetch. Who misuses it so is to read nothing here: a
request that was handed on says so in its fields, and one that a browser was lured into names another host.
"""

import re
from http import HTTPStatus

from common.schemas.network import GATEWAY, METADATA_V4, METADATA_V6
from ucloud_meta.answer import Answer, Request, refuse

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
_FORWARDED = re.compile(
    r"x-forwarded.*|forwarded.*|via|x-real-ip|.*-client-ip|x-originating-ip|x-remote-(ip|addr)|x-original-.*"
    r"|x-rewrite-url|x-host|cf-connecting-ip|.*-forwarded-for"
)
_ZONE = r"(%(25)?[\w.-]{1,32})?"
"""How some clients write the interface of a link-local address (RFC 6874, or without the 25)."""
_METHODS = ("GET", "HEAD")


class Manners:
    """The rules of one cloud, whose VMs' names end in `domain`."""

    def __init__(self, domain: str) -> None:
        names = ("metadata", f"metadata.{domain}", METADATA_V4, f"[{METADATA_V6}]")
        known = "|".join(map(re.escape, names))
        self._hosts = re.compile(rf"({known}|\[{re.escape(str(GATEWAY))}{_ZONE}\])\.?(:80)?", re.IGNORECASE)

    def refusal(self, request: Request) -> Answer | None:
        """How a request is refused; None if it may be answered."""
        if any(_FORWARDED.fullmatch(name) for name in request.fields):
            return refuse(HTTPStatus.FORBIDDEN)
        host = request.field("host")
        if host is None:
            return refuse(HTTPStatus.BAD_REQUEST)
        if not self._hosts.fullmatch(host):
            return refuse(HTTPStatus.FORBIDDEN)
        if not request.target.startswith("/"):
            return refuse(HTTPStatus.BAD_REQUEST)
        if set(request.fields.get("content-length", ())) - {"0"} or "transfer-encoding" in request.fields:
            return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if is_for_token(request) or request.method in _METHODS:
            return None
        return refuse(HTTPStatus.METHOD_NOT_ALLOWED, allow=", ".join(_METHODS))


def is_for_token(request: Request) -> bool:
    """Whether it asks for a token, as IMDSv2 has it."""
    return request.method == "PUT" and request.target == TOKEN_PATH
