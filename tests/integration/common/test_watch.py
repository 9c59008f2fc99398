"""Watches against a real etcd: nothing lost, nothing twice, and a clear word when they can't go on."""

import itertools
import threading
from collections.abc import Iterator

import pytest
import requests

from common.errors import Compacted
from common.store import Change, News, Put, Store, absent, unchanged
from devcloud.etcd import EtcdCluster


def _write(store: Store, numbers: range) -> int:
    revision = 0
    for i in numbers:
        revision = store.commit([absent(f"/t/{i:04}")], [Put(f"/t/{i:04}", str(i).encode())])
    return revision


def _flatten(watch: Iterator[News]) -> Iterator[Change]:
    return itertools.chain.from_iterable(news.changes for news in watch)


def test_a_watch_delivers_all_from_its_start_revision_in_order(store: Store) -> None:
    first = store.commit([absent("/t/first")], [Put("/t/first", b"")])
    _write(store, range(50))
    changes = _flatten(store.watch("/t/", first + 1, threading.Event()))
    assert [next(changes).key for _ in range(50)] == [f"/t/{i:04}" for i in range(50)]


def test_removals_are_seen(store: Store) -> None:
    lease = store.grant(60)
    revision = store.commit([absent("/t/a")], [Put("/t/a", b"", lease)])
    store.revoke(lease)
    change = next(_flatten(store.watch("/t/", revision + 1, threading.Event())))
    assert (change.key, change.value) == ("/t/a", None)


def test_an_event_of_a_transaction_is_neither_lost_nor_repeated(store: Store) -> None:
    revision = store.commit([absent("/t/x")], [Put(f"/t/{i}", b"") for i in range(100)])
    changes = _flatten(store.watch("/t/", revision, threading.Event()))
    assert len({next(changes).key for _ in range(100)}) == 100


def test_a_compacted_start_is_said(store: Store, etcd: EtcdCluster) -> None:
    revision = store.commit([absent("/t/a")], [Put("/t/a", b"0")])
    for i in range(5):
        revision = store.commit([unchanged("/t/a", revision)], [Put("/t/a", str(i).encode())])
    url = f"{etcd.members[0].client_url}/v3/kv/compaction"
    assert requests.post(url, json={"revision": revision, "physical": True}, timeout=20).ok
    with pytest.raises(Compacted):
        next(_flatten(store.watch("/t/", revision - 3, threading.Event())))


def test_a_revision_of_the_future_is_said(store: Store) -> None:
    revision = store.commit([absent("/t/a")], [Put("/t/a", b"")])
    with pytest.raises(Compacted, match="ahead of the store"):
        next(_flatten(store.watch("/t/", revision + 1000, threading.Event())))


def test_a_watch_ends_when_it_is_told_to(store: Store) -> None:
    stop = threading.Event()
    watcher = threading.Thread(target=lambda: list(store.watch("/t/", 1, stop)))
    watcher.start()
    stop.set()
    watcher.join(5)
    assert not watcher.is_alive()


def test_progress_is_told_without_changes_and_never_ahead_of_them(store: Store) -> None:
    first = _write(store, range(2000))
    elsewhere = store.commit([absent("/u/a")], [Put("/u/a", b"")])
    told = 0
    for news in store.watch("/t/", first - 1999, threading.Event()):
        told += len(news.changes)
        if news.changes:
            assert news.revision == news.changes[-1].revision
        if news.revision >= elsewhere:
            break
        assert news.revision == first - 2000 + told
    assert told == 2000


def test_a_watch_resumes_behind_the_progress_that_it_was_told_of(store: Store, etcd: EtcdCluster) -> None:
    first = store.commit([absent("/t/a")], [Put("/t/a", b"")])
    revision = 0
    for i in range(5):
        revision = store.commit([unchanged("/u/a", revision)], [Put("/u/a", str(i).encode())])
    watch = store.watch("/t/", first + 1, threading.Event())
    while next(watch).revision < revision:
        pass
    etcd.kill(0)
    etcd.restart(0)
    # What lies before the progress is needed no more.
    url = f"{etcd.members[0].client_url}/v3/kv/compaction"
    assert requests.post(url, json={"revision": revision, "physical": True}, timeout=20).ok
    store.commit([absent("/t/b")], [Put("/t/b", b"")])
    assert next(_flatten(watch)).key == "/t/b"
