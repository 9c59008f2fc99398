"""The real ucloud-otp as a process of a test, and the people who have one-time tokens of it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from common.store import Store
from devcloud.ports import free_port
from tests.integration.daemons import DaemonProcess
from ucloud_otp.entries import Entries
from ucloud_otp.totp import STEP_S, token_at


class OtpServer:
    """A process of ucloud-otp on an etcd. It ends with `close`, which also looks at what it logged."""

    def __init__(self, endpoints: tuple[str, ...], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://[::1]:{self.port}/ungleichotp/"
        environment = {"UCLOUD_ETCD_ENDPOINTS": ",".join(endpoints), "UCLOUD_OTP_PORT": str(self.port)}
        self.daemon = DaemonProcess("ucloud_otp", log, environment)
        self.daemon.port = self.port

    def verify(self, **body: object) -> requests.Response:
        """Ask for a verification."""
        return requests.post(f"{self.url}verify/", json=body, timeout=20)

    def ask(self, method: str, path: str = "", **body: object) -> requests.Response:
        """Any other question, with a JSON body."""
        headers = {"Content-Type": "application/json"}
        return requests.request(method, f"{self.url}{path}", data=json.dumps(body), headers=headers, timeout=20)


class Person:
    """A name of a realm with its seed."""

    def __init__(self, store: Store, name: str, realm: str) -> None:
        self.name = name
        self.realm = realm
        self.seed = Entries(store).create(name, realm)[1].seed

    def token(self, steps: int = 0) -> str:
        """The token of now, or of so many steps later."""
        return token_at(self.seed, datetime.now(UTC) + timedelta(seconds=STEP_S * steps))

    def wrong_token(self) -> str:
        """Digits that are nobody's token around now."""
        near = {self.token(steps) for steps in range(-6, 7)}
        return next(digits for digits in (f"{number:06}" for number in range(100)) if digits not in near)

    def as_caller(self, token: str | None = None) -> dict[str, Any]:
        """The fields of a caller, as v0.6 has them."""
        return {"name": self.name, "realm": self.realm, "token": token or self.token()}

    def as_auth(self, token: str | None = None) -> dict[str, Any]:
        """The fields of a caller, as later clients have them."""
        return {f"auth_{field}": value for field, value in self.as_caller(token).items()}

    def as_subject(self, token: str | None = None) -> dict[str, Any]:
        """The fields of somebody who is verified, as v0.6 has them."""
        return {f"verify{field}": value for field, value in self.as_caller(token).items()}
