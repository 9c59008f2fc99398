"""The store against a real etcd: reads, compare-guarded commits, leases."""

import threading

import pytest

from common.errors import Conflict, Gone, LeadershipLost, LeaseExpired, Refused, Unavailable
from common.metrics import Metrics
from common.store import Delete, EtcdOptions, Put, Range, Store, absent, led_by, none_below, present, unchanged
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.common.clients import connected_to
from tests.integration.proxy import Proxy


def test_what_is_committed_is_read(store: Store) -> None:
    revision = store.commit([absent("/t/a")], [Put("/t/a", b"1")])
    entry = store.get("/t/a")
    assert entry is not None
    assert (entry.value, entry.create_revision, entry.mod_revision) == (b"1", revision, revision)
    assert store.get("/t/b") is None


def test_a_list_is_paged_at_one_revision_and_stays_below_its_prefix(store: Store) -> None:
    for i in range(25):
        store.commit([absent(f"/t/h1/{i:02}")], [Put(f"/t/h1/{i:02}", str(i).encode())])
    store.commit([absent("/t/h10/x")], [Put("/t/h10/x", b"")])
    listing = store.list("/t/h1/", page=10)
    assert [entry.value for entry in listing.entries] == [str(i).encode() for i in range(25)]
    last = store.get("/t/h10/x")
    assert last is not None
    assert listing.revision == last.mod_revision


def test_a_commit_changes_nothing_when_one_compare_fails_and_says_which(store: Store) -> None:
    store.commit([absent("/t/a")], [Put("/t/a", b"1")])
    with pytest.raises(Conflict) as error:
        store.commit([absent("/t/b"), absent("/t/a")], [Put("/t/a", b"2"), Put("/t/b", b"2")])
    assert error.value.keys == ("/t/a",)
    assert store.get("/t/b") is None


def test_a_stale_revision_is_a_conflict_and_a_removed_key_is_gone(store: Store) -> None:
    first = store.commit([absent("/t/a")], [Put("/t/a", b"1")])
    second = store.commit([unchanged("/t/a", first)], [Put("/t/a", b"2")])
    with pytest.raises(Conflict) as conflict:
        store.commit([unchanged("/t/a", first)], [Put("/t/a", b"3")])
    assert not isinstance(conflict.value, Gone)
    store.commit([unchanged("/t/a", second)], [Delete("/t/a")])
    with pytest.raises(Gone):
        store.commit([unchanged("/t/a", second)], [Put("/t/a", b"4")])
    with pytest.raises(Conflict):
        store.commit([present("/t/a")], [Put("/t/a", b"5")])


def test_an_empty_prefix_can_be_asked_for(store: Store) -> None:
    store.commit([none_below("/t/uses/")], [Put("/t/a", b"")])
    store.commit([absent("/t/uses/x")], [Put("/t/uses/x", b"")])
    with pytest.raises(Conflict) as error:
        store.commit([none_below("/t/uses/")], [Delete("/t/a")])
    assert error.value.keys == ("/t/uses/",)


def test_the_write_of_a_former_leader_is_refused(store: Store) -> None:
    revision = store.commit([absent("/t/leader")], [Put("/t/leader", b"one")])
    store.commit([present("/t/leader")], [Delete("/t/leader")])
    store.commit([absent("/t/leader")], [Put("/t/leader", b"two")])
    with pytest.raises(LeadershipLost):
        store.commit([led_by("/t/leader", revision), absent("/t/a")], [Put("/t/a", b"")])
    assert store.get("/t/a") is None


def test_a_commit_whose_answer_was_lost_tells_the_revision_of_its_keys(store: Store, etcd: EtcdCluster) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        client = connected_to((proxy.endpoint, etcd.endpoints[0]))
        assert client.get("/t/a") is None
        proxy.mute()
        written: list[int] = []

        def write_twice() -> None:
            written.append(client.commit([absent("/t/a")], [Put("/t/a", b"1")]))
            written.append(client.commit([unchanged("/t/a", written[0])], [Put("/t/a", b"2")]))

        writing = threading.Thread(target=write_twice)
        writing.start()
        wait_for("the first write", lambda: store.get("/t/a"), 30)
        # etcd has moved on by the time at which the client asks again, elsewhere.
        for number in range(10):
            store.commit([absent(f"/t/other/{number}")], [Put(f"/t/other/{number}", b"")])
        writing.join(20)
        client.close()
    entry = store.get("/t/a")
    assert entry is not None
    assert entry.value == b"2"
    assert written == [entry.create_revision, entry.mod_revision]


def test_a_commit_without_a_compare_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="1 to 128 compares"):
        store.commit([], [Put("/t/a", b"")])


def test_what_is_bound_to_a_lease_goes_with_it(store: Store) -> None:
    lease = store.grant(60)
    store.commit([absent("/t/a")], [Put("/t/a", b"", lease)])
    assert store.keep_alive(lease) == 60
    store.revoke(lease)
    assert store.get("/t/a") is None
    store.revoke(lease)
    with pytest.raises(LeaseExpired):
        store.keep_alive(lease)


def test_calls_conflicts_and_reconnects_are_counted(store: Store, etcd: EtcdCluster) -> None:
    metrics = Metrics()
    counted = Store(EtcdOptions(etcd.endpoints, timeout_s=0.2), metrics)

    def calls(call: str, outcome: str) -> float | None:
        labels = {"call": call, "outcome": outcome}
        return metrics.registry.get_sample_value("ucloud_store_seconds_count", labels)

    revision = counted.commit([absent("/t/a")], [Put("/t/a", b"")])
    with pytest.raises(Conflict):
        counted.commit([absent("/t/a")], [Put("/t/a", b"")])
    with pytest.raises(Refused):
        counted.commit([present("/t/a")], [Put("/t/a", b"1"), Put("/t/a", b"2")])
    assert metrics.registry.get_sample_value("ucloud_store_conflicts_total") == 1
    assert (calls("Txn", "ok"), calls("Txn", "refused")) == (3, 1)
    watch = counted.watch("/t/", revision + 1, threading.Event())
    next(watch)
    etcd.kill(0)
    with pytest.raises(Unavailable):
        counted.get("/t/a")
    assert calls("Range", "unavailable") == 1
    etcd.restart(0)
    store.commit([present("/t/a")], [Put("/t/a", b"3")])
    while not next(watch).changes:
        pass
    reconnects = metrics.registry.get_sample_value("ucloud_watch_reconnects_total", {"prefix": "/t/"})
    assert reconnects
    counted.close()


def test_many_ranges_are_read_at_once(store: Store) -> None:
    for number in range(200):
        store.commit([absent(f"/r/{number:03}/a")], [Put(f"/r/{number:03}/a", b"1"), Put(f"/r/{number:03}/b", b"2")])
    first = store.get("/r/100/a")
    assert first
    all_of_them = store.list_ranges([Range(f"/r/{number:03}/") for number in range(200)])
    assert len(all_of_them.entries) == 400
    assert all_of_them.revision >= store.list("/r/").entries[-1].mod_revision
    assert [each.key for each in store.list_ranges([Range("/r/007/", limit=1)]).entries] == ["/r/007/a"]
    assert [each.key for each in store.list_ranges([Range("/r/007/", after="a")]).entries] == ["/r/007/b"]
    late = store.list_ranges([Range("/r/099/", since=first.mod_revision), Range("/r/100/", since=first.mod_revision)])
    assert [each.key for each in late.entries] == ["/r/100/a", "/r/100/b"]
    assert store.list_ranges([]).entries == ()


def test_a_list_can_be_of_an_earlier_revision(store: Store) -> None:
    revision = store.commit([absent("/l/a")], [Put("/l/a", b"1")])
    store.commit([absent("/l/b")], [Put("/l/b", b"1")])
    assert [entry.key for entry in store.list_at(revision, "/l/").entries] == ["/l/a"]
    assert len(store.list_at(0, "/l/").entries) == 2


def test_members_tell_of_themselves(etcd: EtcdCluster) -> None:
    store = Store(EtcdOptions((*etcd.endpoints, "127.0.0.1:1")))
    here, away = store.members()
    store.close()
    assert here.problem == ""
    assert here.has_leader
    assert here.version[:1] == "3"
    assert here.db_bytes > 0
    assert here.alarms == ()
    assert away.problem
