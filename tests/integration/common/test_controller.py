"""The control loop against a real etcd, with a machine that is a folder: a request is a file that should exist."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from common.controller import Controller
from common.daemon import Daemon
from common.decision import Decision, Failure
from common.errors import Conflict, PermanentError, TemporaryError, Unavailable
from common.schemas.host import HostRequest
from common.schemas.leader import Leader
from common.settings import EtcdSettings, Settings
from common.store import Delete, Put, Store, present, unchanged
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for

REQUESTS, STATUSES = "/t/request/", "/t/status/"
DEADLINE_S = 30.0
SINCE = datetime.fromisoformat("2026-01-01T00:00:00Z")


class Folder:
    """A driver: `write` and `remove` files; failures to come are handed in by the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fail_with: dict[str, list[Exception]] = {}
        self.in_step: Callable[[str], None] = lambda name: None
        self.working: set[str] = set()
        self.overlaps = 0

    def observe(self, name: str) -> bool:
        return (self.path / name).exists()

    def apply(self, name: str, action: str) -> None:
        self.overlaps += name in self.working
        self.working.add(name)
        try:
            self.in_step(name)
            if self.fail_with.get(name):
                raise self.fail_with[name].pop(0)
            if action == "write":
                (self.path / name).touch()
            else:
                (self.path / name).unlink()
        finally:
            self.working.discard(name)

    def known(self) -> Iterable[str]:
        return [path.name for path in self.path.iterdir()]


def plan(
    request: HostRequest | None, observed: bool, previous: Leader | None, failure: Failure | None, now: datetime
) -> Decision[Leader, str]:
    """The status says what is; a permanent failure is final until the request changes. What was there is repaired."""
    if request is None:
        return Decision(None, ("remove",) if observed else ())
    if failure and failure.permanent:
        return Decision(Leader(instance=f"failed: {failure.reason}", since=SINCE))
    said = f"retrying: {failure.reason}" if failure else ("there" if observed else "not there")
    was_there = previous is not None and previous.instance == "there"
    status = Leader(instance=said, since=SINCE)
    return Decision(status, () if observed else ("write",), is_repair=was_there and not observed)


class World:
    """A running controller and what a test does to it."""

    def __init__(self, daemon: Daemon, folder: Folder, store: Store) -> None:
        self.folder = folder
        self.store = store
        self._daemon = daemon
        self._statuses = daemon.cache(STATUSES, Leader)
        self._requests = daemon.cache(REQUESTS, HostRequest)
        self.controller = Controller(daemon.store, self._requests, self._statuses, plan, folder, daemon.metrics)

    def start(self) -> None:
        self._daemon.start("caches", self._statuses.run)
        self._daemon.start("requests", self._requests.run)
        self._daemon.at_stop(self.controller.close)
        for number in range(3):
            self._daemon.start(f"worker {number}", self.controller.work)
        self._daemon.start("look through", self.controller.look_through)

    def request(self, name: str, generation: int = 1) -> None:
        entry = self.store.get(REQUESTS + name)
        record = HostRequest(name=name, generation=generation)
        self.store.commit(
            [unchanged(REQUESTS + name, entry.mod_revision if entry else 0)], [Put(REQUESTS + name, record.to_json())]
        )

    def withdraw(self, name: str) -> None:
        self.store.commit([present(REQUESTS + name)], [Delete(REQUESTS + name)])

    def tell(self, name: str, what: str) -> None:
        """Report as a driver does that has something to say in the midst of a step."""
        key, status = STATUSES + name, Leader(instance=what, since=SINCE)
        known = self._statuses.get(key)
        assert known
        self.controller.will_report(name, status)
        revision = self.store.commit([unchanged(key, known.mod_revision)], [Put(key, status.to_json())])
        self._statuses.note(key, status, revision)

    def wait_for(self, name: str, said: str | None) -> None:
        """Wait until the status in etcd says so (None: there is none)."""

        def says() -> bool:
            entry = self.store.get(STATUSES + name)
            if said is None or entry is None:
                return said is None and entry is None
            return f'"{said}"'.encode() in entry.value

        wait_for(f"the status of {name}: {said}", says, DEADLINE_S)


@pytest.fixture
def world(store: Store, etcd: EtcdCluster, tmp_path: Path) -> Iterator[World]:
    daemon = Daemon("tester", Settings(etcd=EtcdSettings(endpoints=etcd.endpoints)), 1)
    world = World(daemon, Folder(tmp_path), store)
    (tmp_path / "orphan").touch()
    world.start()
    yield world
    daemon.end()
    daemon.store.close()


def test_it_converges_reports_and_cleans_up(world: World) -> None:
    for i in range(20):
        world.request(f"n{i}")
    for i in range(20):
        world.wait_for(f"n{i}", "there")
    names = {f"n{i}" for i in range(20)}
    wait_for("the end of the orphan", lambda: {path.name for path in world.folder.path.iterdir()} == names, DEADLINE_S)
    assert world.folder.overlaps == 0
    world.withdraw("n3")
    world.wait_for("n3", None)
    wait_for("the end of n3", lambda: not world.folder.observe("n3"), DEADLINE_S)


def test_news_do_not_wait_until_everything_has_been_looked_at(world: World) -> None:
    strays = {f"stray{number}" for number in range(600)}
    for name in strays:
        (world.folder.path / name).touch()
    world.controller.look_at_all(apart_s=0.05)
    world.request("n1")
    world.wait_for("n1", "there")
    left = strays & set(world.folder.known())
    assert left
    wait_for("fewer strays", lambda: len(strays & set(world.folder.known())) < len(left), DEADLINE_S)


def test_a_failure_is_reported_and_tried_again(world: World) -> None:
    world.folder.fail_with = {"n": [TemporaryError("disk full"), TemporaryError("disk full")]}
    world.request("n")
    world.wait_for("n", "retrying: disk full")
    world.wait_for("n", "there")


def test_what_a_step_tells_cuts_the_pause_after_its_failure_not_short(world: World) -> None:
    began_s: list[float] = []

    def tell(name: str) -> None:
        if name == "n":
            began_s.append(time.monotonic())
            world.tell(name, f"try {len(began_s)}")

    world.folder.in_step = tell
    world.folder.fail_with = {"n": [TemporaryError("disk full")] * 5}
    world.request("n")
    wait_for("six tries", lambda: len(began_s) == 6, DEADLINE_S)
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(began_s)]
    assert pauses_s[-1] > 1, pauses_s


def test_the_absence_of_etcd_is_no_failure_of_what_is_worked_on(world: World) -> None:
    away: list[Exception] = [Unavailable("etcd", "no endpoint answers"), Conflict((STATUSES + "n",))]
    world.folder.fail_with = {"n": [*away, Unavailable("the image store", "no route")]}
    begin = world.store.list(STATUSES).revision
    world.request("n")
    world.wait_for("n", "there")
    end = world.store.list(STATUSES).revision
    said = []
    for news in world.store.watch(STATUSES, begin + 1, threading.Event()):
        said += [Leader.read(change.key, change.value or b"").instance for change in news.changes]
        if news.revision >= end:
            break
    assert said == ["not there", "retrying: the image store is unavailable: no route", "there"]


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_repair_waits_for_nobody_to_be_told(world: World, etcd: EtcdCluster, failures: int) -> None:
    world.request("n")
    world.wait_for("n", "there")
    etcd.pause(0)
    try:
        world.folder.fail_with = {"n": [TemporaryError("somebody else is at it")] * failures}
        (world.folder.path / "n").unlink()
        world.controller.look("n")
        wait_for("the repair", lambda: world.folder.observe("n"), DEADLINE_S)
    finally:
        etcd.resume(0)
    world.wait_for("n", "there")


def test_a_repair_that_fails_is_reported(world: World) -> None:
    world.request("n")
    world.wait_for("n", "there")
    world.folder.fail_with = {"n": [TemporaryError("disk full")] * 4}
    (world.folder.path / "n").unlink()
    world.controller.look("n")
    world.wait_for("n", "retrying: disk full")
    world.wait_for("n", "there")


def test_a_permanent_failure_stands_until_the_request_changes(world: World) -> None:
    world.folder.fail_with = {"n": [PermanentError("no such template")]}
    world.request("n")
    world.wait_for("n", "failed: no such template")
    world.request("n", generation=2)
    world.wait_for("n", "there")


def test_a_request_that_cannot_be_read_leaves_everything_as_it_is(world: World) -> None:
    world.request("n")
    world.wait_for("n", "there")
    world.store.commit([present(REQUESTS + "n")], [Put(REQUESTS + "n", b"\xff")])
    world.request("other")
    world.wait_for("other", "there")
    assert world.folder.observe("n")
    world.wait_for("n", "there")


def test_a_status_that_somebody_else_broke_is_written_again(world: World) -> None:
    world.request("n")
    world.wait_for("n", "there")
    world.store.commit([present(STATUSES + "n")], [Put(STATUSES + "n", b"not json")])
    world.controller.look("n")
    world.wait_for("n", "there")
