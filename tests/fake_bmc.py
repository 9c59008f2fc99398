"""A BMC that speaks Redfish over HTTP on loopback, for one machine: it works, or is dead, slow, or lies.

As much of DMTF DSP0266 as a fence needs: the resource of a system, its PowerState, and #ComputerSystem.Reset.
"""

import base64
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

USER, PASSWORD = "admin", "s3cret"


class FakeBmc:
    """Answers on a port of ::1. `is_on` is what the machine's power really is."""

    def __init__(self) -> None:
        self.is_on = True
        self.lies = False
        """It takes the order to cut the power, says that it was done, and does nothing."""
        self.is_dead = False
        """It takes connections and never answers."""
        self.takes_s = 0.0
        """How long the power takes to go."""
        self.breaks = ""
        """What it answers instead of JSON."""
        self.resets: list[str] = []
        self.closing = threading.Event()
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """The system's resource, as in `fence.redfish_url`."""
        return f"http://[::1]:{self._server.server_address[1]}/redfish/v1/Systems/{{host}}"

    def reset(self, kind: str) -> None:
        """The order to cut the power."""
        self.resets.append(kind)
        if not self.lies and kind == "ForceOff":
            threading.Thread(target=self._cut, daemon=True).start()

    def _cut(self) -> None:
        self.closing.wait(self.takes_s)
        self.is_on = False

    def __enter__(self) -> "FakeBmc":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6

    def __init__(self, bmc: FakeBmc) -> None:
        self.bmc = bmc
        super().__init__(("::1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self._is_let_in():
            action = {"target": f"{self.path}/Actions/ComputerSystem.Reset"}
            state = "On" if self.server.bmc.is_on else "Off"
            self._answer(200, {"PowerState": state, "Actions": {"#ComputerSystem.Reset": action}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_let_in():
            if self.path.endswith("/redfish/v1/Systems/h1/Actions/ComputerSystem.Reset"):
                self.server.bmc.reset(body["ResetType"])
                self._answer(200, {})
            else:
                self._answer(404, {})

    def _is_let_in(self) -> bool:
        bmc = self.server.bmc
        if bmc.is_dead:
            bmc.closing.wait()
            return False
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {wanted}":
            self._answer(401, {})
            return False
        return True

    def _answer(self, status: int, content: object) -> None:
        body = self.server.bmc.breaks.encode() or json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
