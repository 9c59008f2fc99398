"""Records that nobody can read: named by /healthz, logged once, and in nobody's way."""

from collections.abc import Callable, Iterator

import pytest
import requests

from common import keys
from common.store import Delete, EtcdOptions, Put, Store, absent, present
from devcloud.cloud import Cloud
from devcloud.waiting import wait_for

STRANGE = "00000000-0000-4000-8000-00000000dead"
PLACEMENT = keys.placement("h1", STRANGE)
KEYS = (keys.vm(STRANGE), PLACEMENT, keys.vm_status("h1", STRANGE), keys.image(STRANGE))


@pytest.fixture
def malformed(cloud: Cloud) -> Iterator[None]:
    """Keys of each kind that hold no record."""
    store = Store(EtcdOptions(cloud.etcd_endpoints))

    def spoil(*spoilt: str) -> None:
        store.commit([absent(key) for key in spoilt], [Put(key, b'{"version": 1, "uuid"') for key in spoilt])

    # A host that has not heard of the placement yet takes away what is said of a VM that is not there.
    spoil(PLACEMENT)
    wait_for("the host to know", lambda: PLACEMENT in _named(cloud, "ucloud-vm@h1"), 30)
    spoil(*(key for key in KEYS if key != PLACEMENT))
    yield
    store.commit([present(KEYS[0])], [Delete(key) for key in KEYS])
    store.close()


def _named(cloud: Cloud, program: str) -> set[str]:
    return set(requests.get(cloud.health_url(program), timeout=20).json()["malformed_records"])


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("malformed")
def test_they_are_named_and_in_nobody_s_way(cloud: Cloud, ucloud: Callable[..., str], guest_image: str) -> None:
    for program, watched in (
        ("ucloud-scheduler", KEYS[:3]),
        ("ucloud-vm@h1", KEYS[1:3]),
        ("ucloud-image", KEYS[3:]),
        ("ucloud-api", KEYS),
    ):
        wait_for(f"{program} to name them", lambda each=program, all_of=watched: _named(cloud, each) >= set(all_of), 30)  # type: ignore[misc]
        assert requests.get(cloud.health_url(program), timeout=20).status_code == 200
        log = cloud.services.log(program).read_text(encoding="utf-8")
        assert log.count(f"malformed record, left alone: {watched[-1]}") in (1, 2), "once in each process"
    specs = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1")
    ucloud("vm", "create", "--name", "unharmed", "--image", guest_image, *specs, "--stopped", "--wait")
    assert "unharmed" in ucloud("vm", "list")
    ucloud("vm", "delete", "unharmed", "--wait")
