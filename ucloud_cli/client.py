"""HTTP to the API: requests, answers, problems (RFC 9457) and server-sent events."""

import json
import re
from collections.abc import Iterator
from typing import Any

import requests

from ucloud_cli.errors import ApiAway, CliError, Misused, NotFound

Resource = dict[str, Any]

_TIMEOUT_S = (5.0, 30.0)
# The API sends a sign of life each 15 s; a stream that is silent for longer is dead.
_STREAM_TIMEOUT_S = (5.0, 40.0)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_OPTIONS = {"name": "--name", "image": "--image", "owner": "--owner", "file": "--file", "state": "--state"}


class Client:
    """The API at one URL. Every failure is a CliError whose text is fit for the user."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if not re.match(r"https?://[^/]", self.url):
            raise Misused(f'"{url}" is no URL of an API; --url or UCLOUD_URL takes one like http://[::1]:8080')
        self._session = requests.Session()
        # The URL says who is spoken to: no proxy and no .netrc steps in between.
        self._session.trust_env = False

    def get(self, path: str, **parameters: object) -> Resource:
        """The resource at `path`."""
        return self._json(self._send("GET", path, parameters))

    def text(self, path: str, **parameters: object) -> bytes:
        """What is at `path`, as it is."""
        return self._send("GET", path, parameters).content

    def send(self, method: str, path: str, body: Resource | None = None) -> Resource:
        """Change what is at `path`; returns the resource."""
        return self._json(self._send(method, path, body=body))

    def all(self, path: str, **parameters: object) -> list[Resource]:
        """All items of a list, page by page."""
        items: list[Resource] = []
        while True:
            page = self.get(path, **parameters)
            items.extend(page["items"])
            if not page.get("next_cursor"):
                return items
            parameters["cursor"] = page["next_cursor"]

    def find(self, kind: str, name: str) -> Resource:
        """The VM or image (`kind` vm, image) of a uuid or a name."""
        path, noun = f"/v1/{kind}", "VM" if kind == "vm" else kind
        if _UUID.fullmatch(name):
            return self.get(f"{path}/{name}")
        try:
            found = self.all(path, name=name)
        except Misused:
            found = []  # not even a possible name
        if not found:
            raise NotFound(f'there is no {noun} "{name}" (ucloud {kind} list shows them)')
        if len(found) > 1:
            which = ", ".join(f"{each['uuid']} of {each['owner']}" for each in found)
            raise CliError(f'"{name}" is the name of {len(found)} {noun}s, name one by its uuid: {which}')
        return found[0]

    def events(self, path: str) -> Iterator[Resource | None]:
        """The resource at `path`, now and at each change; None when it is gone. Ends when the API ends the stream."""
        with self._send("GET", path, {"watch": 1}, stream=True) as reply:
            event = ""
            try:
                for line in reply.iter_lines(chunk_size=None, decode_unicode=True):
                    if line.startswith("event:"):
                        event = line.removeprefix("event:").strip()
                    elif line.startswith("data:"):
                        yield None if event == "deleted" else json.loads(line.removeprefix("data:"))
                    elif not line:
                        event = ""
            except (requests.RequestException, ValueError) as error:
                raise ApiAway(f"the API at {self.url} ended the stream") from error

    def _send(
        self,
        method: str,
        path: str,
        parameters: dict[str, object] | None = None,
        body: Resource | None = None,
        stream: bool = False,
    ) -> requests.Response:
        chosen = {key: str(value) for key, value in (parameters or {}).items() if value is not None}
        timeout_s = _STREAM_TIMEOUT_S if stream else _TIMEOUT_S
        try:
            reply = self._session.request(
                method, self.url + path, params=chosen, json=body, timeout=timeout_s, stream=stream
            )
        except requests.exceptions.InvalidURL as error:
            raise Misused(f'"{self.url}" is no URL of an API; --url or UCLOUD_URL names one') from error
        except requests.exceptions.ReadTimeout as error:
            raise ApiAway(f"the API at {self.url} did not answer within {timeout_s[1]:.0f} s") from error
        except requests.RequestException as error:
            raise ApiAway(
                f"the API at {self.url} can't be reached; is ucloud-api running? (--url or UCLOUD_URL names another)"
            ) from error
        if not reply.ok:
            raise self._error(reply)
        return reply

    def _json(self, reply: requests.Response) -> Resource:
        try:
            resource = reply.json()
        except ValueError as error:
            raise self._strange(reply) from error
        if not isinstance(resource, dict):
            raise self._strange(reply)
        return resource

    def _strange(self, reply: requests.Response) -> CliError:
        return CliError(f"what answers at {self.url} ({reply.status_code}) is not the API of ucloud")

    def _error(self, reply: requests.Response) -> CliError:
        try:
            problem = reply.json()
            message = _describe(problem)
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._strange(reply)
        if reply.status_code == requests.codes.service_unavailable:
            later = reply.headers.get("Retry-After", "a few")
            return ApiAway(f"{message}; try again in {later} s (API at {self.url})")
        return {404: NotFound, 422: Misused}.get(reply.status_code, CliError)(message)


def _describe(problem: Resource) -> str:
    """A problem in one line: of a 422 each field as the option that sets it, of all others the detail."""
    if problem["status"] != 422 or not problem.get("errors"):
        return str(problem.get("detail") or problem["title"])
    lines = []
    for error in problem["errors"]:
        field = str(error["field"])
        option = f"--{field.removeprefix('specs.')}" if field.startswith("specs.") else _OPTIONS.get(field, field)
        allowed = error.get("allowed")
        if isinstance(allowed, list):
            allowed = ", ".join(allowed)
        lines.append(f"{option} {error['problem']}" + (f" (allowed: {allowed.rstrip('.')})" if allowed else ""))
    return "; ".join(lines)
