"""The OpenAPI document: what flask-openapi makes of the routes, and what goes for all of them said once.

Headers are written down here and handled where they matter, as checking them by a model would cost each request.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from flask_openapi.openapi import OpenAPI
from pydantic.json_schema import JsonSchemaMode

from common import keys
from ucloud_api import models
from ucloud_api.images import tus
from ucloud_api.problems import documented
from ucloud_api.route_rights import RIGHTS
from ucloud_api.writing.idempotency import ALLOWED, HEADER, KEYLESS, PATTERN

_LOGIN = keys.SESSION.rstrip("/")
_COMPONENTS = "#/components/schemas/"
_ETAGGED = ("Vm", "Image", "Network", "SecurityGroup", "Host", "User", "Project", "SshKey")
_WITH_ETAG = frozenset(f"{_COMPONENTS}{model}" for model in _ETAGGED)
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token that POST /v1/session gives for a one-time token.",
}


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


_IF_MATCH = _parameter("If-Match", "The ETag of what the client has seen; 412 when it was changed since. * is any.")
_KEY = _parameter(
    HEADER, f"{ALLOWED} A repetition with the same key and body gets the first one's answer.", pattern=PATTERN
)
_LAST_EVENT_ID = _parameter("Last-Event-ID", "With ?watch=1: the id of the last event that the client got.")
_FRESH = _parameter("Cache-Control", "no-cache: answer with what anybody wrote before, also through other machines.")

_UPLOAD = f"{keys.FILE.rstrip('/')}/{{owner}}/{{name}}/upload"
_TUS = _parameter("Tus-Resumable", "The version of tus that the client speaks.", enum=[tus.VERSION])
_BEGIN = [
    _parameter(tus.LENGTH, tus.LENGTH_ALLOWED, pattern="^[0-9]{1,16}$"),
    _parameter(tus.METADATA, tus.METADATA_ALLOWED),
    _parameter(tus.DIGEST, tus.DIGEST_ALLOWED),
    _TUS,
]
_GO_ON = [_parameter(tus.OFFSET, tus.OFFSET_ALLOWED, pattern="^[0-9]{1,16}$"), _TUS]
_OF_FILES: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("post", keys.FILE.rstrip("/")): _BEGIN,
    ("get", _UPLOAD): [_TUS],
    ("patch", _UPLOAD): _GO_ON,
    ("delete", _UPLOAD): [_TUS],
    ("delete", _UPLOAD.removesuffix("/upload")): [],
}
"""What the operations on files and uploads take, in the place of what others do."""
_BYTES = {"content": {tus.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}, "required": False}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_RETRY_AFTER = {"Retry-After": _header("Seconds to wait before the next try.", "integer")}
_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": _header("How to prove who asks.")},
    "426": {"Upgrade": _header("What to upgrade to.")},
    "429": _RETRY_AFTER,
    "503": _RETRY_AFTER,
}
_ETAG = {"ETag": _header("The revision of what is requested, for If-Match.")}
_LOCATION = {"Location": _header("The path of what was made.")}


class DocumentedApp(OpenAPI):
    """A Flask application that describes itself in OpenAPI 3.1."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, security_schemes={"bearer": _BEARER}, **options)
        # flask-openapi writes 3.2 by default, which few tools read yet.
        self.openapi_version = "3.1.0"

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No function here is a coroutine; Flask would look each time."""
        return func

    def generate_spec_json(self) -> None:
        """Make the document."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        self._add_models()
        self.spec_json["security"] = [{"bearer": []}]
        for path, operations in self.spec_json["paths"].items():
            for method, operation in operations.items():
                _complete(path, method, operation)

    def _add_models(self) -> None:
        """Describe the models that a route names without flask-openapi seeing them."""
        schemas = self.spec_json["components"]["schemas"]
        named = set(re.findall(rf'"{_COMPONENTS}(\w+)"', json.dumps(self.spec_json)))
        for name in sorted(named - set(schemas)):
            mode: JsonSchemaMode = "validation" if issubclass(getattr(models, name), models.In) else "serialization"
            template = f"{_COMPONENTS}{{model}}"
            schema = getattr(models, name).model_json_schema(ref_template=template, mode=mode)
            schemas.update(schema.pop("$defs", {}))
            schemas[name] = schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    is_login = (path, method) == (_LOGIN, "post")
    if is_login:
        operation["security"] = []
    if right := RIGHTS.get(f"{method.upper()} {path}"):
        operation["x-right"] = right.value
    if _OF_FILES.get((method, path)) in (_BEGIN, _GO_ON):
        operation["requestBody"] = _BYTES
    responses = operation["responses"]
    added = _parameters(path, method, responses)
    if added and not is_login:
        operation["parameters"] = [*operation.get("parameters", ()), *added]
    if _IF_MATCH in added and "412" not in responses:
        responses["412"] = documented(412)[412]
    for status, response in responses.items():
        headers = {**_HEADERS.get(status, {}), **_headers_of(response)}
        if method == "post" and (status == "201" or (status == "202" and "{" not in path)):
            headers |= _LOCATION
        if headers:
            response["headers"] = {**response.get("headers", {}), **headers}


def _parameters(path: str, method: str, responses: dict[str, Any]) -> list[dict[str, Any]]:
    """The headers that an operation takes."""
    if path == _LOGIN:
        return []
    if (method, path) in _OF_FILES:
        return _OF_FILES[method, path]
    match method:
        case "get":
            streams = any("text/event-stream" in each.get("content", {}) for each in responses.values())
            return [_FRESH, _LAST_EVENT_ID] if streams else [_FRESH]
        case "post" if path in KEYLESS:
            return []
        case "post":
            return [_KEY, _IF_MATCH] if "{" in path and "201" not in responses else [_KEY]
    return [_IF_MATCH]


def _headers_of(response: dict[str, Any]) -> dict[str, Any]:
    """The headers of an answer that is one resource."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return _ETAG if schema.get("$ref") in _WITH_ETAG else {}
