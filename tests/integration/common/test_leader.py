"""Elections against a real etcd: one leads, a clean stop hands over at once, and a former leader's write is refused."""

import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from common.errors import LeadershipLost
from common.leader import Election
from common.metrics import Metrics
from common.schemas.leader import Leader
from common.store import Delete, EtcdOptions, Put, Store, absent, present
from devcloud.etcd import EtcdCluster

DEADLINE_S = 15
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Candidate:
    """An instance that stands for election, on a connection of its own."""

    def __init__(self, etcd: EtcdCluster, name: str) -> None:
        self.store = Store(EtcdOptions(etcd.endpoints))
        self.metrics = Metrics()
        self.election = Election(self.store, "tester", name, self.metrics)
        self.news = threading.Condition()
        self.election.subscribe(self._changed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.election.run, args=(self._stop,))
        self._thread.start()

    def _changed(self) -> None:
        with self.news:
            self.news.notify_all()

    def wait_until(self, leading: bool) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.election.is_leader is leading, DEADLINE_S)

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


_LEAD_UNTIL_KILLED = """
import sys, threading
from common.leader import Election
from common.metrics import Metrics
from common.store import EtcdOptions, Store
election = Election(Store(EtcdOptions((sys.argv[1],))), "tester", "first", Metrics(), ttl_s=60)
election.subscribe(lambda: print(election.is_leader, flush=True))
election.run(threading.Event())
"""


def test_nobody_waits_for_the_lease_of_a_leader_that_is_dead_on_this_machine(store: Store, etcd: EtcdCluster) -> None:
    first = subprocess.Popen([sys.executable, "-c", _LEAD_UNTIL_KILLED, etcd.endpoints[0]], stdout=subprocess.PIPE)
    assert first.stdout
    assert first.stdout.readline() == b"True\n"
    waiting = Candidate(etcd, "waiting")
    entry = store.get(waiting.election.key)
    assert entry is not None
    first.kill()
    first.communicate()
    # It is begun anew, as a service manager does, and needs no minute.
    second = Candidate(etcd, "second")
    with waiting.news:
        assert waiting.news.wait_for(lambda: waiting.election.is_leader or second.election.is_leader, DEADLINE_S)
    now = store.get(waiting.election.key)
    assert now is not None
    assert now.create_revision > entry.create_revision
    second.end()
    waiting.end()


def test_a_leader_that_lives_or_is_elsewhere_is_waited_for(store: Store, etcd: EtcdCluster) -> None:
    one = Candidate(etcd, "one")
    one.wait_until(leading=True)
    entry = store.get(one.election.key)
    two = Candidate(etcd, "two")
    for value in (None, Leader(instance="x", since=SINCE, process="another:1/1/1").to_json(), b"{"):
        if value is not None:
            store.commit([present(one.election.key)], [Put(one.election.key, value)])
            entry = store.get(one.election.key)
        three = Candidate(etcd, "three")
        with two.news:
            assert not two.news.wait_for(lambda: two.election.is_leader, 0.5)
        assert store.get(one.election.key) == entry
        three.end()
    two.end()
    one.end()
