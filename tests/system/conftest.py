"""Fixtures of the system tests: a whole cloud of three hosts, whose parts a test may kill, and real guests on it."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from tests.integration.slapd import Slapd, running_slapd

_LOGS = Path(__file__).resolve().parents[2] / ".cache/logs"


def kept_logs(cloud: Cloud) -> Path:
    """Keep the logs of `cloud`, which end with it, for whoever wants to know why a test failed."""
    to = _LOGS / cloud.name.partition("-")[0]
    shutil.rmtree(to, ignore_errors=True)
    if cloud.services.log_directory.exists():
        shutil.copytree(cloud.services.log_directory, to)
    return to


@contextmanager
def running_cloud(name: str, shape: Shape) -> Iterator[Cloud]:
    """A cloud of this process's own; its logs are kept."""
    cloud = Cloud(f"{name}-{os.getpid()}", shape)
    try:
        cloud.up()
        yield cloud
    finally:
        kept_logs(cloud)
        cloud.down()


@pytest.fixture(scope="session")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """The LDAP server of clouds, without users of its own."""
    with running_slapd(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@pytest.fixture(scope="session")
def cloud(slapd: Slapd) -> Iterator[Cloud]:
    """Three hosts, three members of etcd, two schedulers, more users in LDAP; shared by the session.

    A test leaves no VM of its own behind, and every program running. Hosts are given more time than by default, for
    tests in which guests must outlive daemons that are started anew on a machine that is busy.
    """
    shape = Shape(hosts=3, etcd_members=3, schedulers=2, alive_ttl_s=10, ldap=slapd.settings())
    with running_cloud("test", shape) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def ucloud(cloud: Cloud) -> Callable[..., str]:
    """The command line client, as a function of its arguments and the user (the admin); returns what it prints."""
    return functools.partial(first_vm.ucloud, cloud)


@pytest.fixture(scope="session")
def guest_image(cloud: Cloud) -> str:
    """The name of a READY image of everybody whose guest reports to its serial console (see tests/guest/build)."""
    return first_vm.import_image(cloud)
