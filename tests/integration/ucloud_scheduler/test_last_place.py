"""Many ask the API at once for the last places; the scheduler fills them exactly."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from common import keys
from common.schemas.vm import VmStatus
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World, bearer
from tests.integration.ucloud_scheduler.cloud import Cloud
from tests.integration.ucloud_scheduler.conftest import StartScheduler

ASKED, PLACES = 200, 77
"""VMs, and how many of them each of two hosts has room for."""
DEADLINE_S = 60.0


@pytest.fixture
def api_url(etcd: EtcdCluster, store: Store, tmp_path: Path) -> Iterator[str]:
    """The program ucloud-api."""
    port = free_port()
    environment = {"UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "UCLOUD_API_PORT": str(port)}
    daemon = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
    daemon.port = port
    try:
        daemon.wait_healthy()
        yield f"http://[::1]:{port}/v1"
    finally:
        daemon.close()


def test_the_last_places_are_filled_exactly_and_all_others_are_told_why(
    cloud: Cloud, start_scheduler: StartScheduler, api_url: str
) -> None:
    world = World(cloud.store)
    world.add_account("many")
    headers = bearer(world.log_in("many"))
    image = world.add_image("many", owner="many")
    start_scheduler()
    start_scheduler()
    for name in ("h1", "h2"):
        cloud.add_host(name, ram_mib=PLACES * 512, cpu=256, ssd_mib=10**8)
    body = {"specs": {"cpu": 1, "ram": "512MiB", "ssd": 10}, "image": image}

    def ask(_: int) -> str:
        answer = requests.post(f"{api_url}/vm", json=body, headers=headers, timeout=DEADLINE_S)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["uuid"])

    with ThreadPoolExecutor(16) as pool:
        asked = set(pool.map(ask, range(ASKED)))
    assert len(asked) == ASKED

    def settled() -> bool:
        entries = cloud.store.list(keys.vm_statuses(keys.NO_HOST)).entries
        reasons = Counter(VmStatus.read(entry.key, entry.value).reason for entry in entries)
        return reasons == {"no host has 512 MiB RAM free: 2 full": ASKED - 2 * PLACES}

    wait_for("all others to be told", settled, DEADLINE_S)
    placed = cloud.placements()
    assert Counter(host for host, _ in placed) == {"h1": PLACES, "h2": PLACES}
    assert len({vm_uuid for _, vm_uuid in placed}) == 2 * PLACES
