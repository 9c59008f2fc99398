"""The routes of the consoles, in the web application that answers /healthz as well."""

import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask, Response, request

from common.errors import InvalidValue, PermanentError, TemporaryError, Unavailable
from ucloud_vm.console.access import Access
from ucloud_vm.console.log import DEFAULT_TAIL_BYTES, MAX_TAIL_BYTES, SerialLogs
from ucloud_vm.console.relay import Limits, Session
from ucloud_vm.hypervisor import Hypervisor, Power
from ucloud_vm.run_directory import RunDirectory

_OFF = "the VM is off"


class Consoles:
    """What the consoles are made of, and whose serial line is in use."""

    def __init__(
        self,
        access: Access,
        logs: SerialLogs,
        hypervisor: Hypervisor,
        run_directory: RunDirectory,
        limits: Limits,
    ) -> None:
        self.access = access
        self.logs = logs
        self.hypervisor = hypervisor
        self.limits = limits
        self._run_directory = run_directory
        self._in_use: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def line(self, vm_uuid: str) -> Iterator[socket.socket | None]:
        """The serial line of a VM, for one at a time; None while another has it. OSError when it has none."""
        with self._lock:
            is_free = vm_uuid not in self._in_use
            if is_free:
                self._in_use.add(vm_uuid)
        if not is_free:
            yield None
            return
        try:
            with socket.socket(socket.AF_UNIX) as guest:
                guest.connect(str(self._run_directory.serial_socket(vm_uuid)))
                yield guest
        finally:
            with self._lock:
                self._in_use.discard(vm_uuid)

    def is_on(self, vm_uuid: str) -> bool:
        """Whether a VM's guest is on."""
        domain = self.hypervisor.find(vm_uuid)
        return domain is not None and domain.power is not Power.OFF


def add_routes(app: Flask, consoles: Consoles) -> None:
    """Answer for `consoles` in `app`."""

    def add(path: str, answer: Callable[[Consoles, str], Response], websocket: bool = False) -> None:
        def view(vm: uuid.UUID) -> Response:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not consoles.access.opens(token.strip(), str(vm)):
                return _say(401, "the token of this VM is required", {"WWW-Authenticate": "Bearer"})
            return answer(consoles, str(vm))

        app.add_url_rule(f"/vm/<uuid:vm>/{path}", path, view, methods=["GET"], websocket=websocket)

    add("log", _answer_log)
    add("screenshot", _answer_screenshot)
    add("console", _answer_console, websocket=True)


def _answer_log(consoles: Consoles, vm_uuid: str) -> Response:
    wanted = request.args.get("tail_bytes", str(DEFAULT_TAIL_BYTES))
    if not re.fullmatch(r"[0-9]{1,9}", wanted, re.ASCII) or not 1 <= int(wanted) <= MAX_TAIL_BYTES:
        return _say(422, f"tail_bytes: must be from 1 to {MAX_TAIL_BYTES}")
    end = consoles.logs.tail(vm_uuid, int(wanted))
    if end is None:
        return _say(404, "this VM has written no serial log on this host yet")
    return _say(200, end.decode("utf-8", "replace"))


def _answer_screenshot(consoles: Consoles, vm_uuid: str) -> Response:
    try:
        if not consoles.is_on(vm_uuid):
            return _say(409, f"{_OFF}: its display shows nothing")
        picture = consoles.hypervisor.screenshot(vm_uuid)
    except (Unavailable, TemporaryError, PermanentError) as error:
        return _say(503, str(error), {"Retry-After": "5"})
    return _harden(Response(picture, content_type="image/png"))


def _answer_console(consoles: Consoles, vm_uuid: str) -> Response:
    client: socket.socket = request.environ["werkzeug.socket"]
    try:
        with consoles.line(vm_uuid) as guest:
            if guest is None:
                return _say(409, "the console of this VM is in use")
            session = Session(client, guest, consoles.limits)
            session.accept([(name, value) for name, value in request.headers], request.path)
            session.run()
    except InvalidValue as error:
        return _say(400, str(error))
    except OSError:
        return _say(409, f"{_OFF}, or has no serial console")
    return Response()  # to nobody: the connection is shut down


def _say(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return _harden(Response(text, status, headers, content_type="text/plain; charset=utf-8"))


def _harden(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
