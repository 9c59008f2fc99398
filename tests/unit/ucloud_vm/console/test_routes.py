"""The consoles over HTTP, from the server that daemons use: who gets what, and what a bad client can't do.

The guest is a unix socket that listens, as QEMU's does; the hypervisor is one that knows a single VM.
"""

import contextlib
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import websocket
from flask import Flask

from common.errors import Unavailable
from common.health import serve
from devcloud.waiting import wait_for
from ucloud_vm.console.access import Access
from ucloud_vm.console.log import MAX_TAIL_BYTES, SerialLogs
from ucloud_vm.console.relay import Limits
from ucloud_vm.console.routes import Consoles, add_routes
from ucloud_vm.hypervisor import Domain, Power
from ucloud_vm.run_directory import RunDirectory

OTHER = "6f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
PICTURE = b"\x89PNG, as far as anybody here can tell"
pytestmark = pytest.mark.timeout(30)
LIMITS = Limits(ping_interval_s=0.2, silence_s=1.0)


@dataclass
class OneVm:
    """As much of a hypervisor as the consoles ask for."""

    domain: Domain | None
    is_away: bool = False

    def find(self, _vm_uuid: str) -> Domain | None:
        if self.is_away:
            raise Unavailable("libvirt", "it is not there")
        return self.domain

    def screenshot(self, _vm_uuid: str) -> bytes:
        return PICTURE


@dataclass
class World:
    """A host with one VM."""

    port: int
    access: Access
    run: RunDirectory
    logs: SerialLogs
    hypervisor: OneVm
    guest: socket.socket
    vm: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access.console(self.vm).token}"}

    def get(self, path: str, headers: Mapping[str, str | bytes] | None = None) -> requests.Response:
        headers = self.headers if headers is None else headers
        return requests.get(f"http://[::1]:{self.port}{path}", headers=headers, timeout=20)

    def connect(self, **headers: str) -> websocket.WebSocket:
        return websocket.create_connection(
            f"ws://[::1]:{self.port}/vm/{self.vm}/console", header={**self.headers, **headers}, timeout=5
        )

    def session(self) -> tuple[websocket.WebSocket, socket.socket]:
        """A client and the guest's end of the line."""
        client = self.connect()
        line, _ = self.guest.accept()
        line.settimeout(5)
        return client, line

    def is_free(self) -> bool:
        try:
            client = self.connect()
        except websocket.WebSocketBadStatusException as error:
            if error.status_code == 409:
                return False
            raise
        self.guest.accept()[0].close()
        client.close()
        return True


@pytest.fixture(scope="module")
def served() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        run, access, logs = RunDirectory(Path(folder)), Access(b"secret", "http://x"), SerialLogs(Path(folder))
        hypervisor = OneVm(None)
        app = Flask("test")
        add_routes(app, Consoles(access, logs, hypervisor, run, LIMITS))  # type: ignore[arg-type]
        server = serve(app, "::1", 0)
        with socket.socket() as nobody:
            yield World(server.server_port, access, run, logs, hypervisor, nobody)
        server.shutdown()
        server.server_close()


@pytest.fixture
def world(served: World) -> Iterator[World]:
    """The host with a VM that is on."""
    served.vm = str(uuid.uuid4())
    served.run.make(served.vm, (0, 0))
    served.hypervisor.domain = Domain(1, Power.RUNNING)
    served.hypervisor.is_away = False
    with socket.socket(socket.AF_UNIX) as served.guest:
        served.guest.bind(str(served.run.serial_socket(served.vm)))
        served.guest.listen(0)
        served.guest.settimeout(5)
        yield served
    served.run.remove(served.vm)
    served.logs.remove(served.vm)


# --- who gets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["log", "screenshot"])
def test_other_tokens_open_nothing(world: World, what: str) -> None:
    world.logs.path(world.vm).write_text("private")
    others: tuple[dict[str, str | bytes], ...] = (
        {},
        {"Authorization": f"Bearer {Access(b'secret', '').console(OTHER).token}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ü".encode()},
        {"Authorization": f"Basic {world.access.console(world.vm).token}"},
    )
    for headers in others:
        answer = world.get(f"/vm/{world.vm}/{what}", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "private" not in answer.text


def test_other_tokens_get_no_console(world: World) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        world.connect(Authorization="Bearer wrong")
    assert refused.value.status_code == 401


@pytest.mark.parametrize("name", ["..", "x", OTHER.upper() + "0", f"..%2f{OTHER}"])
def test_only_uuids_are_looked_for(world: World, name: str) -> None:
    assert world.get(f"/vm/{name}/log").status_code == 404


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_token_opens_the_log(world: World) -> None:
    world.logs.path(world.vm).write_bytes("Grüße\nlogin: ".encode())
    answer = world.get(f"/vm/{world.vm}/log")
    assert (answer.status_code, answer.text) == (200, "Grüße\nlogin: ")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_end_is_answered_even_if_it_begins_within_a_character(world: World) -> None:
    world.logs.path(world.vm).write_bytes(b"x" * 100 + "ü end".encode())
    assert world.get(f"/vm/{world.vm}/log?tail_bytes=5").text == "\ufffd end"


@pytest.mark.parametrize("tail", ["0", "-1", "x", "", str(MAX_TAIL_BYTES + 1), "9" * 400, "\u0661"])
def test_sizes_that_are_not_allowed_are_named(world: World, tail: str) -> None:
    answer = world.get(f"/vm/{world.vm}/log?tail_bytes={quote(tail)}")
    assert answer.status_code == 422
    assert "tail_bytes" in answer.text
    assert str(MAX_TAIL_BYTES) in answer.text


def test_a_log_that_is_not_there(world: World) -> None:
    assert world.get(f"/vm/{world.vm}/log").status_code == 404


# --- the display ------------------------------------------------------------------------------------------------------


def test_the_display_is_shown_as_png(world: World) -> None:
    answer = world.get(f"/vm/{world.vm}/screenshot")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert answer.content == PICTURE


def test_a_display_that_is_off_or_out_of_reach_says_so(world: World) -> None:
    world.hypervisor.domain = Domain(1, Power.OFF)
    assert world.get(f"/vm/{world.vm}/screenshot").status_code == 409
    world.hypervisor.domain = None
    assert world.get(f"/vm/{world.vm}/screenshot").status_code == 409
    world.hypervisor.is_away = True
    answer = world.get(f"/vm/{world.vm}/screenshot")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


# --- the serial line --------------------------------------------------------------------------------------------------


def test_bytes_go_both_ways_as_they_are(world: World) -> None:
    client, line = world.session()
    everything = bytes(range(256))
    client.send_binary(everything)
    assert line.recv(4096) == everything
    line.sendall(everything)
    assert client.recv() == everything
    client.send("Grüße\r")
    assert line.recv(4096) == "Grüße\r".encode()
    client.close()
    assert line.recv(1) == b""


def test_a_console_is_for_one_at_a_time_and_free_when_its_user_leaves(world: World) -> None:
    client, line = world.session()
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        world.connect()
    assert refused.value.status_code == 409
    client.close()
    line.close()
    wait_for("a free console", world.is_free, 30)


def test_the_session_ends_with_the_guest(world: World) -> None:
    client, line = world.session()
    line.sendall(b"bye")
    line.close()
    assert client.recv() == b"bye"
    assert client.recv_data() == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xe9the guest has ended")
    wait_for("a free console", world.is_free, 30)


def test_a_vm_that_is_off_has_no_console(world: World) -> None:
    world.run.serial_socket(world.vm).unlink()
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        world.connect()
    assert refused.value.status_code == 409


def test_a_client_that_is_silent_is_taken_for_dead(world: World) -> None:
    client, line = world.session()
    begun_s = time.monotonic()
    # It answers no ping, as nobody reads it.
    assert line.recv(1) == b""
    assert 0.9 < time.monotonic() - begun_s < 3
    assert client.sock is not None
    client.sock.close()
    wait_for("a free console", world.is_free, 30)


def test_a_client_that_only_answers_pings_stays(world: World) -> None:
    client, line = world.session()
    later = threading.Timer(2.5 * LIMITS.silence_s, line.sendall, [b"still there?"])
    later.start()
    assert client.recv() == b"still there?"
    later.join()
    client.close()


def test_a_client_that_does_not_read_stalls_no_guest_and_is_told_what_it_missed(world: World) -> None:
    client, line = world.session()
    stop = threading.Event()

    def type_now_and_then() -> None:
        while not stop.wait(0.2):
            client.send_binary(b".")

    typing = threading.Thread(target=type_now_and_then)
    typing.start()
    sent, chunk = 0, b"x" * 4096
    begun_s = time.monotonic()
    while sent < 20 * 1024 * 1024:
        sent += line.send(chunk)
    assert time.monotonic() - begun_s < 4, "it was never waited for"
    received = bytearray()
    # Once there is room again, the line goes on where it is.
    while b"END" not in received:
        line.sendall(b"END")
        received += client.recv()  # type: ignore[arg-type]
    stop.set()
    typing.join()
    assert b"bytes are left out here" in received
    assert len(received) < 8 * 1024 * 1024
    client.close()


def test_what_a_guest_does_not_read_is_dropped(world: World) -> None:
    client, line = world.session()
    for _ in range(400):
        client.send_binary(b"y" * 32 * 1024)
    # Whoever answers this has taken all that came before it.
    client.ping("done")
    while client.recv_data_frame(control_frame=True)[0] != websocket.ABNF.OPCODE_PONG:
        pass
    received = 0
    line.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while True:
            received += len(line.recv(1024 * 1024))
    assert received < 2 * 1024 * 1024
    client.close()


def test_a_message_that_is_too_long_ends_the_session(world: World) -> None:
    client, line = world.session()
    client.send_binary(b"z" * (LIMITS.message_bytes + 1))
    opcode, reason = client.recv_data()
    assert (opcode, reason[:2]) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xf1")
    line.close()


@pytest.mark.parametrize("rubbish", [b"\xff" * 64, b"\x82\x05hello", b"GET / HTTP/1.1\r\n\r\n"])
def test_rubbish_ends_the_session_and_nothing_else(world: World, rubbish: bytes) -> None:
    client, line = world.session()
    assert client.sock is not None
    client.sock.sendall(rubbish)
    while line.recv(4096):
        pass
    client.sock.close()
    wait_for("a free console", world.is_free, 30)


@pytest.mark.parametrize("missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Upgrade"])
def test_a_handshake_that_is_none_is_refused(world: World, missing: str) -> None:
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    del handshake[missing]
    answer = world.get(f"/vm/{world.vm}/console", headers={**world.headers, **handshake})
    assert answer.status_code == 400
