"""The serial line and the display of a VM through the API, from a host whose consoles are those of ucloud_vm."""

import socket
import threading
from collections.abc import Iterator

import pytest
import websocket
from flask import Flask, Response, request
from werkzeug.serving import make_server

from common.schemas.vm import Actual, Console
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.world import World
from ucloud_vm.console.relay import Limits, Session

TOKEN = "s3cret"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DEADLINE_S = 30.0


class Host:
    """A host with one guest, whose end of the serial line is `guest`."""

    def __init__(self) -> None:
        self.guest, self._line = socket.socketpair()
        self.guest.settimeout(DEADLINE_S)
        self.paths: list[str] = []
        self.is_off = False
        self._free = threading.Semaphore()
        app = Flask("host")
        app.add_url_rule("/vm/<uuid>/<what>", "show", self._show)
        app.add_url_rule("/vm/<uuid>/console", "console", self._console, websocket=True)
        self._server = make_server("::1", 0, app, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://[::1]:{self._server.server_port}"

    def _show(self, uuid: str, what: str) -> Response:
        self.paths.append(request.full_path)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response("the token of this VM is required", 401)
        if what == "screenshot":
            return Response("off", 409) if self.is_off else Response(PICTURE, content_type="image/png")
        return Response("login: ü" if what == "log" else "", content_type="text/plain")

    def _console(self, uuid: str) -> Response:
        self.paths.append(request.full_path)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response("the token of this VM is required", 401)
        if not self._free.acquire(blocking=False):
            return Response("the console of this VM is in use", 409)
        try:
            session = Session(request.environ["werkzeug.socket"], self._line, Limits())
            session.accept(list(request.headers), request.path)
            session.run()
        finally:
            self._free.release()
        return Response()

    def close(self) -> None:
        """End the host."""
        self.guest.close()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def ann(served: DaemonProcess, world: World) -> Client:
    """A user with a VM that runs on the host."""
    world.add_image()
    world.add_host()
    return Client.logged_in(served, world, "ann").fresh()


def add_vm(client: Client, world: World, host: Host, token: str = TOKEN) -> str:
    body = {"name": "web", "specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}
    uuid = str(client.post("/vm", json=body).json()["uuid"])
    world.place(uuid)
    world.report(uuid, Actual.RUNNING, console=Console(url=f"{host.url}/vm/{uuid}", token=token))
    return uuid


def opened(client: Client, uuid: str) -> websocket.WebSocket:
    url = client.url.replace("http", "ws", 1)
    header = [f"Authorization: Bearer {client.token}", "Cache-Control: no-cache"]
    connection = websocket.WebSocket()
    connection.connect(  # type: ignore[no-untyped-call]
        f"{url}/vm/{uuid}/console", header=header, timeout=DEADLINE_S
    )
    return connection


def refused(client: Client, uuid: str) -> tuple[int | None, bytes]:
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        opened(client, uuid)
    return caught.value.status_code, caught.value.resp_body or b""


def test_what_is_typed_and_what_is_written_pass_both_ways(ann: Client, world: World, host: Host) -> None:
    uuid = add_vm(ann, world, host)
    console = opened(ann, uuid)
    host.guest.sendall(b"login: ")
    assert console.recv() == b"login: "
    console.send_binary(b"root\r")
    assert host.guest.recv(100) == b"root\r"
    much = bytes(range(256)) * 4096
    writer = threading.Thread(target=host.guest.sendall, args=(much,))
    writer.start()
    received = b""
    while len(received) < 32 * 1024:  # what comes too fast for a serial line is left out
        said = console.recv()
        assert isinstance(said, bytes)
        received += said
    writer.join()
    console.close()
    assert host.paths == [f"/vm/{uuid}/console?"], "no token in a URL"


def test_one_at_a_time(ann: Client, world: World, host: Host) -> None:
    uuid = add_vm(ann, world, host)
    console = opened(ann, uuid)
    status, body = refused(ann, uuid)
    assert status == 409
    assert b"urn:ucloud:problem:console-busy" in body
    console.close()

    def is_free() -> bool:
        try:
            opened(ann, uuid).close()
        except websocket.WebSocketBadStatusException:
            return False
        return True

    wait_for("the console free", is_free, DEADLINE_S)


def test_it_ends_when_the_guest_does(ann: Client, world: World, host: Host) -> None:
    uuid = add_vm(ann, world, host)
    console = opened(ann, uuid)
    host.guest.shutdown(socket.SHUT_RDWR)
    opcode, said = console.recv_data()
    assert (opcode, said[2:]) == (websocket.ABNF.OPCODE_CLOSE, b"the guest has ended")


def test_it_ends_with_the_session(ann: Client, world: World, host: Host) -> None:
    uuid = add_vm(ann, world, host)
    console = opened(ann, uuid)
    assert ann.delete("/session").status_code == 204
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        console.recv()


def test_what_is_wrong_is_said_before_it_opens(ann: Client, world: World, host: Host, served: DaemonProcess) -> None:
    uuid = add_vm(ann, world, host)
    plain = ann.get(f"/vm/{uuid}/console")
    assert (plain.status_code, plain.headers["Upgrade"]) == (426, "websocket")
    bob = Client.logged_in(served, world, "bob")
    assert refused(bob, uuid)[0] == 404
    assert refused(Client(ann.url, "ucloud_x"), uuid)[0] == 401
    other = ann.post("/vm", json={"specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}).json()["uuid"]
    status, body = refused(ann, other)
    assert status == 409
    assert b"has no console yet" in body
    world.report(uuid, Actual.RUNNING, console=Console(url=f"{host.url}/vm/{uuid}", token="wr0ng"))
    assert ann.get(f"/vm/{uuid}/log").status_code == 502
    assert refused(ann, uuid)[0] == 502
    host.close()
    status, body = refused(ann, uuid)
    assert status == 502
    assert b"host h1 does not answer" in body
    assert b"wr0ng" not in body
    for what in ("log", "screenshot"):
        gone = ann.get(f"/vm/{uuid}/{what}")
        assert (gone.status_code, gone.json()["type"]) == (502, "urn:ucloud:problem:host-does-not-answer")
    assert "wr0ng" not in served.log.read_text()
    assert TOKEN not in served.log.read_text()


def test_consoles_leave_threads_for_others(ann: Client, world: World, host: Host) -> None:
    uuid = add_vm(ann, world, host)
    console = opened(ann, uuid)
    followers = [ann.follow(f"/vm/{uuid}?watch=1") for _ in range(40)]
    assert ann.get(f"/vm/{uuid}").status_code == 200
    for follower in followers:
        follower.leave()
    console.send_binary(b"x")
    assert host.guest.recv(1) == b"x"
    console.close()


def test_the_log_and_the_display(ann: Client, world: World, host: Host) -> None:
    uuid = add_vm(ann, world, host)
    log = ann.get(f"/vm/{uuid}/log?tail_bytes=100")
    assert (log.text, log.headers["Content-Type"]) == ("login: ü", "text/plain; charset=utf-8")
    picture = ann.get(f"/vm/{uuid}/screenshot")
    assert (picture.content, picture.headers["Content-Type"]) == (PICTURE, "image/png")
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    host.is_off = True
    off = ann.get(f"/vm/{uuid}/screenshot")
    assert (off.status_code, off.json()["type"]) == (409, "urn:ucloud:problem:no-screenshot-yet")
    assert host.paths == [f"/vm/{uuid}/log?tail_bytes=100", *[f"/vm/{uuid}/screenshot?"] * 2]
