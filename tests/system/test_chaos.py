"""VMs live through all that can be asked of them while each second a daemon is killed, and etcd's leader now and then.

None may be lost, doubled or stuck, and the quotas must add up, at each moment and in the end. The volume is that of
hosts whose hypervisor makes no guests; some lives are of real ones.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from common import keys
from common.schemas.user import Quota
from common.store import EtcdOptions, Store
from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.errors import DeadlineExceeded
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World
from tests.system import world
from tests.system.chaos import Report, Storm, Watchman, read_books, run_lives, running
from tests.system.conftest import running_cloud
from tests.system.tenant import Tenant

LIVES = int(os.environ.get("UCLOUD_CHAOS_LIVES", "500"))
REAL_LIVES = 30
GONE_S = 120
QUOTA = Quota(vms=100, cpu=100, ram_mib=100 * 1024, ssd_mib=100 * 1024)
SPECS = {"cpu": 1, "ram": "96MiB", "ssd": "128MiB"}


@pytest.fixture(scope="module")
def guestless() -> Iterator[Cloud]:
    """Three hosts with libvirt's test driver, three members of etcd, two schedulers."""
    with running_cloud("chaos", Shape(hosts=3, etcd_members=3, schedulers=2, hypervisor="test")) as cloud:
        image = first_vm.build_image()
        shutil.copyfile(image, cloud.upload_directory("admin") / image.name)
        first_vm.ucloud(cloud, "image", "create", "--name", "guest", "--file", image.name, "--public")
        yield cloud


def _storm(cloud: Cloud, lives: int, threads: int, spared: tuple[str, ...]) -> Report:
    """Have tenants go through `lives` in a storm, and check all that must hold in it and after it."""
    seed = random.randrange(10**6)  # noqa: S311
    print(f"seed {seed}")
    store = Store(EtcdOptions(cloud.etcd_endpoints))
    etcd = World(store)
    users = [f"chaos{number}" for number in range(3)]
    for user in users:
        etcd.add_account(user, quota=QUOTA)
    try:
        with ExitStack() as stack:
            tenants = [stack.enter_context(Tenant(cloud.url, etcd.log_in(user))) for user in users]
            watchman = stack.enter_context(Watchman(cloud))
            with Storm(cloud, random.Random(seed), spared) as storm:  # noqa: S311
                report = run_lives(tenants, [f"life-{n}" for n in range(lives)], "guest", SPECS, seed, threads)
            cloud.wait_ready()
            _check_books(store)
            for tenant, user in zip(tenants, users, strict=True):
                account = tenant.ask("GET", f"/v1/user/{user}").json()
                assert not any(account["used"].values())
            repeats, streams = (sum(getattr(each, what) for each in tenants) for what in ("repeats", "streams"))
        print(f"{report.lives} lives in {report.took_s:.0f} s, {watchman.looks} looks at the books")
        print(f"{repeats} requests repeated, {streams} streams, killed: {dict(storm.killed)}")
        assert report.failures == []
        assert report.lives == lives
        assert watchman.errors == []
        assert watchman.looks > 0
        assert len(storm.killed) > 5
        return report
    finally:
        store.close()


def _check_books(store: Store) -> None:
    def mine() -> list[str]:
        return [vm for vm, request in read_books(store).requests.items() if request.owner.startswith("chaos")]

    try:
        wait_for("nothing of the VMs in etcd", lambda: not mine(), GONE_S, interval_s=1)
    except DeadlineExceeded as error:
        left = [entry for entry in store.list(keys.ROOT).entries if any(vm in entry.key for vm in mine())]
        raise AssertionError("\n".join(f"{entry.key}: {entry.value!r}" for entry in left)) from error
    assert read_books(store).errors() == []


@pytest.mark.timeout(1200)
def test_hundreds_of_lives_in_a_storm(guestless: Cloud) -> None:
    _storm(guestless, LIVES, threads=12, spared=("libvirt",))
    assert world.vm_keys(guestless) == []
    assert world.vm_files(guestless) == []
    assert running(guestless) == {}


@pytest.mark.timeout(900)
def test_lives_of_real_guests_in_a_storm(cloud: Cloud, ucloud: Callable[..., str], guest_image: str) -> None:
    assert guest_image == "guest"
    before = {vm["uuid"] for vm in json.loads(ucloud("vm", "list", "-o", "json"))}
    began = datetime.now(UTC)
    _storm(cloud, REAL_LIVES, threads=6, spared=())
    print(f"{(datetime.now(UTC) - began).total_seconds():.0f} s")
    assert set(running(cloud)) <= before
    assert not [path for path in world.vm_files(cloud) if not any(vm in str(path) for vm in before)]
