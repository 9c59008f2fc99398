"""The sign of life against a real etcd, kept by the real process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import clock, deadlines, keys
from common.lifeline import Lifeline
from common.process import boot_id
from common.schemas.host import Alive
from common.schemas.verdict import Sentence, Verdict
from common.store import Entry, Put, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for

TTL_S = 3
DEADLINE_S = 15


@contextmanager
def alive(etcd: EtcdCluster, log: Path, methods: str = "self+storage") -> Iterator[subprocess.Popen[bytes]]:
    """A running ucloud-host-alive of host h1; what it shares with the guard is beside its log."""
    environment = {
        **os.environ,
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_HOST_NAME": "h1",
        "UCLOUD_HOST_RUN_DIRECTORY": str(log.parent / "run"),
        "UCLOUD_FENCE_METHODS": methods,
    }
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "ucloud_host.alive"], env=environment, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for_sign(store: Store) -> Entry:
    return wait_for("a sign of life", lambda: store.get(keys.alive("h1")), DEADLINE_S)


def _wait_for_log(log: Path, text: str) -> None:
    wait_for(f"{text!r} in the log", lambda: text in log.read_text(), DEADLINE_S)


def test_a_restart_within_the_lease_is_no_death(store: Store, etcd: EtcdCluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with alive(etcd, log) as first:
        sign = _wait_for_sign(store)
        assert sign.lease
        first.send_signal(signal.SIGKILL)
        first.wait()
    with alive(etcd, log):
        wait_for("the second process", lambda: log.read_text().count("is alive") == 2, DEADLINE_S)
        removals: list[str] = []
        stop = threading.Event()
        timer = threading.Timer(2 * TTL_S, stop.set)
        timer.start()
        for news in store.watch(keys.ALIVE, sign.mod_revision + 1, stop):
            removals.extend(change.key for change in news.changes if change.value is None)
        assert removals == []
        kept = store.get(keys.alive("h1"))
        assert kept is not None
        assert (kept.lease, kept.create_revision) == (sign.lease, sign.create_revision)


def test_a_host_that_is_gone_is_silent_soon(store: Store, etcd: EtcdCluster, tmp_path: Path) -> None:
    with alive(etcd, tmp_path / "log"):
        sign = _wait_for_sign(store)
    watch = store.watch(keys.ALIVE, sign.mod_revision + 1, threading.Event())
    change = next(change for news in watch for change in news.changes)
    assert (change.key, change.value) == (keys.alive("h1"), None)


@pytest.mark.parametrize("value", [Alive(name="h1", boot_id="of another machine").to_json(), b"{"])
def test_two_machines_of_one_name_do_not_share_a_sign(
    store: Store, etcd: EtcdCluster, tmp_path: Path, value: bytes
) -> None:
    lease = store.grant(60)
    store.commit([absent(keys.alive("h1"))], [Put(keys.alive("h1"), value, lease)])
    log = tmp_path / "log"
    log.touch()
    with alive(etcd, log):
        _wait_for_log(log, "another machine")
        sign = store.get(keys.alive("h1"))
        assert sign is not None
        assert sign.value == value
        store.revoke(lease)
        wait_for("its own sign", lambda: (entry := store.get(keys.alive("h1"))) and entry.value != value, DEADLINE_S)


class PlayedGuard:
    """Shows that it is at work, in the place of ucloud-host-guard, which would look for guests on this machine."""

    def __init__(self, directory: Path) -> None:
        self.lifeline = Lifeline(directory / "run", boot_id())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> "PlayedGuard":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(0.05):
            self.lifeline.beat_at = clock.now()


def _said(store: Store) -> Alive | None:
    entry = store.get(keys.alive("h1"))
    last = store.get(keys.last_alive("h1"))
    if entry is None:
        return None
    assert last is not None
    return Alive.read(entry.key, entry.value) if entry.value == last.value else None


def _condemn(store: Store, sentence: Sentence) -> None:
    verdict = Verdict(host="h1", sentence=sentence, since=datetime.now(UTC))
    store.commit([absent(keys.verdict("h1"))], [Put(keys.verdict("h1"), verdict.to_json())])


def test_it_says_that_the_host_is_guarded_for_as_long_as_the_guard_is_seen(
    store: Store, etcd: EtcdCluster, tmp_path: Path
) -> None:
    def is_said(guarded_s: float | None) -> bool:
        said = _said(store)
        return said is not None and said.guarded_s == guarded_s

    with alive(etcd, tmp_path / "log"):
        _wait_for_sign(store)
        with PlayedGuard(tmp_path) as guard:
            wait_for("word of the guard", lambda: is_said(deadlines.guard_s(TTL_S)), DEADLINE_S)
            assert guard.lifeline.renewed_at > 0
        wait_for("word that there is none", lambda: is_said(None), DEADLINE_S)
        after = store.get(keys.alive("h1"))
        assert after is not None
        assert after.lease, "still bound to a lease"


def test_it_leaves_word_of_each_renewal(store: Store, etcd: EtcdCluster, tmp_path: Path) -> None:
    lifeline = Lifeline(tmp_path / "run", boot_id())
    with alive(etcd, tmp_path / "log"):
        first = wait_for("the first word", lambda: lifeline.renewed_at, DEADLINE_S)
        wait_for("another", lambda: lifeline.renewed_at > first, DEADLINE_S)


def test_found_dead_a_host_comes_back_when_its_guard_has_ended_all(
    store: Store, etcd: EtcdCluster, tmp_path: Path
) -> None:
    _condemn(store, Sentence.DEAD)
    with PlayedGuard(tmp_path) as guard, alive(etcd, tmp_path / "log"):
        asked_at = wait_for("its question", lambda: guard.lifeline.asked_at, DEADLINE_S)
        assert _said(store) is None
        guard.lifeline.clean_at = asked_at - 0.01  # that was before
        threading.Event().wait(0.5)
        assert _said(store) is None
        guard.lifeline.clean_at = clock.now()
        wait_for("its sign", lambda: _said(store), DEADLINE_S)
        assert store.get(keys.verdict("h1")) is None, "removed in the same transaction"
        wait_for("word for the guard", lambda: guard.lifeline.renewed_at > asked_at, DEADLINE_S)


def test_a_host_whose_guard_has_acted_comes_back_when_it_is_done(
    store: Store, etcd: EtcdCluster, tmp_path: Path
) -> None:
    with PlayedGuard(tmp_path) as guard:
        guard.lifeline.renewed_at = 0.5  # long ago
        with alive(etcd, tmp_path / "log"):
            wait_for("its question", lambda: guard.lifeline.asked_at, DEADLINE_S)
            assert _said(store) is None
            guard.lifeline.clean_at = clock.now()
            wait_for("its sign", lambda: _said(store), DEADLINE_S)


def test_merely_silent_a_host_comes_back_at_once(store: Store, etcd: EtcdCluster, tmp_path: Path) -> None:
    _condemn(store, Sentence.SILENT)
    with PlayedGuard(tmp_path) as guard, alive(etcd, tmp_path / "log"):
        wait_for("its sign", lambda: _said(store), DEADLINE_S)
        assert store.get(keys.verdict("h1")) is None
        assert guard.lifeline.asked_at == 0


def test_where_no_fence_counts_on_a_guard_nobody_waits_for_one(store: Store, etcd: EtcdCluster, tmp_path: Path) -> None:
    _condemn(store, Sentence.DEAD)
    with PlayedGuard(tmp_path), alive(etcd, tmp_path / "log", methods="storage,manual"):
        said = wait_for("its sign", lambda: _said(store), DEADLINE_S)
        assert said.guarded_s is None
        assert store.get(keys.verdict("h1")) is None
