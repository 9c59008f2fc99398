"""All routes as their document describes them, asked by nobody, users and an admin: no 5xx, and nothing of others.

Each owner's things have names and uuids that nobody else may ever be shown: they are looked for in every answer.
"""

import base64
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from common import keys
from common.schemas.file import UploadedFile
from common.schemas.owner import project_owner
from common.schemas.project import Project
from common.schemas.role import MemberRole
from common.schemas.user import Quota
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World, bearer
from tests.integration.ucloud_otp_server import OtpServer
from tests.integration.upload_server import SftpServer, SftpUsers
from tests.unit.common.schemas.test_ssh_key import ED25519
from ucloud_api.images import tus

EXAMPLES = 12
SLOW = {"GET /v1/doctor": 2, "POST /v1/doctor": 2}
"""How many examples of what takes its time, and knows no variety."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SPECS = {"cpu": 1, "ram": 1, "ssd": 4}
schemathesis.openapi.media_type(tus.MEDIA_TYPE, strategies.binary(max_size=64))
CALLERS = ("nobody", "ann", "bob", "admin")


@dataclass
class Cloud:
    """The program, with what each of its users owns."""

    url: str
    world: World
    canaries: dict[str, set[str]] = field(default_factory=dict)
    """By owner: the names and uuids of its things."""
    uuids: list[str] = field(default_factory=list)

    def plant(self, owner: str) -> None:
        """Two VMs, one of which runs, a private image, files, a network, a security group, an ssh key, a project."""
        headers = bearer(self.world.log_in(owner))
        image = self.world.add_image(f"canary-image-of-{owner}", owner=owner, public=False)
        planted = {f"canary-image-of-{owner}", image}

        def make(path: str, **body: object) -> dict[str, Any]:
            answer = requests.post(f"{self.url}/v1/{path}", json=body, headers=headers, timeout=10)
            assert answer.status_code in (201, 202), answer.text
            made: dict[str, Any] = answer.json()
            planted.update(str(made[field]) for field in ("name", "uuid") if field in made)
            self.uuids += [made["uuid"]] if "uuid" in made else []
            return made

        project = f"canary-project-of-{owner}"
        self.world.put(
            keys.project(project),
            Project(name=project, members={owner: MemberRole.OWNER}, created_at=datetime.now(UTC)),
        )
        wait_for("the project", lambda: self.is_member(project, headers), 10)
        shared = make("network", name=f"canary-net-of-{project}", owner=project_owner(project))
        planted |= {project, shared["prefix"]}
        network = make("network", name=f"canary-net-of-{owner}")
        group = make("security-group", name=f"canary-group-of-{owner}", rules=[{"protocol": "icmp"}])
        key = make(
            f"user/{owner}/ssh-key", name=f"canary-key-of-{owner}", key=ED25519.replace("ann@", f"canary-{owner}@")
        )
        planted |= {network["prefix"], key["key"].split()[2], *self._plant_files(owner, headers)}
        for number in range(2):
            wanted = [{"network": network["uuid"], "security_groups": [group["uuid"]]}] if number else []
            body = {"name": f"canary-{number}-of-{owner}", "specs": SPECS, "image": "debian", "networks": wanted}
            planted |= set(make("vm", **body)["addresses"])
        self.world.run(self.uuids[-1])
        self.canaries[owner] = planted
        self.uuids.append(image)

    def is_member(self, project: str, headers: dict[str, str]) -> bool:
        """Whether a project is known, whichever worker answers."""
        asked = (requests.get(f"{self.url}/v1/project/{project}", headers=headers, timeout=10) for _ in range(12))
        return all(answer.ok for answer in asked)

    def _plant_files(self, owner: str, headers: dict[str, str]) -> tuple[str, str]:
        """A file that is whole, and an upload under way."""
        whole, part = f"canary-file-of-{owner}", f"canary-part-of-{owner}"
        record = UploadedFile(
            owner=owner, name=whole, size_bytes=1, sha256="ab", modified_at=datetime.now(UTC), stamp="1"
        )
        self.world.put(keys.file(owner, whole), record)
        metadata = f"filename {base64.b64encode(part.encode()).decode()}"
        begun = requests.post(
            f"{self.url}/v1/file", headers={**headers, tus.LENGTH: "9", tus.METADATA: metadata}, timeout=10
        )
        assert begun.status_code == 201, begun.text
        return whole, part

    def headers_of(self, caller: str) -> dict[str, str]:
        """A session of the caller's."""
        return {} if caller == "nobody" else bearer(self.world.log_in(caller))


@pytest.fixture
def cloud(etcd: EtcdCluster, world: World, tmp_path: Path) -> Iterator[Cloud]:
    otp = OtpServer(etcd.endpoints, tmp_path / "otp.log")
    port = free_port()
    seed_file = tmp_path / "seed"
    seed_file.write_text("JBSWY3DPEHPK3PXP")
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_API_PORT": str(port),
        "UCLOUD_OTP_URL": f"{otp.url}verify/",
        "UCLOUD_OTP_SEED_FILE": str(seed_file),
    }
    server = SftpServer(SftpUsers(world.store, tmp_path), tmp_path, etcd)
    daemon = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
    daemon.port = port
    try:
        otp.daemon.wait_healthy()
        server.wait_healthy()
        daemon.wait_healthy()
        world.add_host()
        world.add_account("admin", is_admin=True)
        world.add_image()
        for owner in ("ann", "bob"):
            quota = Quota(vms=50, cpu=500, ram_mib=2**30, ssd_mib=2**40, hdd_mib=2**40, networks=500)
            world.add_account(owner, quota=quota)
        cloud = Cloud(f"http://[::1]:{port}", world)
        for owner in ("ann", "bob"):
            cloud.plant(owner)
        yield cloud
    finally:
        daemon.close()
        server.close()
        otp.daemon.close()


class Asker:
    """Somebody who asks for all that the document describes, with made-up input."""

    def __init__(self, cloud: Cloud, caller: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._cloud = cloud
        self._caller = caller
        self._session = requests.Session()
        self._headers = cloud.headers_of(caller)
        self._dice = random.Random(11)  # noqa: S311
        owners = [owner for owner in cloud.canaries if caller not in (owner, "admin")]
        self._secrets = set[str]().union(*(cloud.canaries[owner] for owner in owners))

    def ask_all(self) -> None:
        """Try each operation."""
        schema = schemathesis.openapi.from_url(f"{self._cloud.url}/openapi/openapi.json")
        for found in schema.get_all_operations():
            assert not isinstance(found, Err), found
            self._try(found.ok())

    def _logged_in(self) -> dict[str, str]:
        """The caller's session; another one when a question has ended it. Of new ones a worker lets in 60 a minute."""
        url = f"{self._cloud.url}/v1/session"
        if self._headers and self._session.get(url, headers=self._headers, timeout=10).status_code == 401:
            self._headers = self._cloud.headers_of(self._caller)
        return self._headers

    def _try(self, operation: Any) -> None:
        ends_session = operation.label == "DELETE /v1/session"
        headers = self._logged_in()

        @settings(
            max_examples=SLOW.get(operation.label, EXAMPLES),
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[*HealthCheck],
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            self._ask(case, self._logged_in() if ends_session else headers)

        ask()

    def _ask(self, case: Any, headers: dict[str, str]) -> None:
        if "uuid" in (case.path_parameters or {}) and self._dice.random() < 0.6:
            case.path_parameters["uuid"] = self._dice.choice(self._cloud.uuids)
        if case.query:
            case.query.pop("watch", None)  # a stream has no end
        case.headers.pop("Authorization", None)
        answer = case.call(session=self._session, headers=headers)
        self.statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        said = f"{case.path_parameters} {case.query} {case.body}"
        shown = answer.text + str(answer.headers)
        leaked = [secret for secret in self._secrets if secret in shown and secret not in said]
        assert not leaked, (self._caller, case.method, case.path, answer.status_code, answer.text)


def test_whoever_asks_whatever_gets_an_answer_and_nothing_of_others(cloud: Cloud) -> None:
    for caller in CALLERS:
        asker = Asker(cloud, caller)
        asker.ask_all()
        statuses = asker.statuses
        assert not {status for status in statuses if status >= 500} - {503}, statuses
        if caller == "nobody":
            assert set(statuses) <= {401, 422, 429}, statuses
        else:
            assert {200, 202, 404, 422} <= set(statuses), statuses


def test_streams_tell_nothing_of_others(cloud: Cloud) -> None:
    kinds = (f"/v1/{kind}?watch=1" for kind in ("vm", "image", "network", "security-group"))
    for path in (*kinds, *(f"/v1/{kind}/{cloud.uuids[0]}?watch=1" for kind in ("vm", "network"))):
        for caller in ("ann", "bob"):
            for last_event_id in ("1", "x", ""):
                headers = {**cloud.headers_of(caller), "Last-Event-ID": last_event_id}
                with requests.get(cloud.url + path, headers=headers, stream=True, timeout=10) as reply:
                    told = next(reply.iter_content(65536, decode_unicode=True), "") if reply.ok else ""
                others = cloud.canaries["bob" if caller == "ann" else "ann"]
                assert not [canary for canary in others if canary in str(told)]
    assert uuid.UUID(cloud.uuids[0])
