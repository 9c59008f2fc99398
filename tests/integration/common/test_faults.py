"""A cluster of three members with one killed, frozen, or leading no more, while numbered events go in.

Not one event may be lost or repeated, and each write that was acknowledged is there.
"""

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from common.errors import Conflict, Unavailable
from common.store import Put, Store, absent
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
