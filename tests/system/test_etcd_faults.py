"""Requests at 20 a second while an etcd member dies, one freezes and the leader dies: none lost, none done twice."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
import requests

from devcloud.cloud import Cloud
from devcloud.waiting import wait_for
from tests.system import world

REQUESTS_PER_S = 20
SECONDS = 15
SETTLE_S = 120


@dataclass
class Client:
    """A user's program that asks for VMs, and asks again for as long as it does not know what became of a request."""

    cloud: Cloud
    image: str
    uuids: dict[str, str] = field(default_factory=dict)
    retries: int = 0

    def create(self, name: str) -> None:
        """Ask for a stopped VM until the API says that it has it."""
        specs = {"cpu": 1, "ram": "64MiB", "ssd": "128MiB"}
        body = {"name": name, "image": self.image, "specs": specs, "requested": "STOPPED"}
        deadline = time.monotonic() + 60
        patience = threading.Event()
        while time.monotonic() < deadline:
            try:
                answer = requests.post(f"{self.cloud.url}/v1/vm", json=body, headers=self.cloud.headers(), timeout=15)
            except requests.RequestException:
                self.retries += 1
                continue
            if answer.status_code == HTTPStatus.CONFLICT:  # a try whose answer was lost
                self.uuids[name] = self._find(name)
                return
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                answer.raise_for_status()
                self.uuids[name] = answer.json()["uuid"]
                return
            assert int(answer.headers["Retry-After"]) > 0
            self.retries += 1
            patience.wait(0.5)
        raise AssertionError(f"{name} was never accepted")

    def _find(self, name: str) -> str:
        vms = all_vms(self.cloud)
        return next(vm["uuid"] for vm in vms if vm["name"] == name)


def all_vms(cloud: Cloud) -> list[dict[str, str]]:
    """Every VM, page by page."""
    found: list[dict[str, str]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "100", **({"cursor": cursor} if cursor else {})}
        page = requests.get(f"{cloud.url}/v1/vm", params=parameters, headers=cloud.headers(), timeout=15).json()
        found += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return found


@pytest.fixture
def roomy_hosts(cloud: Cloud) -> Iterator[None]:
    """Hosts that promise far more processors than they have: these VMs never run."""

    def promise(factor: int) -> None:
        for host in cloud.hosts:
            url, body = f"{cloud.url}/v1/host/{host.name}", {"overcommit": {"cpu": factor}}
            answer = requests.patch(url, json=body, headers=cloud.headers(), timeout=10)
            assert answer.ok, answer.text

    promise(64)
    yield
    promise(4)


def _hurt_etcd(cloud: Cloud) -> None:
    """Kill a member, freeze another, kill the leader: whichever member a daemon is connected to, it is among them."""
    pause = threading.Event()
    leader = cloud.etcd_leader()
    first, second = (program for program in cloud.programs() if program.startswith("etcd") and program != leader)
    pause.wait(2)
    cloud.wait_restarted(first, cloud.kill(first))
    pause.wait(1)
    cloud.pause(second)
    pause.wait(4)
    cloud.resume(second)
    pause.wait(1)
    leader = cloud.etcd_leader()
    cloud.wait_restarted(leader, cloud.kill(leader))


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("roomy_hosts")
def test_no_request_is_lost_or_carried_out_twice(cloud: Cloud, ucloud: Callable[..., str], guest_image: str) -> None:
    client = Client(cloud, guest_image)
    names = [f"fault-{number:03}" for number in range(REQUESTS_PER_S * SECONDS)]
    hurting = threading.Thread(target=_hurt_etcd, args=(cloud,))
    hurting.start()
    asking = []
    pace = threading.Event()
    started = time.monotonic()
    for number, name in enumerate(names):
        thread = threading.Thread(target=client.create, args=(name,))
        thread.start()
        asking.append(thread)
        pace.wait(max(0.0, started + (number + 1) / REQUESTS_PER_S - time.monotonic()))
    for thread in asking:
        thread.join(90)
    hurting.join(90)
    print(f"{len(names)} requests in {time.monotonic() - started:.1f} s, {client.retries} of them asked again")
    assert sorted(client.uuids) == names
    assert len(set(client.uuids.values())) == len(names)

    def settled() -> bool:
        mine = [vm for vm in all_vms(cloud) if vm["name"].startswith("fault-")]
        return len(mine) == len(names) and {vm["status"] for vm in mine} == {"STOPPED"}

    wait_for("every VM deployed", settled, SETTLE_S, interval_s=1)
    placed = world.placements(cloud)
    assert {uuid: len(placed[uuid]) for uuid in client.uuids.values()} == dict.fromkeys(client.uuids.values(), 1)
    disks = (cloud.store_directory / "vms").glob("*/root.qcow2")
    assert {path.parent.name for path in disks} == set(client.uuids.values())

    for uuid in client.uuids.values():
        assert requests.delete(f"{cloud.url}/v1/vm/{uuid}", headers=cloud.headers(), timeout=15).ok
    wait_for("no key of a VM in etcd", lambda: not world.vm_keys(cloud), SETTLE_S, interval_s=1)
    assert world.vm_files(cloud) == []
