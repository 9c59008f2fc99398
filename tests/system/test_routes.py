"""Whoever is outside reaches each VM by the router, on whichever host it is, and where it moves to."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.people import USER
from devcloud.waiting import wait_for
from tests.system.conftest import running_cloud

UP_S = 120.0
FOLLOW_S = 10.0


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """As `make up HOSTS=2` makes it."""
    with running_cloud("routes", Shape(hosts=2, networks=True)) as cloud:
        first_vm.boot(cloud, lambda _: None)
        yield cloud


def _where(cloud: Cloud, vm: str) -> tuple[str, str]:
    """A VM's host and address."""
    shown = json.loads(first_vm.ucloud(cloud, "vm", "show", vm, "-o", "json", user=USER))
    return shown["hostname"].rpartition("/")[2], shown["ports"][0]["ipv6"]


def _wait_let_in(cloud: Cloud, vm: str, timeout_s: float) -> None:
    command = [*first_vm.ssh(cloud, _where(cloud, vm)[1]), "hostname"]

    def hostname() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip() == vm

    wait_for(f"{vm} letting {USER} in", hostname, timeout_s)


def test_this_machine_reaches_vms_on_each_host_and_one_that_moved(cloud: Cloud) -> None:
    host, _ = _where(cloud, "first")
    other = {"h1": "h2", "h2": "h1"}[host]
    first_vm.ucloud(cloud, "host", "set", other, "--label", "side=other")
    specs = ("--image", first_vm.IMAGE, "--network", first_vm.NETWORK, "--cpu", "1", "--ram", "128MiB", "--ssd", "1")
    first_vm.ucloud(cloud, "vm", "create", "second", *specs, "--host-label", "side=other", user=USER)
    assert _where(cloud, "second")[0] == other
    _wait_let_in(cloud, "second", UP_S)
    first_vm.ucloud(cloud, "vm", "migrate", "first", "--to", other)
    assert _where(cloud, "first")[0] == other
    _wait_let_in(cloud, "first", FOLLOW_S)
