"""Elections against a real etcd: one leads, a clean stop hands over at once, and a former leader's write is refused."""

import threading

import pytest

from common.errors import LeadershipLost
from common.leader import Election
from common.metrics import Metrics
from common.store import Delete, EtcdOptions, Put, Store, absent, present
from devcloud.etcd import EtcdCluster

DEADLINE_S = 15


class Candidate:
    """An instance that stands for election, on a connection of its own."""

    def __init__(self, etcd: EtcdCluster, name: str) -> None:
        self.store = Store(EtcdOptions(etcd.endpoints))
        self.metrics = Metrics()
        self.election = Election(self.store, "tester", name, self.metrics)
        self._news = threading.Condition()
        self.election.subscribe(self._changed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.election.run, args=(self._stop,))
        self._thread.start()

    def _changed(self) -> None:
        with self._news:
            self._news.notify_all()

    def wait_until(self, leading: bool) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.election.is_leader is leading, DEADLINE_S)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        self.store.close()


def test_a_clean_stop_hands_over(store: Store, etcd: EtcdCluster) -> None:
    one = Candidate(etcd, "one")
    one.wait_until(leading=True)
    two = Candidate(etcd, "two")
    assert not two.election.is_leader
    one.end()
    two.wait_until(leading=True)
    two.end()
    assert store.get(two.election.key) is None


def test_a_former_leader_is_refused_and_believes_it(store: Store, etcd: EtcdCluster) -> None:
    one = Candidate(etcd, "one")
    one.wait_until(leading=True)
    guard = one.election.guard()
    assert guard is not None
    # As if the lease had run out while the process was stopped: the key goes, another instance takes it.
    store.commit([present(one.election.key)], [Delete(one.election.key)])
    store.commit([absent(one.election.key)], [Put(one.election.key, b'{"version":1}')])
    assert one.election.is_leader
    with pytest.raises(LeadershipLost):
        one.store.commit([guard, absent("/t/late")], [Put("/t/late", b"")])
    one.election.step_down(guard)
    assert one.election.guard() is None
    assert store.get("/t/late") is None
    assert one.metrics.registry.get_sample_value("ucloud_refused_writes_total") == 1
    one.end()
