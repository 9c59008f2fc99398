"""Guests that are sent in threads of their own, with a hypervisor that does what it is told."""

import threading
from typing import cast

from common.errors import TemporaryError
from ucloud_vm.destination import Files
from ucloud_vm.hypervisor import Hypervisor, Journey
from ucloud_vm.migration import Migrations
from ucloud_vm.planning.steps import AllowDowntime, Send, Sent, StopSending

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
JOURNEY = Journey(5, "qemu+tls://h2/system", copies_disks=False, post_copy=False)
DEADLINE_S = 30


class Road:
    """A hypervisor whose guests arrive, or fail to, when the test says so."""

    def __init__(self) -> None:
        self.sent = 0
        self.told: list[object] = []
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def send(self, _vm_uuid: str, _journey: Journey) -> None:
        self.sent += 1
        assert self.may_end.wait(DEADLINE_S)
        if self.error:
            raise self.error

    def stop_sending(self, _vm_uuid: str) -> None:
        self.told.append("stop")

    def allow_downtime(self, _vm_uuid: str, downtime_ms: int) -> None:
        self.told.append(downtime_ms)


def begin(road: Road) -> tuple[Migrations, threading.Event]:
    migrations = Migrations(cast(Hypervisor, road), "")
    ended = threading.Event()
    migrations.subscribe(lambda _: ended.set())
    migrations.take(VM, Send(JOURNEY))
    return migrations, ended


def test_a_guest_is_sent_once_and_nobody_waits() -> None:
    road = Road()
    migrations, ended = begin(road)
    migrations.take(VM, Send(JOURNEY))
    assert migrations.sent(VM) == Sent(5)
    migrations.forget(VM)
    assert migrations.sent(VM) == Sent(5)
    road.may_end.set()
    assert ended.wait(DEADLINE_S)
    assert migrations.sent(VM) == Sent(5, under_way=False)
    assert road.sent == 1
    migrations.forget(VM)
    assert migrations.sent(VM) is None


def test_why_it_failed_is_remembered_until_the_next_time() -> None:
    road = Road()
    road.error = TemporaryError("no route")
    migrations, ended = begin(road)
    road.may_end.set()
    assert ended.wait(DEADLINE_S)
    assert migrations.sent(VM) == Sent(5, under_way=False, problem="no route")
    migrations.take(VM, Send(JOURNEY))
    known = migrations.sent(VM)
    assert known is not None
    assert known.epoch == JOURNEY.epoch


def test_what_it_was_told_is_remembered_while_it_is_sent() -> None:
    road = Road()
    migrations, ended = begin(road)
    for action in (AllowDowntime(1000), StopSending()):
        migrations.take(VM, action)
    assert migrations.told(VM) == {AllowDowntime(1000), StopSending()}
    assert road.told == [1000, "stop"]
    road.may_end.set()
    assert ended.wait(DEADLINE_S)
    assert migrations.told(VM) == frozenset()


def test_guests_are_taken_where_the_setting_says() -> None:
    files = Files({"root": "/r"}, "/s", "/l", "/v")
    assert Migrations(cast(Hypervisor, Road()), "").dock(files) == ""
    uri = "qemu+tls://h2/system"
    assert Migrations(cast(Hypervisor, Road()), uri).dock(files).startswith(f"{uri}#root=%2Fr&")
