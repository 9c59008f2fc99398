"""The cache against a real etcd: it follows, it survives compaction, and malformed records are in nobody's way."""

import threading
import time
from collections.abc import Iterator
from statistics import median

import pytest
import requests

from common.cache import _ASK_AFTER_S, Cache
from common.metrics import Metrics
from common.schemas.host import HostRequest, HostState
from common.store import Delete, EtcdOptions, Put, Store, absent, present, unchanged
from devcloud.etcd import EtcdCluster

PREFIX = "/t/host/"
DEADLINE_S = 30.0


class Following:
    """A running cache, and a way to wait for what it should come to hold."""

    def __init__(self, cache: Cache[HostRequest]) -> None:
        self.cache = cache
        self.hints: list[str] = []
        self._news = threading.Condition()
        cache.subscribe(self._hint)

    def _hint(self, key: str) -> None:
        with self._news:
            self.hints.append(key)
            self._news.notify_all()

    def wait_for(self, key: str, state: HostState | None) -> None:
        """Wait until the cache holds `state` at `key` (None: nothing)."""

        def holds() -> bool:
            cached = self.cache.get(key)
            return (cached.record.state if cached else None) is state

        with self._news:
            assert self._news.wait_for(holds, DEADLINE_S), f"{key} is {self.cache.get(key)}, not {state}"

    def wait_for_hint(self, key: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: key in self.hints, DEADLINE_S)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def following(store: Store, etcd: EtcdCluster, metrics: Metrics) -> Iterator[Following]:
    """A cache on a connection of its own."""
    stop = threading.Event()
    own_store = Store(EtcdOptions(etcd.endpoints))
    cache = Cache(own_store, PREFIX, HostRequest, metrics)
    following = Following(cache)
    thread = threading.Thread(target=cache.run, args=(stop,))
    thread.start()
    assert cache.wait_synced(DEADLINE_S)
    yield following
    stop.set()
    own_store.close()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def _put(store: Store, name: str, state: HostState, revision: int = 0) -> int:
    record = HostRequest(name=name, state=state)
    return store.commit([unchanged(PREFIX + name, revision)], [Put(PREFIX + name, record.to_json())])


def test_it_follows_writes_and_removals(store: Store, following: Following) -> None:
    revision = _put(store, "h1", HostState.ENABLED)
    following.wait_for(PREFIX + "h1", HostState.ENABLED)
    revision = _put(store, "h1", HostState.DISABLED, revision)
    following.wait_for(PREFIX + "h1", HostState.DISABLED)
    cached = following.cache.get(PREFIX + "h1")
    assert cached is not None
    assert cached.mod_revision == revision
    store.commit([unchanged(PREFIX + "h1", revision)], [Delete(PREFIX + "h1")])
    following.wait_for(PREFIX + "h1", None)


def test_a_malformed_record_is_counted_once_and_left_alone(
    store: Store, following: Following, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    revision = _put(store, "good", HostState.ENABLED)
    following.wait_for(PREFIX + "good", HostState.ENABLED)
    store.commit([absent(PREFIX + "bad")], [Put(PREFIX + "bad", b"{")])
    store.commit([unchanged(PREFIX + "good", revision)], [Put(PREFIX + "good", b"[]")])
    _put(store, "other", HostState.DRAINING)
    following.wait_for(PREFIX + "other", HostState.DRAINING)
    assert following.cache.malformed == {PREFIX + "bad": "not JSON", PREFIX + "good": "not a JSON object"}
    assert metrics.registry.get_sample_value("ucloud_malformed_records_total", {"prefix": PREFIX}) == 2
    assert sum("malformed record" in line for line in caplog.messages) == 2
    # The last good record stays, and a good one again ends the matter.
    following.wait_for(PREFIX + "good", HostState.ENABLED)
    store.commit([present(PREFIX + "bad")], [Delete(PREFIX + "bad")])
    store.commit(
        [present(PREFIX + "good")], [Put(PREFIX + "good", HostRequest(name="h", state=HostState.DISABLED).to_json())]
    )
    following.wait_for(PREFIX + "good", HostState.DISABLED)
    assert following.cache.malformed == {}


def test_it_survives_a_restart_of_etcd_with_compaction_meanwhile(
    store: Store, etcd: EtcdCluster, following: Following
) -> None:
    revision = _put(store, "h1", HostState.ENABLED)
    following.wait_for(PREFIX + "h1", HostState.ENABLED)
    etcd.kill(0)
    etcd.restart(0)
    for _ in range(5):
        revision = _put(store, "h1", HostState.DRAINING, revision)
    url = f"{etcd.members[0].client_url}/v3/kv/compaction"
    assert requests.post(url, json={"revision": revision, "physical": True}, timeout=20).ok
    _put(store, "h1", HostState.DISABLED, revision)
    following.wait_for(PREFIX + "h1", HostState.DISABLED)


def test_own_writes_are_there_at_once_and_older_news_does_not_undo_them(store: Store) -> None:
    cache = Cache(store, PREFIX, HostRequest, Metrics())
    revision = _put(store, "h1", HostState.ENABLED)
    cache.note(PREFIX + "h1", HostRequest(name="h1"), revision)
    assert cache.get(PREFIX + "h1") is not None
    store.commit([unchanged(PREFIX + "h1", revision)], [Delete(PREFIX + "h1")])
    entry = store.get(PREFIX + "h1")
    assert entry is None
    cache.note(PREFIX + "h1", None, revision + 1)
    cache.note(PREFIX + "h1", HostRequest(name="h1"), revision)
    assert cache.get(PREFIX + "h1") is None


def test_a_revision_is_waited_for_until_all_up_to_it_was_entered_and_told(store: Store, following: Following) -> None:
    for number in range(20):
        revision = _put(store, f"h{number}", HostState.ENABLED)
        assert following.cache.wait_revision(revision, DEADLINE_S)
        assert following.cache.revision >= revision
        assert following.cache.get(f"{PREFIX}h{number}") is not None
        assert f"{PREFIX}h{number}" in following.hints
    removed = store.commit([present(PREFIX + "h0")], [Delete(PREFIX + "h0")])
    assert following.cache.wait_revision(removed, DEADLINE_S)
    assert following.cache.get(PREFIX + "h0") is None
    assert not following.cache.wait_revision(removed + 1, 0.01)


def test_the_revision_goes_on_while_only_others_are_written_to(store: Store, following: Following) -> None:
    revision = store.commit([absent("/elsewhere/a")], [Put("/elsewhere/a", b"")])
    assert following.cache.wait_revision(revision, DEADLINE_S)
    following.cache.refresh()
    assert following.cache.revision >= revision


def test_an_own_write_alone_does_not_move_the_revision(store: Store) -> None:
    cache = Cache(store, PREFIX, HostRequest, Metrics())
    revision = _put(store, "h1", HostState.ENABLED)
    cache.note(PREFIX + "h1", HostRequest(name="h1"), revision)
    assert cache.revision < revision
    cache.refresh()
    assert cache.revision >= revision


def test_a_listing_tells_of_what_changed_only(store: Store, following: Following) -> None:
    for name in ("kept", "changed", "removed", "own"):
        revision = _put(store, name, HostState.ENABLED)
    assert following.cache.wait_revision(revision, DEADLINE_S)
    lagging = Cache(store, PREFIX, HostRequest, Metrics())
    lagging.refresh()
    hints: list[str] = []
    lagging.subscribe(hints.append)
    _put(store, "changed", HostState.DISABLED, _revision(store, "changed"))
    store.commit([present(PREFIX + "removed")], [Delete(PREFIX + "removed")])
    own = _put(store, "own", HostState.DISABLED, _revision(store, "own"))
    lagging.note(PREFIX + "own", HostRequest(name="own", state=HostState.DISABLED), own)
    lagging.refresh()
    assert sorted(hints) == [PREFIX + "changed", PREFIX + "own", PREFIX + "removed"]
    lagging.refresh()
    assert len(hints) == 3


def _revision(store: Store, name: str) -> int:
    entry = store.get(PREFIX + name)
    assert entry is not None
    return entry.mod_revision


def test_waiting_for_a_revision_elsewhere_takes_no_longer_than_asking(store: Store, following: Following) -> None:
    revision = 0
    began = time.monotonic()
    for _ in range(10):
        revision = store.commit([unchanged("/elsewhere/a", revision)], [Put("/elsewhere/a", b"")])
        assert following.cache.wait_revision(revision, DEADLINE_S)
    assert time.monotonic() - began < 3


def test_who_asks_for_a_revision_elsewhere_hardly_waits_for_it(store: Store, following: Following) -> None:
    revision, took_s = 0, []
    for _ in range(15):
        revision = store.commit([unchanged("/elsewhere/a", revision)], [Put("/elsewhere/a", b"")])
        began = time.monotonic()
        following.cache.ask(revision)
        assert following.cache.wait_revision(revision, DEADLINE_S)
        took_s.append(time.monotonic() - began)
    assert median(took_s) < _ASK_AFTER_S


def test_what_is_expected_is_taken_as_it_is_if_it_is_what_comes(store: Store, following: Following) -> None:
    expected = [HostRequest(name=name) for name in ("h1", "h2")]
    for record in expected:
        following.cache.expect(PREFIX + record.name, record, record.to_json())
    _put(store, "h1", HostState.ENABLED)
    revision = _put(store, "h2", HostState.DISABLED)
    assert following.cache.wait_revision(revision, DEADLINE_S)
    first, second = (following.cache.get(PREFIX + name) for name in ("h1", "h2"))
    assert first is not None
    assert first.record is expected[0]
    assert second is not None
    assert second.record.state is HostState.DISABLED
    following.cache.expect_nothing()
    revision = _put(store, "h1", HostState.DRAINING, first.mod_revision)
    revision = _put(store, "h1", HostState.ENABLED, revision)
    assert following.cache.wait_revision(revision, DEADLINE_S)
    last = following.cache.get(PREFIX + "h1")
    assert last is not None
    assert last.record == expected[0]
    assert last.record is not expected[0]
