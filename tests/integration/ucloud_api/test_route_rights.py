"""Every route of the document, asked about a project's things by everybody: the answer is what its right says.

Whoever is refused changes nothing in etcd. A stranger is told of a project's things what is told of things that there
are not.
"""

import base64
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.cache import Cache
from common.schemas.file import UploadedFile
from common.schemas.project import Project
from common.schemas.role import MemberRole
from common.schemas.snapshot import SnapshotActual, SnapshotReport
from common.schemas.vm import Actual, Console
from devcloud.ports import free_port
from tests.integration.ucloud_api.world import NOBODY, World, bearer
from tests.unit.common.schemas.test_ssh_key import ED25519
from ucloud_api.access.sessions import digest, id_of
from ucloud_api.images import tus
from ucloud_api.route_rights import RIGHTS, Right
from ucloud_api.worker.state import State

PROJECT = "secret-project"
OWNER = f"project:{PROJECT}"
SPECS = {"cpu": 1, "ram": 1, "ssd": 4}
CALLERS = ("nobody", "stranger", "reader", "member", "owner", "admin")
OK = (200, 201, 202, 204)
ANSWERS: dict[Right, dict[str, int | None]] = {
    Right.PUBLIC: dict.fromkeys(CALLERS),
    Right.LOGGED_IN: {**dict.fromkeys(CALLERS), "nobody": 401},
    Right.READ: {**dict.fromkeys(CALLERS), "nobody": 401, "stranger": 404},
    Right.WRITE: {**dict.fromkeys(CALLERS), "nobody": 401, "stranger": 404, "reader": 403},
    Right.MANAGE: {"nobody": 401, "stranger": 404, "reader": 403, "member": 403, "owner": None, "admin": None},
    # What a user is asked about is the owner's.
    Right.SELF: {"nobody": 401, "stranger": 404, "reader": 404, "member": 404, "owner": None, "admin": None},
    Right.ADMIN: {**dict.fromkeys(CALLERS, 403), "nobody": 401, "admin": None},
}
"""By right and caller: the refusal; None: it is done."""
EXCEPTIONS: dict[tuple[str, str], int] = {
    # Where a project is named, a stranger is not told even that admins could.
    ("PATCH /v1/project/{name}", "stranger"): 404,
}
INSTEAD: dict[str, tuple[int, ...]] = {
    "POST /v1/session": (503,),  # there is no OTP server here
    "GET /v1/vm/{uuid}/log": (502,),  # nor a host
    "GET /v1/vm/{uuid}/screenshot": (502,),
    "GET /v1/vm/{uuid}/console": (400,),  # nor a connection that could become a websocket
    "GET /v1/rebalance": (404,),  # nor a scheduler
    "POST /v1/file": (503,),  # nor an upload server
    "DELETE /v1/file/{owner}/{name}": (503,),
    **{f"{method} /v1/file/{{owner}}/{{name}}/upload": (503,) for method in ("GET", "PATCH", "DELETE")},
    "POST /v1/host/{name}/confirm-dead": (409,),  # it is not silent
}
"""What those are answered who may, where it can't be done here."""
HEADERS = {
    "GET /v1/vm/{uuid}/console": {"Connection": "Upgrade", "Upgrade": "websocket"},
    "POST /v1/file": {tus.LENGTH: "1", tus.METADATA: f"filename {base64.b64encode(b'f').decode()}"},
    "PATCH /v1/file/{owner}/{name}/upload": {tus.OFFSET: "0", "Content-Type": "application/offset+octet-stream"},
}


def _bodies(number: int) -> dict[str, Any]:
    """A body for each route that takes one."""
    name, now = f"new-{number}", datetime.now(UTC).isoformat()
    return {
        "POST /v1/session": {"name": "owner", "token": "123456"},
        "POST /v1/user": {"name": name},
        "PATCH /v1/user/{name}": {"enabled": True},
        "POST /v1/user/{name}/ssh-key": {"name": name, "key": ED25519},
        "POST /v1/project": {"name": name},
        "PATCH /v1/project/{name}": {"quota": {"vms": 500 + number}},
        "POST /v1/project/{name}/member": {"user": "stranger"},
        "PATCH /v1/project/{name}/member/{user}": {"role": "member"},
        "POST /v1/vm": {"name": name, "specs": SPECS, "image": "debian", "owner": OWNER},
        "POST /v1/image": {"name": name, "file": "f", "owner": OWNER},
        "POST /v1/network": {"name": name, "owner": OWNER},
        "POST /v1/security-group": {"name": name, "owner": OWNER},
        "PATCH /v1/vm/{uuid}": {"name": name},
        "PATCH /v1/image/{uuid}": {"name": name},
        "PATCH /v1/network/{uuid}": {"name": name},
        "PATCH /v1/security-group/{uuid}": {"name": name},
        "POST /v1/vm/{uuid}/port": {"network": "secret-net"},
        "POST /v1/vm/{uuid}/disk": {"kind": "ssd", "size": 1},
        "PATCH /v1/vm/{uuid}/disk/{serial}": {"size": 2},
        "POST /v1/vm/{uuid}/snapshot": {"name": name},
        "POST /v1/vm/{uuid}/migrate": {"to": "h2"},
        "PATCH /v1/host/{name}": {"labels": {"number": str(number)}},
        "POST /v1/host/{name}/confirm-dead": {"since": now},
        "POST /v1/doctor": {},
    }


@dataclass
class Cloud:
    """The API with a project, its members, and things of all kinds that are made anew for each request."""

    client: FlaskClient
    world: World
    state: State
    numbers: Iterator[int] = field(default_factory=itertools.count)
    sessions: dict[str, dict[str, str]] = field(default_factory=lambda: {"nobody": {}})

    def plant(self) -> None:
        """A project with three members and a quota, hosts, users."""
        for name in ("stranger", "reader", "member", "owner", "temp"):
            self.world.add_account(name)
        self.world.add_account("admin", is_admin=True)
        self.world.add_image()
        for host in ("h1", "h2"):
            self.world.add_host(host)
        self.write_project()
        self.settle()
        made = self.ask("owner", "POST", "/v1/network", {"name": "secret-net", "owner": OWNER})
        assert made.status_code == 201

    def write_project(self, name: str = PROJECT) -> None:
        """The project as it is at first."""
        members = {
            "reader": MemberRole.READER,
            "member": MemberRole.MEMBER,
            "owner": MemberRole.OWNER,
            "temp": MemberRole.MEMBER,
        }
        self.world.put(keys.project(name), Project(name=name, members=members, created_at=datetime.now(UTC)))

    def ask(self, caller: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """What somebody is answered; who is nobody has no session."""
        session = self.sessions.setdefault(caller, {}) or (
            {} if caller == "nobody" else bearer(self.world.log_in(caller))
        )
        self.sessions[caller] = {} if (method, path) == ("DELETE", "/v1/session") else session
        options = {} if body is None else {"json": body}
        headers = {**session, **(headers or {})}
        return self.client.open(path, method=method, headers=headers, **options)

    def parameters(self, route: str) -> dict[str, str]:
        """A thing of the project, new, for the path of a route."""
        number, kind = next(self.numbers), route.split("/")[2]
        match kind:
            case "user":
                return self._user(route, number)
            case "file":
                return self._file(number)
            case "project":
                return self._project(route, number)
            case "host":
                return {"name": "h1"}
            case "image":
                return {"uuid": self.world.add_image(f"secret-image-{number}", owner=OWNER, public=False)}
            case "network" | "security-group":
                made = self.ask("owner", "POST", f"/v1/{kind}", {"name": f"secret-{number}", "owner": OWNER})
                return {"uuid": made.get_json()["uuid"]}
            case "vm":
                return self._vm(route, number)
        return {}

    def _user(self, route: str, number: int) -> dict[str, str]:
        if "ssh-key" in route:
            key = {"name": f"key-{number}", "key": ED25519}
            assert self.ask("owner", "POST", "/v1/user/owner/ssh-key", key).status_code == 201
        elif route == "DELETE /v1/user/{name}/session/{id}":
            of_token = keys.session(digest(self.world.log_in("owner")))
            return {"name": "owner", "id": id_of(of_token)}
        elif route == "DELETE /v1/user/{name}":
            self.world.add_account(f"user-{number}")
            return {"name": f"user-{number}"}
        return {"name": "owner", "key_name": f"key-{number}"}

    def _file(self, number: int) -> dict[str, str]:
        name, now = f"secret-file-{number}", datetime.now(UTC)
        file = UploadedFile(owner="owner", name=name, size_bytes=1, sha256="ab", modified_at=now, stamp="1")
        self.world.put(keys.file("owner", name), file)
        return {"owner": "owner", "name": name}

    def _project(self, route: str, number: int) -> dict[str, str]:
        self.write_project()
        if route == "DELETE /v1/project/{name}":
            self.write_project(f"empty-{number}")
            return {"name": f"empty-{number}"}
        return {"name": PROJECT, "user": "temp"}

    def _vm(self, route: str, number: int) -> dict[str, str]:
        body = {"name": f"secret-vm-{number}", "specs": {**SPECS, "hdd": 1}, "image": "debian", "owner": OWNER}
        made = self.ask("owner", "POST", "/v1/vm", body | {"networks": [{"network": "secret-net"}]}).get_json()
        uuid: str = made["uuid"]
        actual = Actual.STOPPED if route.endswith("/start") else Actual.RUNNING
        actual = Actual.SUSPENDED if route.endswith("/resume") else actual
        snapshots = self._snapshots(uuid) if "{snapshot}" in route else ()
        self.world.place(uuid)
        door = Console(url=f"http://[::1]:{free_port()}/{uuid}", token="t" * 32)
        actual = Actual.STOPPED if route.endswith("/rollback") else actual
        self.world.report(uuid, actual, console=door, snapshots=snapshots)
        of_it = {"id": made["ports"][0]["id"], "serial": made["disks"][1]["serial"]}
        return {"uuid": uuid, "snapshot": "secret-snapshot", **of_it}

    def _snapshots(self, uuid: str) -> tuple[SnapshotReport, ...]:
        """A VM gets a snapshot, of which its host says this."""
        asked = self.ask("owner", "POST", f"/v1/vm/{uuid}/snapshot", {"name": "secret-snapshot"}).get_json()
        return (SnapshotReport(id=asked["snapshots"][0]["id"], actual=SnapshotActual.READY),)

    def settle(self) -> None:
        """Wait until the API knows what was written past it."""
        state = self.state
        of_images, of_vms = (state.images, state.image_statuses), (state.placements, state.vm_statuses)
        caches: tuple[Cache[Any], ...] = (state.accounts, state.projects, state.host_statuses, *of_images, *of_vms)
        for cache in caches:
            newest = max((entry.mod_revision for entry in self.world.store.list(cache.prefix).entries), default=0)
            assert cache.wait_revision(newest, 10), cache.prefix

    def all_keys(self) -> dict[str, bytes]:
        """What is in etcd, but who is logged in."""
        entries = self.world.store.list(keys.ROOT).entries
        return {entry.key: entry.value for entry in entries if not entry.key.startswith(keys.SESSION)}


@pytest.fixture
def cloud(nobody: FlaskClient, world: World, state: State) -> Cloud:
    cloud = Cloud(nobody, world, state)
    cloud.plant()
    return cloud


def _routes(client: FlaskClient) -> list[tuple[str, Right]]:
    """All routes of the document, with their rights."""
    document = client.get("/openapi/openapi.json").get_json()
    return [
        (f"{method.upper()} {path}", Right(operation["x-right"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _asked(cloud: Cloud, caller: str, route: str, parameters: dict[str, str]) -> Any:
    method, template = route.split()
    body = _bodies(next(cloud.numbers)).get(route)
    return cloud.ask(caller, method, template.format(**parameters), body, HEADERS.get(route))


def test_each_route_is_for_whom_its_right_says(cloud: Cloud) -> None:
    routes = _routes(cloud.client)
    assert {route for route, _ in routes} == set(RIGHTS)
    for route, right in routes:
        for caller in CALLERS:
            refusal = EXCEPTIONS.get((route, caller), ANSWERS[right][caller])
            parameters = cloud.parameters(route)
            cloud.settle()
            before = cloud.all_keys()
            answer = _asked(cloud, caller, route, parameters)
            what = f"{caller}: {route}: {answer.status_code} {answer.text}"
            if refusal is None:
                assert answer.status_code in INSTEAD.get(route, OK), what
            else:
                assert answer.status_code == refusal, what
                assert cloud.all_keys() == before, what


def test_a_stranger_can_t_tell_that_anything_is_there(cloud: Cloud) -> None:
    for route, right in _routes(cloud.client):
        shown = cloud.parameters(route)
        cloud.settle()
        answer = _asked(cloud, "stranger", route, shown)
        if right is Right.LOGGED_IN:
            assert "secret" not in answer.text, route
        elif right is not Right.SELF and "{" in route and "/host/" not in route and "/user/" not in route:
            none = {
                "uuid": NOBODY,
                "id": "0123456789",
                "serial": "hdd",
                "snapshot": "s",
                "name": "nonesuch",
                "user": "temp",
            }
            nothing = _asked(cloud, "stranger", route, none)
            told = nothing.text.replace(NOBODY, shown.get("uuid", "")).replace("nonesuch", shown.get("name", ""))
            assert (answer.status_code, answer.text) == (nothing.status_code, told), route
            assert dict(answer.headers) == dict(nothing.headers) | {"Content-Length": answer.headers["Content-Length"]}
