"""Consoles from end to end: the program, the API, a host's own routes, and a guest that is a socket as QEMU's is."""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from common.errors import Unavailable
from common.health import serve
from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import CREATE, DEADLINE_S, Program, only_vm
from tests.integration.ucloud_cli.terminal import Terminal
from ucloud_vm.console.access import Access
from ucloud_vm.console.log import SerialLogs
from ucloud_vm.console.relay import Limits
from ucloud_vm.console.routes import Consoles, add_routes
from ucloud_vm.hypervisor import Domain, Power
from ucloud_vm.run_directory import RunDirectory

GREETING = b"Debian 12 web ttyS0\r\n\r\nweb login: "
END = b"\x1d"


@dataclass
class OneVm:
    """As much of a hypervisor as the consoles ask for."""

    is_away: bool = False

    def find(self, _vm_uuid: str) -> Domain:
        """The VM, which is on."""
        if self.is_away:
            raise Unavailable("libvirt", "it is not there")
        return Domain(1, Power.RUNNING)

    def screenshot(self, _vm_uuid: str) -> bytes:
        """What it shows, as far as anybody looks into it here."""
        return b"\x89PNG\r\n\x1a\n and so on"


class Guest:
    """A serial line: it greets whoever connects, and answers what is typed in capitals, as long as it is there."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self.lines: list[socket.socket] = []
        self.typed = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self) -> None:
        """Switch it off."""
        self._listener.close()
        for line in self.lines:
            line.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        try:
            while True:
                line, _ = self._listener.accept()
                self.lines.append(line)
                line.sendall(GREETING)
                while typed := line.recv(4096):
                    self.typed += typed
                    line.sendall(typed.upper())
        except OSError:
            return


@pytest.fixture
def guest(ucloud: Program, world: World) -> Iterator[Guest]:
    """The guest of a VM called web on a host whose consoles are up."""
    world.add_image()
    world.add_host()
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    uuid = only_vm(world)
    with tempfile.TemporaryDirectory() as folder:
        run, logs = RunDirectory(Path(folder)), SerialLogs(Path(folder))
        run.make(uuid, (0, 0))
        logs.path(uuid).write_bytes(GREETING)
        guest = Guest(run.serial_socket(uuid))
        app = Flask("host")
        access = Access(b"secret", "")
        add_routes(app, Consoles(access, logs, OneVm(), run, Limits()))  # type: ignore[arg-type]
        server = serve(app, "::1", 0)
        console = access.console(uuid).model_copy(update={"url": f"http://[::1]:{server.server_port}/vm/{uuid}"})
        world.place(uuid)
        world.report(uuid, Actual.RUNNING, console=console)
        wait_for("RUNNING", lambda: "RUNNING" in ucloud("vm", "list").out, DEADLINE_S)
        yield guest
        guest.end()
        server.shutdown()
        server.server_close()


def test_a_console_is_typed_into_and_ctrl_bracket_ends_it(ucloud: Program, guest: Guest) -> None:
    with Terminal(ucloud, "vm", "console", "web") as terminal:
        terminal.wait_shown(b"connected to web, ctrl-] ends it")
        terminal.wait_shown(b"web login: ")
        assert terminal.modes() != terminal.modes_before
        terminal.press(b"root\r\x03\x04")
        terminal.wait_shown(b"ROOT\r\x03\x04")  # neither ctrl-c nor ctrl-d is for the program
        terminal.press(b"ex" + END + b"it")
        assert terminal.process.wait(DEADLINE_S) == 0
        terminal.wait_shown(b"left web")
        assert terminal.modes() == terminal.modes_before
    assert guest.typed in (b"root\r\x03\x04", b"root\r\x03\x04ex")


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (lambda terminal, _: terminal.process.terminate(), 143),
        (lambda terminal, _: terminal.process.send_signal(2), 1),
        (lambda _, guest: guest.end(), 0),
    ],
    ids=["told to end", "interrupted", "the guest is switched off"],
)
def test_the_terminal_is_as_before_however_it_ends(
    ucloud: Program, guest: Guest, how: Callable[[Terminal, Guest], None], status: int
) -> None:
    with Terminal(ucloud, "vm", "console", "web") as terminal:
        terminal.wait_shown(b"web login: ")
        how(terminal, guest)
        assert terminal.process.wait(DEADLINE_S) == status
        assert terminal.modes() == terminal.modes_before
        assert b"Traceback" not in terminal.shown
        if not status:
            terminal.wait_shown(b"left web: the guest has ended")


def test_scripts_type_and_wait_for_words(ucloud: Program, guest: Guest) -> None:
    said = ucloud("vm", "console", "web", "--until", "ROOT", "--timeout", "20", typed="root\n")
    assert (said.status, said.err) == (0, "")
    assert "web login: " in said.out
    assert guest.typed == b"root\n"


def test_words_that_do_not_come_are_a_failure(ucloud: Program, guest: Guest) -> None:
    said = ucloud("vm", "console", "web", "--until", "# ", "--timeout", "1")
    assert said.status == 1
    assert said.err == 'ucloud: the console of web did not show "# " within 1 s\n'


def test_a_time_without_words_is_just_a_time(ucloud: Program, guest: Guest) -> None:
    said = ucloud("vm", "console", "web", "--timeout", "1")
    assert (said.status, "web login: " in said.out) == (0, True)


def test_a_guest_that_ends_before_its_words_is_a_failure(ucloud: Program, guest: Guest) -> None:
    process = ucloud.start("vm", "console", "web", "--until", "# ")
    wait_for("the session", lambda: guest.lines, DEADLINE_S)
    guest.end()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err == 'ucloud: the console of web ended before it showed "# "\n'


def test_one_at_a_time_and_the_next_as_soon_as_the_first_has_left(ucloud: Program, guest: Guest) -> None:
    with Terminal(ucloud, "vm", "console", "web") as terminal:
        terminal.wait_shown(b"web login: ")
        said = ucloud("vm", "console", "web", "--timeout", "1")
        assert said.status == 5
        assert "in use" in said.one_line()
        terminal.press(END)
        assert terminal.process.wait(DEADLINE_S) == 0
    wait_for("the console free", lambda: ucloud("vm", "console", "web", "--timeout", "1").status == 0, DEADLINE_S)


def test_another_s_console_does_not_exist(as_user: Callable[[str], Program], world: World, guest: Guest) -> None:
    world.add_account("eve")
    eve = as_user("eve")
    for verb in ("console", "log", "screenshot"):
        for name in ("web", only_vm(world)):
            assert eve("vm", verb, name).status == 4
    assert not guest.lines


def test_log_and_screenshot(ucloud: Program, guest: Guest, tmp_path: Path) -> None:
    assert "web login:" in ucloud("vm", "log", "web").out
    assert ucloud("vm", "log", "web", "--tail", "7").out == "login: "
    picture = tmp_path / "web.png"
    assert ucloud("vm", "screenshot", "web", "-f", str(picture)).status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    piped = tmp_path / "piped.png"
    with piped.open("wb") as file:
        assert ucloud.start("vm", "screenshot", "web", stdout=file).wait(DEADLINE_S) == 0
    assert piped.read_bytes() == picture.read_bytes()
    with Terminal(ucloud, "vm", "screenshot", "web") as terminal:
        assert terminal.process.wait(DEADLINE_S) == 2
        terminal.wait_shown(b"-f web.png")
