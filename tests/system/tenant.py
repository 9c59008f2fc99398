"""A tenant's program: asks for things until the API has them, and follows its VMs by the stream of events."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import requests

from devcloud.errors import DeadlineExceeded

Vm = dict[str, Any]
_ASK_AGAIN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_TIMEOUT_S = (5, 20)
_STREAM_TIMEOUT_S = (5, 40)


class Tenant:
    """One user with one token. `with` it, the VMs are followed by a stream that goes on where it broke off."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._condition = threading.Condition()
        self._vms: dict[str, Vm] = {}
        self._gone: set[str] = set()
        self._last_event_id = ""
        self._stop = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self.streams = 0
        self.repeats = 0

    def __enter__(self) -> "Tenant":
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, timeout_s: float = 90.0) -> requests.Response:
        """The answer to a request, which is repeated, with the same idempotency key, until there is one."""
        headers = {**self._headers, "Idempotency-Key": str(uuid.uuid4())} if method == "POST" else self._headers
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                answer = requests.request(
                    method, self._url + path, json=body, headers=headers, timeout=_TIMEOUT_S, stream=False
                )
            except requests.RequestException:
                answer = None
            if answer is not None and answer.status_code not in _ASK_AGAIN:
                return answer
            self.repeats += 1
            self._stop.wait(0.2)
        raise DeadlineExceeded(f"{method} {path} had no answer for {timeout_s:g} s")

    def create(self, name: str, image: str, specs: dict[str, Any]) -> str:
        """Ask for a VM; returns its uuid."""
        answer = self.ask("POST", "/v1/vm", {"name": name, "image": image, "specs": specs})
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        return str(answer.json()["uuid"])

    def request(self, vm: str, verb: str, body: Any = None, timeout_s: float = 90.0) -> None:
        """Ask a verb of a VM; while the state that it is in does not allow it, ask again when that has changed."""
        deadline = time.monotonic() + timeout_s
        while True:
            before = self.seen(vm)
            if verb == "delete":
                answer = self.ask("DELETE", f"/v1/vm/{vm}")
            else:
                answer = self.ask("POST", f"/v1/vm/{vm}/{verb}", body)
            if answer.status_code != HTTPStatus.CONFLICT:
                break
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{verb} of {vm} was refused for {timeout_s:g} s: {answer.text}")
            with self._condition:
                self._condition.wait_for(lambda: self._vms.get(vm) != before, 1)  # noqa: B023 - called at once
        if verb == "delete" and answer.status_code == HTTPStatus.NOT_FOUND:
            return  # a repetition of one whose answer was lost
        assert answer.status_code == HTTPStatus.ACCEPTED, f"{verb}: {answer.text}"

    # --- following ----------------------------------------------------------------------------------------------------

    def seen(self, vm: str) -> Vm | None:
        """What the stream last said of a VM."""
        with self._condition:
            return self._vms.get(vm)

    def wait(self, vm: str, what: str, reached: Callable[[Vm], bool], timeout_s: float = 120.0) -> Vm:
        """Wait until the stream shows a VM as `reached` says."""
        with self._condition:
            if not self._condition.wait_for(lambda: vm in self._vms and reached(self._vms[vm]), timeout_s):
                raise DeadlineExceeded(f"VM {vm} is not {what} after {timeout_s:g} s: {self._vms.get(vm)}")
            return self._vms[vm]

    def wait_status(self, vm: str, status: str, timeout_s: float = 120.0) -> Vm:
        """Wait until a VM is in a state, and its host has seen the latest request."""

        def reached(resource: Vm) -> bool:
            return bool(resource["status"] == status and resource["observed_generation"] == resource["generation"])

        return self.wait(vm, status, reached, timeout_s)

    def wait_gone(self, vm: str, timeout_s: float = 120.0) -> None:
        """Wait until the stream says that a VM is no more."""
        with self._condition:
            if not self._condition.wait_for(lambda: vm in self._gone, timeout_s):
                raise DeadlineExceeded(f"VM {vm} is still there after {timeout_s:g} s: {self._vms.get(vm)}")

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                for event, number, data in self._events():
                    self._enter(event, number, data)
            except (requests.RequestException, ValueError):
                pass  # it broke off: the next one goes on from the last event
            self._stop.wait(0.2)

    def _events(self) -> Iterator[tuple[str, str, str]]:
        headers = {**self._headers, **({"Last-Event-ID": self._last_event_id} if self._last_event_id else {})}
        with requests.get(
            f"{self._url}/v1/vm?watch=1", headers=headers, stream=True, timeout=_STREAM_TIMEOUT_S
        ) as answer:
            answer.raise_for_status()
            self.streams += 1
            fields: dict[str, str] = {}
            for line in answer.iter_lines(chunk_size=None, decode_unicode=True):
                if self._stop.is_set():
                    return
                if line:
                    field, _, value = line.partition(": ")
                    fields[field] = value
                else:
                    yield fields.get("event", ""), fields.get("id", ""), fields.get("data", "")
                    fields = {}

    def _enter(self, event: str, number: str, data: str) -> None:
        with self._condition:
            if event == "reset":
                # All that is follows; what is not among it is gone. Whoever waits for that asks the API at the end.
                self._gone.update(self._vms)
                self._vms.clear()
            elif event == "deleted":
                gone = json.loads(data)["uuid"]
                self._vms.pop(gone, None)
                self._gone.add(gone)
            elif data:
                resource = json.loads(data)
                self._vms[resource["uuid"]] = resource
                self._gone.discard(resource["uuid"])
            self._last_event_id = number or self._last_event_id
            self._condition.notify_all()
