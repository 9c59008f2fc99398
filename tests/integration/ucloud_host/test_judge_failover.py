"""Judges that are frozen and killed, and an etcd that loses its majority: no verdict that is not so."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import keys
from common.lease import Lease
from common.schemas.host import Alive
from common.schemas.verdict import Sentence
from common.store import EtcdOptions, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_host.rig import DEADLINE_S, FakeFence, Hosts, JudgeThread
from ucloud_host.alive import said


@pytest.fixture
def judges(store: Store, etcd: EtcdCluster, tmp_path: Path) -> Iterator[list[DaemonProcess]]:
    """Two hosts, each with ucloud-host; the first one leads."""
    daemons: list[DaemonProcess] = []
    try:
        for name in ("j1", "j2"):
            environment = {
                "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
                "UCLOUD_HOST_NAME": name,
                "UCLOUD_STORAGE_SSD_DIRECTORY": str(tmp_path / "store"),
                "UCLOUD_FENCE_METHODS": "manual",
            }
            Hosts(store).live(name)
            daemons.append(DaemonProcess("ucloud_host", tmp_path / f"{name}.log", environment))
            daemons[-1].wait_role("standby" if daemons[:-1] else "leading")
        yield daemons
    finally:
        for daemon in daemons:
            daemon.close()


def test_a_judge_that_was_frozen_writes_nothing_of_what_it_remembers(store: Store, judges: list[DaemonProcess]) -> None:
    frozen, successor = judges
    hosts = Hosts(store)
    hosts.register("h1")
    frozen.wait_healthy()
    hosts.fall_silent("h1")
    hosts.wait("h1", Sentence.SILENT, "manual")
    frozen.pause()
    successor.wait_role("leading")
    hosts.confirm("h1")
    dead = hosts.wait("h1", Sentence.DEAD)
    hosts.live("h1")
    frozen.resume()
    frozen.wait_role("standby")
    assert hosts.verdict("h1") is None

    # Its successor dies in turn, while the host is silent once more: the word of then is not one of now.
    hosts.fall_silent("h1")
    again = hosts.wait("h1", Sentence.SILENT, "manual")
    assert again.since > dead.since
    successor.kill()
    frozen.wait_role("leading")
    hosts.confirm("h1")
    assert hosts.wait("h1", Sentence.DEAD).since == again.since


def test_without_a_majority_nothing_is_found_and_nobody_dies_of_it(etcd3: EtcdCluster) -> None:
    store = Store(EtcdOptions(etcd3.endpoints, timeout_s=DEADLINE_S))
    hosts, stop = Hosts(store), threading.Event()
    hosts.register("h1", "h2", "h3", "h4")
    lease = Lease.grant(store, 10)
    hosts.fall_silent("h2")
    record = Alive(name="h2", boot_id="boot of h2", guarded_s=1.0)
    store.commit([absent(keys.alive("h2"))], said(record, lease.id))
    keeper = threading.Thread(target=_keep, args=(lease, stop))
    keeper.start()
    storage = FakeFence()
    storage.may_answer.clear()
    try:
        with JudgeThread(etcd3.endpoints, ("self+storage",), {"storage": storage}, term_ttl_s=2) as thread:
            hosts.fall_silent("h1")
            wait_for("storage asked", lambda: storage.asked, DEADLINE_S)
            alive = store.get(keys.alive("h2"))
            assert alive
            leader = etcd3.leader()
            lost = [leader, (leader + 1) % 3]
            for member in lost:
                etcd3.kill(member)
            storage.may_answer.set()
            wait_for("the judge at a loss", lambda: not thread.election.is_leader, DEADLINE_S)
            for member in lost:
                etcd3.restart(member)
            hosts.wait("h1", Sentence.DEAD)
            assert hosts.verdict("h2") is None
            now = store.get(keys.alive("h2"))
            assert now
            assert now.create_revision == alive.create_revision
    finally:
        stop.set()
        keeper.join(DEADLINE_S)
        store.close()


def _keep(lease: Lease, stop: threading.Event) -> None:
    """Renew a lease as long as etcd takes it, whatever this machine's clock says: etcd prolongs it when it is back."""
    while not stop.wait(0.25):
        lease._store.keep_alive(lease.id, timeout_s=DEADLINE_S)
