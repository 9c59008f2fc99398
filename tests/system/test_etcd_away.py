"""etcd as a whole does not answer: guests run on, everybody says so plainly, and afterwards all is as before.

Guests of VMs that are highly available would end, if that takes long: test_never_twice.py.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest
import requests

from devcloud.cloud import Cloud
from devcloud.programs import SCRIPTS
from devcloud.waiting import wait_for
from tests.system import world

SPECS = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1", "--no-ha")


@pytest.fixture
def vm(ucloud: Callable[..., str], guest_image: str) -> Iterator[str]:
    """The uuid of a running VM."""
    created = ucloud("vm", "create", "--name", "patient", "--image", guest_image, *SPECS, "--wait", "-o", "json")
    yield json.loads(created)["uuid"]
    ucloud("vm", "delete", "patient", "--wait")


@pytest.mark.timeout(180)
def test_guests_run_on_and_everybody_says_what_is_wrong(cloud: Cloud, ucloud: Callable[..., str], vm: str) -> None:
    members = [program for program in cloud.programs() if program.startswith("etcd")]
    (pid,) = world.qemu_pids(cloud, vm)
    for member in members:
        cloud.pause(member)
    try:
        specs = {"cpu": 1, "ram": 1, "ssd": 1}
        body = {"name": "n", "image": "guest", "specs": specs}
        answer = requests.post(f"{cloud.url}/v1/vm", json=body, headers=cloud.headers(), timeout=30)
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        command = [str(SCRIPTS / "ucloud"), "vm", "delete", "patient"]
        said = subprocess.run(command, env=cloud.env(), capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 6, "what it needs does not answer"
        # Of each try it says one line.
        assert all("etcd does not answer" in line for line in said.stderr.splitlines())
        assert "Traceback" not in said.stderr
        for daemon in ("ucloud-vm@h1", "ucloud-scheduler"):
            url = cloud.health_url(daemon)
            wait_for(f"{daemon} unwell", lambda url=url: requests.get(url, timeout=20).status_code == 503, 30)  # type: ignore[misc]
        assert world.qemu_pids(cloud, vm) == {pid}
    finally:
        for member in members:
            cloud.resume(member)
    for program in ("ucloud-api", "ucloud-scheduler", "ucloud-vm@h1", "ucloud-vm@h2", "ucloud-vm@h3"):
        cloud.wait_healthy(program)
    wait_for("the VM RUNNING", lambda: json.loads(ucloud("vm", "show", vm, "-o", "json"))["status"] == "RUNNING", 30)
    assert world.qemu_pids(cloud, vm) == {pid}
