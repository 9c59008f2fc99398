"""A cluster of three members with one killed, frozen, or leading no more, while numbered events go in.

Not one event may be lost or repeated, and each write that was acknowledged is there.
"""

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from common.errors import Conflict, Unavailable
from common.store import PATIENT_PROBE_INTERVAL_S, Put, Store, absent
from devcloud.etcd import EtcdCluster
from tests.integration.common.clients import connected_to

EVENTS = 500
EVENTS_PER_S = 50
PREFIX = "/numbered/"


def kill_connected(cluster: EtcdCluster, connected: int, leader: int) -> Callable[[], None]:
    cluster.kill(connected)
    return lambda: cluster.restart(connected)


def freeze_connected(cluster: EtcdCluster, connected: int, leader: int) -> Callable[[], None]:
    cluster.pause(connected)
    return lambda: cluster.resume(connected)


def kill_leader(cluster: EtcdCluster, connected: int, leader: int) -> Callable[[], None]:
    cluster.kill(leader)
    return lambda: cluster.restart(leader)


def _write_numbers(store: Store, acknowledged: list[int]) -> None:
    pace = threading.Event()
    for number in range(EVENTS):
        key = f"{PREFIX}{number:06}"
        while True:
            try:
                store.commit([absent(key)], [Put(key, str(number).encode())])
            except Unavailable:
                continue
            except Conflict:
                pass  # an earlier try had worked: the number is there, once
            break
        acknowledged.append(number)
        pace.wait(1 / EVENTS_PER_S)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [kill_connected, freeze_connected, kill_leader])
def test_a_watch_loses_no_numbered_event(etcd3: EtcdCluster, fault: Callable[..., Callable[[], None]]) -> None:
    leader = etcd3.leader()
    connected = leader if fault is kill_leader else (leader + 1) % 3
    # Both clients begin at the member that is to fail.
    endpoints = etcd3.endpoints[connected:] + etcd3.endpoints[:connected]
    watcher, writer = (connected_to(endpoints) for _ in range(2))
    seen: list[int] = []
    arrivals: list[float] = []
    stop, done = threading.Event(), threading.Event()
    listing = watcher.list(PREFIX)
    assert not listing.entries

    def watch() -> None:
        for news in watcher.watch(PREFIX, listing.revision + 1, stop):
            seen.extend(int(change.value or b"-1") for change in news.changes)
            arrivals.extend(time.monotonic() for _ in news.changes)
            if len(seen) >= EVENTS:
                done.set()

    watching = threading.Thread(target=watch)
    watching.start()
    acknowledged: list[int] = []
    writing = threading.Thread(target=_write_numbers, args=(writer, acknowledged))
    writing.start()
    pace = threading.Event()
    while len(acknowledged) < EVENTS // 5:
        pace.wait(0.05)
    heal = fault(etcd3, connected, leader)
    while len(acknowledged) < EVENTS * 4 // 5:
        pace.wait(0.05)
    heal()
    writing.join(60)
    assert done.wait(30), f"{len(seen)} of {EVENTS} events arrived"
    stop.set()
    watching.join(10)
    gap_s = max(later - earlier for earlier, later in itertools.pairwise(arrivals))
    print(f"{fault.__name__}: longest gap between two events {gap_s:.2f} s")
    assert seen == acknowledged == list(range(EVENTS))
    entries = watcher.list(PREFIX).entries
    assert [int(entry.value) for entry in entries] == list(range(EVENTS))
    for store in (watcher, writer):
        store.close()


@pytest.mark.timeout(60)
def test_a_patient_watch_leaves_a_frozen_member_with_another_one(etcd3: EtcdCluster) -> None:
    connected = (etcd3.leader() + 1) % 3
    watcher = connected_to(etcd3.endpoints[connected:] + etcd3.endpoints[:connected])
    writer = connected_to(etcd3.endpoints[:connected] + etcd3.endpoints[connected + 1 :])
    revision, stop = watcher.list(PREFIX).revision, threading.Event()
    stands = {name: threading.Event() for name in ("patient", "other")}
    seen = threading.Event()

    def watch(name: str, *interval_s: float) -> None:
        for news in watcher.watch(f"/{name}/", revision + 1, stop, *interval_s):
            stands[name].set()
            if news.changes:
                seen.set()

    threads = [
        threading.Thread(target=watch, args=("patient", PATIENT_PROBE_INTERVAL_S)),
        threading.Thread(target=watch, args=("other",)),
    ]
    for thread in threads:
        thread.start()
    try:
        assert all(stand.wait(10) for stand in stands.values())
        etcd3.pause(connected)
        writer.commit([absent("/patient/1")], [Put("/patient/1", b"")])
        assert seen.wait(PATIENT_PROBE_INTERVAL_S)
    finally:
        etcd3.resume(connected)
        stop.set()
        for store in (watcher, writer):
            store.close()
        for thread in threads:
            thread.join(10)
