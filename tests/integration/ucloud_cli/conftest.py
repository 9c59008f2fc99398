"""Fixtures of the client's tests: the real API on a real etcd, and the program as a user runs it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common import keys
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World

DEADLINE_S = 20.0
SPECS = ("--cpu", "1", "--ram", "512MiB", "--ssd", "4")
CREATE = ("vm", "create", "--image", "debian", *SPECS)


@dataclass(frozen=True)
class Said:
    """What a run of the program printed, and its exit status."""

    out: str
    err: str
    status: int

    def one_line(self) -> str:
        """The only line on stderr; stdout is empty."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line


Run = Callable[..., Said]


class Program:
    """The program `ucloud`, in an environment of its own, by which nobody is logged in yet."""

    def __init__(self, folder: Path, **environment: str) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("UCLOUD_")}
        self.contexts_path = folder / "contexts.yaml"
        # A proxy of the environment is nothing to the client.
        self.environment = {
            **inherited,
            "http_proxy": "http://[::1]:1",
            "UCLOUD_CONTEXT_FILE": str(self.contexts_path),
            **environment,
        }

    def start(self, *arguments: str, **popen: Any) -> "subprocess.Popen[str]":
        """Run it, and don't wait for it."""
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "ucloud_cli", *arguments]
        pipe = subprocess.PIPE
        options: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True, **popen}
        return subprocess.Popen(command, env=self.environment, **options)

    def __call__(self, *arguments: str, typed: str = "") -> Said:
        """Run it to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(typed, timeout=90)
        assert "Traceback" not in err
        return Said(out, err, process.returncode)


@pytest.fixture
def world(store: Store) -> World:
    """An etcd with an admin and nothing else."""
    world = World(store)
    world.add_account("admin", is_admin=True)
    return world


@pytest.fixture(scope="module")
def api_url(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where ucloud-api answers."""
    port = free_port()
    environment = {"UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "UCLOUD_API_PORT": str(port)}
    daemon = DaemonProcess("ucloud_api", tmp_path_factory.mktemp("api") / "api.log", environment)
    daemon.port = port
    try:
        daemon.wait_healthy()
        yield f"http://[::1]:{port}"
    finally:
        daemon.close()


@pytest.fixture
def as_user(api_url: str, world: World, tmp_path: Path) -> Callable[[str], Program]:
    """The program, with a session of a user who has an account."""
    return lambda name: Program(tmp_path, UCLOUD_URL=api_url, UCLOUD_TOKEN=world.log_in(name))


@pytest.fixture
def ucloud(as_user: Callable[[str], Program]) -> Program:
    """The program, with a session of an admin."""
    return as_user("admin")


def only_vm(world: World) -> str:
    """The uuid of the VM, once there is one."""
    entries = wait_for("a VM", lambda: world.store.list(keys.VM).entries, DEADLINE_S)
    return keys.last_part(entries[0].key)


def meanwhile(act: Callable[[], Any]) -> threading.Thread:
    """Do something while the program waits; a failure fails the test (pytest sees to that)."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def await_status(ucloud: Program, status: str) -> None:
    """Wait until the program shows that the VM called web is in a state."""
    wait_for(
        f"it {status}",
        lambda: json.loads(ucloud("vm", "show", "web", "-o", "json").out)["status"] == status,
        DEADLINE_S,
    )


@pytest.fixture
def vm(ucloud: Program, world: World) -> str:
    """The uuid of a VM called web, which is RUNNING."""
    world.add_image()
    world.add_host()
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    uuid = only_vm(world)
    world.run(uuid)
    await_status(ucloud, "RUNNING")
    return uuid
