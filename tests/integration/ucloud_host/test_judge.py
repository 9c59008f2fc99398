"""The judge on a real etcd: who is found DEAD, and above all who isn't."""

import pytest

from common import deadlines, keys
from common.errors import LeadershipLost, TemporaryError
from common.schemas.event import EventRecord
from common.schemas.host import HostStatus
from common.schemas.verdict import Sentence
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.proxy import Proxy
from tests.integration.ucloud_host.rig import DEADLINE_S, GUARDED_S, FakeFence, Hosts, JudgeThread
from ucloud_host.fences import Silence, Word

DEFAULT = ("self+storage", "manual")


@pytest.fixture
def hosts(store: Store) -> Hosts:
    """Four hosts that are alive."""
    hosts = Hosts(store)
    hosts.register("h1", "h2", "h3", "h4")
    return hosts


def _told(hosts: Hosts, name: str) -> list[str]:
    events = hosts.store.list(keys.events(keys.JUDGE_REPORTER, "host", name)).entries
    return [EventRecord.read(entry.key, entry.value).what for entry in events]


def test_a_silent_host_is_found_dead_once_its_guard_has_had_its_time(hosts: Hosts, etcd: EtcdCluster) -> None:
    storage = FakeFence()
    with JudgeThread(etcd.endpoints, DEFAULT, {"storage": storage}):
        hosts.fall_silent("h1")
        silent = hosts.wait("h1", Sentence.SILENT, "self (its guard's time has not passed yet)")
        dead = hosts.wait("h1", Sentence.DEAD)
        assert (dead.fenced_by, dead.boot_id, dead.since) == ("self+storage", "boot of h1", silent.since)
        assert dead.answers["storage"] == "yes: as the test says"
        assert storage.asked == ["h1"]
        hosts.live("h1")
        assert hosts.verdict("h1") is None
        told = ["its sign of life is gone", "found dead, fenced by self+storage", "it is alive again"]
        wait_for("the events", lambda: _told(hosts, "h1") == told, DEADLINE_S)
        assert [hosts.verdict(name) for name in ("h2", "h3", "h4")] == [None] * 3


@pytest.mark.parametrize("word", [Word.NO, Word.UNKNOWN])
def test_a_fence_that_is_not_sure_leaves_the_host_silent_until_an_admin_confirms(
    hosts: Hosts, etcd: EtcdCluster, word: Word
) -> None:
    storage = FakeFence(word)
    with JudgeThread(etcd.endpoints, DEFAULT, {"storage": storage}):
        hosts.fall_silent("h1")
        hosts.wait("h1", Sentence.SILENT, "storage (as the test says); or manual")
        wait_for("storage asked again", lambda: len(storage.asked) > 1, DEADLINE_S)
        assert hosts.wait("h1", Sentence.SILENT).answers["storage"] == f"{word}: as the test says"
        hosts.confirm("h1")
        assert hosts.wait("h1", Sentence.DEAD).fenced_by == "manual"


def test_a_word_on_an_earlier_silence_does_not_count(hosts: Hosts, etcd: EtcdCluster) -> None:
    with JudgeThread(etcd.endpoints, ("manual",), {}):
        hosts.fall_silent("h1")
        hosts.wait("h1", Sentence.SILENT, "manual")
        hosts.confirm("h1")
        hosts.wait("h1", Sentence.DEAD)
        hosts.live("h1")
        hosts.fall_silent("h1")
        hosts.wait("h1", Sentence.SILENT, "manual (nobody has confirmed")


def test_a_host_without_a_guard_is_not_fenced_by_it(hosts: Hosts, etcd: EtcdCluster) -> None:
    hosts.fall_silent("h1")
    hosts.live("h1", guarded_s=None)
    with JudgeThread(etcd.endpoints, DEFAULT, {"storage": FakeFence()}):
        hosts.fall_silent("h1")
        hosts.wait("h1", Sentence.SILENT, "self (no guard watched over its VMs")


def test_a_host_that_is_back_before_the_answer_is_not_dead_nor_if_it_falls_silent_again(
    hosts: Hosts, etcd: EtcdCluster
) -> None:
    storage = FakeFence()
    storage.may_answer.clear()
    with JudgeThread(etcd.endpoints, ("storage",), {"storage": storage}):
        hosts.fall_silent("h1")
        wait_for("storage asked", lambda: storage.asked, DEADLINE_S)
        before = hosts.wait("h1", Sentence.SILENT)
        hosts.live("h1")
        hosts.fall_silent("h1")
        # More than once perhaps: what changes while it is asked is asked about anew.
        wait_for("storage asked about the second silence", lambda: len(storage.asked) >= 2, DEADLINE_S)
        storage.may_answer.set()
        assert hosts.wait("h1", Sentence.DEAD).since > before.since


def test_a_verdict_under_way_is_refused_if_the_host_was_back_meanwhile(hosts: Hosts, etcd: EtcdCluster) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        storage = FakeFence()
        storage.may_answer.clear()
        with JudgeThread((proxy.endpoint,), ("storage",), {"storage": storage}) as judge:
            hosts.fall_silent("h1")
            wait_for("storage asked", lambda: storage.asked, DEADLINE_S)
            silent = hosts.wait("h1", Sentence.SILENT, "storage (not asked yet)")
            proxy.hold()
            storage.may_answer.set()
            proxy.wait_held(b'"sentence":"DEAD"', DEADLINE_S)
            hosts.live("h1")
            hosts.fall_silent("h1")
            proxy.release()
            # Whoever judges from now on: the first DEAD speaks of the second silence.
            assert hosts.wait("h1", Sentence.DEAD).since > silent.since
            assert judge.metrics.store_conflicts._value.get() >= 1


def test_too_many_silent_hosts_are_left_alone_until_an_admin_confirms_each(hosts: Hosts, etcd: EtcdCluster) -> None:
    storage = FakeFence()
    hosts.fall_silent("h1", "h2")
    with JudgeThread(etcd.endpoints, ("storage", "manual"), {"storage": storage}, share=0.25) as judge:
        for host in ("h1", "h2"):
            verdict = hosts.wait(host, Sentence.SILENT, f"ucloud host confirm-dead {host}")
            assert "2 of 4 hosts are silent or were found dead within ten minutes" in verdict.waits_for
        assert judge.metrics.registry.get_sample_value("ucloud_fence_limit_reached") == 1
        hosts.confirm("h1")
        assert hosts.wait("h1", Sentence.DEAD).fenced_by == "manual"
        hosts.wait("h2", Sentence.SILENT)
        assert storage.asked == []
        hosts.live("h1")
        assert hosts.wait("h2", Sentence.DEAD).fenced_by == "storage"
        assert storage.asked == ["h2"]


def test_power_is_cut_only_after_a_last_look(hosts: Hosts, etcd: EtcdCluster) -> None:
    power = FakeFence()
    with JudgeThread(etcd.endpoints, ("power",), {"power": power}) as thread:
        hosts.fall_silent("h1")
        hosts.wait("h1", Sentence.DEAD)
        assert power.asked == ["h1"]
        guard = thread.election.guard()
        assert guard
        thread.judge._confirm(guard, Silence("h1", 5))
        with pytest.raises(TemporaryError, match="h2 is alive"):
            thread.judge._confirm(guard, Silence("h2", 5))
    with pytest.raises(LeadershipLost), JudgeThread(etcd.endpoints, ("manual",), {}) as successor:
        successor.judge._confirm(guard, Silence("h1", 5))


def test_what_cannot_be_read_is_written_over_or_no_word(hosts: Hosts, etcd: EtcdCluster) -> None:
    hosts.fall_silent("h1", "h2")
    hosts.put(keys.verdict("h1"), b"{")
    hosts.put(keys.last_alive("h2"), b"{")
    hosts.put(keys.alive("h3"), b"{")
    with JudgeThread(etcd.endpoints, DEFAULT, {"storage": FakeFence()}):
        hosts.wait("h1", Sentence.DEAD)
        hosts.wait("h2", Sentence.SILENT, "self (no guard")
        hosts.confirm("h2")
        hosts.wait("h2", Sentence.DEAD)
        assert hosts.verdict("h3") is None


def test_a_successor_takes_up_where_the_verdict_is_and_counts_anew(hosts: Hosts, etcd: EtcdCluster) -> None:
    with JudgeThread(etcd.endpoints, ("manual",), {}):
        hosts.fall_silent("h1")
        silent = hosts.wait("h1", Sentence.SILENT, "manual")
    with JudgeThread(etcd.endpoints, DEFAULT, {"storage": FakeFence()}) as successor:
        dead = hosts.wait("h1", Sentence.DEAD)
        assert (dead.since, dead.boot_id) == (silent.since, silent.boot_id)
        counted = successor.metrics.registry.get_sample_value("ucloud_host_found_dead_seconds_sum")
        assert counted is not None
        assert counted >= deadlines.self_fence_wait_s(GUARDED_S)


def test_a_host_that_was_never_alive_is_not_judged_and_does_not_count(hosts: Hosts, etcd: EtcdCluster) -> None:
    for name in ("new1", "new2"):
        status = HostStatus(name=name, cpu=1, ram_mib=1)
        hosts.put(keys.host_status(name), status.to_json())
    with JudgeThread(etcd.endpoints, ("storage",), {"storage": FakeFence()}, share=0.25):
        hosts.fall_silent("h1")
        hosts.wait("h1", Sentence.DEAD)
        assert hosts.verdict("new1") is None


def test_a_verdict_on_a_living_host_is_removed(hosts: Hosts, etcd: EtcdCluster) -> None:
    with JudgeThread(etcd.endpoints, DEFAULT, {"storage": FakeFence()}):
        hosts.fall_silent("h1")
        verdict = hosts.wait("h1", Sentence.DEAD)
        hosts.live("h1")
        hosts.put(keys.verdict("h1"), verdict.to_json())
        hosts.wait_gone("h1")
