"""The cloud on one machine comes up, comes up again without harm, and goes without a trace."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from devcloud import processes
from devcloud.cloud import Cloud, Shape
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
