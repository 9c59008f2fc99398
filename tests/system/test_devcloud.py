"""The cloud on one machine comes up, comes up again without harm, and goes without a trace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud import processes
from devcloud.cloud import Cloud, Shape
from devcloud.ports import free_port
from devcloud.programs import SCRIPTS
from tests.system.conftest import kept_logs


@pytest.fixture
def small_cloud() -> Iterator[Cloud]:
    cloud = Cloud(f"small-{os.getpid()}", Shape(hosts=1))
    yield cloud
    kept_logs(cloud)
    cloud.down()


def _trace(cloud: Cloud) -> str:
    """Everything that shows whether there is a cloud: namespaces, links, mounts, processes."""
    found = [subprocess.run(["ip", *show.split()], check=True, capture_output=True, text=True).stdout
             for show in ("netns list", "-o link show")]  # fmt: skip
    found.append(subprocess.run(["mount"], check=True, capture_output=True, text=True).stdout)
    lines = [line for line in "\n".join(found).splitlines() if cloud.name in line or cloud.network.link in line]
    pids = processes.with_variable("UCLOUD_DEV_CLOUD", f"{cloud.name}-{cloud.identity}")
    return "\n".join([*lines, *(f"process {pid}" for pid in pids if processes.is_alive(pid))])


def test_starting_it_again_leaves_what_runs_alone(small_cloud: Cloud) -> None:
    small_cloud.up()
    before = {program: small_cloud.pid(program) for program in small_cloud.programs()}
    small_cloud.up()
    assert {program: small_cloud.pid(program) for program in small_cloud.programs()} == before


def test_a_host_more_leaves_the_others_alone(small_cloud: Cloud) -> None:
    small_cloud.up()
    before = {program: small_cloud.pid(program) for program in small_cloud.programs()}
    larger = Cloud(small_cloud.name, Shape(hosts=2))
    larger.up()
    assert {program: larger.pid(program) for program in before} == before
    assert larger.pid("ucloud-vm@h2")


def test_down_leaves_nothing_even_after_the_service_manager_was_killed(small_cloud: Cloud) -> None:
    small_cloud.up()
    assert _trace(small_cloud)
    network, supervisord = small_cloud.network, small_cloud.services.pid()
    assert supervisord
    processes.send([supervisord], signal.SIGKILL)
    small_cloud.down()
    assert _trace(small_cloud) == ""
    assert network.pids() == set()
    assert not small_cloud.exists()
    small_cloud.down()


def test_it_comes_up_after_the_service_manager_was_killed(small_cloud: Cloud) -> None:
    small_cloud.up()
    supervisord = small_cloud.services.pid()
    assert supervisord
    processes.send([supervisord], signal.SIGKILL)
    processes.wait_until_gone([supervisord], timeout_s=5)
    small_cloud.up()
    assert small_cloud.services.pid()


def test_whoever_starts_it_is_logged_in_until_it_ends(small_cloud: Cloud, tmp_path: Path) -> None:
    contexts = tmp_path / "config/contexts.yaml"
    environment = os.environ | {"UCLOUD_CONTEXT_FILE": str(contexts)}
    port = str(free_port())

    def run(*command: str | Path) -> str:
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=180).stdout

    def devcloud(*arguments: str) -> str:
        return run(sys.executable, "-m", "devcloud", "--name", small_cloud.name, *arguments)

    def who(*options: str) -> tuple[str, bool]:
        me = json.loads(run(SCRIPTS / "ucloud", *options, "whoami", "-o", "json"))
        return me["user"], me["is_admin"]

    devcloud("up", "--no-vm", "--api-port", port)
    assert who() == ("alice", False)
    assert who("--context", f"{small_cloud.name}-admin") == ("admin", True)
    assert contexts.stat().st_mode & 0o777 == 0o600
    run(SCRIPTS / "ucloud", "logout")
    devcloud("up", "--no-vm", "--api-port", port)
    assert who() == ("alice", False), "logged in again"
    devcloud("down")
    assert not contexts.parent.exists()


def test_seeds_and_sessions_are_for_their_owner_s_eyes_only(small_cloud: Cloud) -> None:
    small_cloud.up()
    people = small_cloud.people.directory
    assert people.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in people.iterdir() if file.is_file()} == {0o600}
    secrets = [file.read_text().strip() for file in people.glob("*.seed")]
    assert len(secrets) == 3
    for log in small_cloud.services.log_directory.iterdir():
        assert not any(secret in log.read_text(errors="replace") for secret in secrets), log
