"""The sign of life against a real etcd, kept by the real process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common import keys
from common.schemas.host import Alive
from common.store import Entry, Put, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for

TTL_S = 3
DEADLINE_S = 15


@contextmanager
def alive(etcd: EtcdCluster, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running ucloud-host-alive of host h1."""
    environment = {**os.environ, "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "UCLOUD_HOST_NAME": "h1"}
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
