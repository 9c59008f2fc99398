"""What is on a VM's serial line and on its display: asked for at its host, with the token that the host gave out.

The token goes into no URL, message or log, and neither does the text of an error, which may hold the URL.
"""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
import websocket
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.errors import InvalidValue
from common.schemas.vm import Console
from ucloud_api import models
from ucloud_api.access.auth import current_caller
from ucloud_api.access.owner import check_may_change
from ucloud_api.access.permit import current_permit
from ucloud_api.problems import ApiProblem, documented
from ucloud_api.reading import views
from ucloud_api.vms.relay import accept, relay
from ucloud_api.vms.vm import current_views, read
from ucloud_api.worker.state import State, current_state

blueprint = APIBlueprint(
    "console",
    __name__,
    url_prefix=keys.VM.rstrip("/"),
    abp_tags=[Tag(name="vm", description="Virtual machines")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)
_TIMEOUT_S = (2.0, 10.0)
_HANDSHAKE_S = 5.0
_MOST_IMAGE_BYTES = 32 * 1024 * 1024
_MOST_WORDS = 200


@dataclass(frozen=True)
class _Way:
    """The way to a VM's host."""

    console: Console
    host: str

    @property
    def authorization(self) -> str:
        return f"Bearer {self.console.token}"

    def ask(self, what: str, most_bytes: int, **parameters: int) -> tuple[int, bytes]:
        """The status and the body of the host's answer, at most so long; ApiProblem (502) when there is none."""
        try:
            with requests.Session() as session:
                session.trust_env = False  # a host is asked directly: no proxy, and no .netrc in place of the token
                reply = session.get(
                    f"{self.console.url}/{what}",
                    params=parameters,
                    headers={"Authorization": self.authorization},
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                    stream=True,
                )
                body = b"".join(reply.iter_content(64 * 1024)) if _length(reply) <= most_bytes else None
        except requests.RequestException as error:
            problem = f"host {self.host} does not answer for the {what}: {type(error).__name__}"
            raise ApiProblem(502, "host-does-not-answer", problem) from error
        if body is None:
            raise self.refusal(what, "its answer is too long")
        return reply.status_code, body

    def refusal(self, what: str, why: str) -> ApiProblem:
        """502: the host answers, and does not give it."""
        return ApiProblem(502, "host-does-not-answer", f"host {self.host} refused to show the {what}: {why}")


def _length(reply: requests.Response) -> int:
    """What the host says that its answer has; one that does not say it is of no use to us."""
    said = reply.headers.get("Content-Length", "")
    return int(said) if said.isdigit() else _MOST_IMAGE_BYTES + 1


def _way(state: State, uuid: str, what: str) -> _Way:
    """The way to the host of a VM that the caller may change; ApiProblem (404, 403, 409)."""
    vm, _ = read(state, current_caller(), uuid)
    check_may_change(current_caller(), vm.owner)
    facts = current_views().facts(vm)
    status = views.current_status(facts)
    if status is None or status.console is None:
        actual, reason = views.actual_state(facts)
        why = f": {reason}" if reason else ""
        raise ApiProblem(409, f"no-{what}-yet", f"the VM is {actual} and has no {what} yet{why}")
    return _Way(status.console, facts.host or "")


_LOG_RESPONSE = {
    "description": "The log, as the guest wrote it.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@blueprint.get(
    "/<uuid>/log", summary="Read a VM's serial log", responses={200: _LOG_RESPONSE, **documented(403, 404, 502)}
)
def log(path: models.ThingPath, query: models.LogQuery) -> Response:
    """The end of what the guest wrote to its serial port, fetched from its host."""
    way = _way(current_state(), str(path.uuid), "log")
    status, body = way.ask("log", 4 * query.tail_bytes, tail_bytes=query.tail_bytes)
    if status == requests.codes.not_found:
        body = b""  # the guest has written nothing yet
    elif status != requests.codes.ok:
        raise way.refusal("log", str(status))
    return _shown(body, "text/plain; charset=utf-8")


_SCREENSHOT_RESPONSE = {
    "description": "A picture of the display.",
    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
}


@blueprint.get(
    "/<uuid>/screenshot",
    summary="See a VM's display",
    responses={200: _SCREENSHOT_RESPONSE, **documented(403, 404, 502)},
)
def screenshot(path: models.ThingPath) -> Response:
    """What the display of the guest shows now."""
    way = _way(current_state(), str(path.uuid), "screenshot")
    status, body = way.ask("screenshot", _MOST_IMAGE_BYTES)
    if status == requests.codes.conflict:
        raise ApiProblem(409, "no-screenshot-yet", "the VM is off: its display shows nothing")
    if status != requests.codes.ok:
        raise way.refusal("screenshot", str(status))
    return _shown(body, "image/png")


def _shown(body: bytes, content_type: str) -> Response:
    """What a guest had a hand in: a browser must take it for nothing else."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(body, 200, headers, content_type=content_type)


class _Upgraded(Response):
    """The end of a connection that was a websocket: it is shut down, there is nobody to answer.

    StopIteration is what gunicorn takes for that.
    """

    def __call__(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        raise StopIteration


_CONSOLE_RESPONSE = {"description": "The websocket is open. Binary messages: what the guest writes, and what is typed."}


@blueprint.get(
    "/<uuid>/console",
    summary="Use a VM's serial console",
    responses={101: _CONSOLE_RESPONSE, **documented(400, 403, 404, 426, 502)},
    # Else werkzeug refuses a request to upgrade with 400, before it comes here.
    websocket=True,
)
def console(path: models.ThingPath) -> Response:
    """A websocket to the serial line of the guest, for one at a time. What is wrong is said before it opens."""
    state, uuid, permit = current_state(), str(path.uuid), current_permit()
    way = _way(state, uuid, "console")
    greeting = _greeting()
    subscription = state.hub.subscribe(("console", uuid), *permit.topics)

    def may_go_on() -> bool:
        return not subscription.closed and (not subscription.wait(0) or permit.holds(state))

    try:
        host = _open(way)
        try:
            relay(request.environ["gunicorn.socket"], host, greeting, may_go_on)
        finally:
            host.close()
    finally:
        state.hub.unsubscribe(subscription)
    return _Upgraded(status=101)


@blueprint.get("/<uuid>/console", doc_ui=False)
def not_a_websocket(path: models.ThingPath) -> Response:
    """The same for a request that does not ask for a websocket."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    raise ApiProblem(426, "websocket-needed", "open a websocket here (RFC 6455)", headers=headers)


def _greeting() -> bytes:
    """What opens the client's websocket; ApiProblem (400) when it asks for none that can be opened."""
    try:
        return accept(request.headers.items(), request.path)
    except InvalidValue as error:
        raise ApiProblem(400, "bad-handshake", str(error)) from error


def _open(way: _Way) -> socket.socket:
    """The connection to the host, its websocket open; ApiProblem (409: in use or off; 502)."""
    url = urlsplit(way.console.url)
    try:
        # Connected here: the library would go by the proxies that the environment names.
        connection = socket.create_connection((url.hostname or "", url.port or 80), _HANDSHAKE_S)
        websocket.create_connection(
            f"ws://{url.netloc}{url.path}/console",
            timeout=_HANDSHAKE_S,
            socket=connection,
            header=[f"Authorization: {way.authorization}"],
            suppress_origin=True,
            redirect_limit=0,
        )
    except websocket.WebSocketBadStatusException as error:
        if error.status_code != requests.codes.conflict:
            raise way.refusal("console", str(error.status_code)) from error
        words = (error.resp_body or b"").decode("utf-8", "replace")[:_MOST_WORDS]
        raise ApiProblem(409, "console-busy", words or "the console of this VM is in use") from error
    except (websocket.WebSocketException, OSError, ValueError) as error:
        problem = f"host {way.host} does not answer for the console: {type(error).__name__}"
        raise ApiProblem(502, "host-does-not-answer", problem) from error
    return connection
