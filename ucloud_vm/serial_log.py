"""The serial logs of VMs: kept within bounds, and read over HTTP by who has the token of the VM.

GET /vm/<uuid>/log?tail_bytes=N with `Authorization: Bearer <token>` answers the last N bytes as text.

A token opens one VM's log and can't be had from another's: it is an HMAC (RFC 2104) of the uuid, keyed with a secret
of this host. Logs are written by QEMU through a descriptor opened for appending, so they can be cut under its hands.
"""

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import threading
from pathlib import Path

from flask import Flask, Response, request

from common.errors import ConfigurationError
from common.schemas.vm import Console

_log = logging.getLogger(__name__)
DEFAULT_TAIL_BYTES = 64 * 1024
MAX_TAIL_BYTES = 1024 * 1024
_LONGEST_BYTES = 16 * 1024 * 1024
_CHECK_INTERVAL_S = 10.0
_FILE_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.log(\.[0-9]+)?")


class SerialLogs:
    """The logs in `directory`, which this host answers for at `url`."""

    def __init__(self, directory: Path, secret: bytes, url: str) -> None:
        self._directory = directory
        self._secret = secret
        self._url = url

    def path(self, vm_uuid: str) -> Path:
        """The log of a VM; it may not exist yet."""
        return self._directory / f"{vm_uuid}.log"

    def exists(self, vm_uuid: str) -> bool:
        """Whether there is a log of a VM."""
        return self.path(vm_uuid).exists()

    def vms(self) -> frozenset[str]:
        """The VMs that have logs here."""
        return frozenset(match[1] for path in self._directory.iterdir() if (match := _FILE_NAME.fullmatch(path.name)))

    def remove(self, vm_uuid: str) -> None:
        """Remove the log of a VM, and what virtlogd rotated away of it."""
        for path in self._directory.glob(f"{vm_uuid}.log*"):
            path.unlink(missing_ok=True)

    def console(self, vm_uuid: str) -> Console:
        """Where the log of a VM is answered for, and the token that opens it."""
        return Console(url=f"{self._url}/vm/{vm_uuid}/log", token=self._token(vm_uuid))

    def opens(self, token: str, vm_uuid: str) -> bool:
        """Whether `token` is that of the VM."""
        return hmac.compare_digest(token.encode(), self._token(vm_uuid).encode())

    def tail(self, vm_uuid: str, size_bytes: int) -> bytes | None:
        """The end of the log of a VM, at most `size_bytes`; None when there is none."""
        try:
            with self.path(vm_uuid).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
                return file.read(size_bytes)
        except FileNotFoundError:
            return None

    def keep_bounded(self, stop: threading.Event) -> None:
        """Cut logs that grow too long; the body of a thread.

        There is no event for a file's growth short of one for each write. What a guest writes in the instant of the
        cut is lost.
        """
        while not stop.wait(_CHECK_INTERVAL_S):
            self.cut_long_ones()

    def cut_long_ones(self) -> None:
        """Cut each log that has grown too long to its end."""
        for vm_uuid in self.vms():
            self._cut(vm_uuid)

    def _cut(self, vm_uuid: str) -> None:
        try:
            if self.path(vm_uuid).stat().st_size <= _LONGEST_BYTES:
                return
            end = self.tail(vm_uuid, MAX_TAIL_BYTES) or b""
            with self.path(vm_uuid).open("r+b") as file:
                file.truncate(0)
                file.write(end)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("can't cut the serial log of VM %s: %s", vm_uuid, error.strerror)

    def _token(self, vm_uuid: str) -> str:
        return hmac.new(self._secret, vm_uuid.encode(), hashlib.sha256).hexdigest()


def read_or_make_secret(path: Path) -> bytes:
    """The secret of this host, made when there is none; ConfigurationError when neither works."""
    try:
        if not path.exists():
            draft = path.with_name(f"{path.name}.new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                os.fsync(file.fileno())
            draft.rename(path)
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"vm.state_directory: {path}: {error.strerror}") from error


def base_url(address: str, port: int, host_name: str) -> str:
    """The URL under which others reach `address`:`port`; by the host's name when it listens on all addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return f"http://{address}:{port}"
    if ip.is_unspecified:
        return f"http://{host_name}:{port}"
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"


def add_route(app: Flask, logs: SerialLogs) -> None:
    """Answer for `logs` in `app`."""

    @app.get("/vm/<uuid:vm>/log")
    def serial_log(vm: object) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not logs.opens(token.strip(), str(vm)):
            return _say(401, "the token of this VM is required", {"WWW-Authenticate": "Bearer"})
        wanted = request.args.get("tail_bytes", str(DEFAULT_TAIL_BYTES))
        if not re.fullmatch(r"[0-9]{1,9}", wanted, re.ASCII) or not 1 <= int(wanted) <= MAX_TAIL_BYTES:
            return _say(422, f"tail_bytes: must be from 1 to {MAX_TAIL_BYTES}")
        end = logs.tail(str(vm), int(wanted))
        if end is None:
            return _say(404, "this VM has written no serial log on this host yet")
        return _say(200, end.decode("utf-8", "replace"))


def _say(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    response = Response(text, status, headers, content_type="text/plain; charset=utf-8")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
