"""The quick way to what is asked for most: one thing by its uuid, and nothing said beside it.

Every other request of such a route takes flask-openapi's way, which checks all and names what is wrong.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from flask import Response, request
from flask_openapi.request import validate_request

from ucloud_api.models import ThingPath, WatchQuery

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_NO_QUERY = WatchQuery()


def quick(view: Callable[[ThingPath, WatchQuery], Response]) -> Callable[..., Response]:
    """Have the view called without further checks where its uuid is one and there is no query."""
    checked: Callable[..., Response] = validate_request()(view)  # type: ignore[no-untyped-call]

    @wraps(view)
    def call(**said: Any) -> Response:
        uuid = said["uuid"]
        if request.query_string or not _UUID.fullmatch(uuid):
            return checked(**said)
        return view(ThingPath.model_construct(uuid=UUID(uuid)), _NO_QUERY)

    # flask-openapi's word for a view that does its own checks.
    call.__delay_validate_request__ = True  # type: ignore[attr-defined]
    return call
