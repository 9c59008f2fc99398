"""Which of a status's events are new."""

from datetime import UTC, datetime, timedelta

from common.schemas.vm import Actual, Placement, Specs, VmRequest, VmStatus
from ucloud_vm.planning.report import news, report

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REQUEST = VmRequest(
    uuid="u", owner="alice", name="web", specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1), image="i", created_at=NOW
)
ORDER = Placement(epoch=1, generation=1, request=REQUEST, placed_at=NOW)
FIRST = VmStatus(epoch=1, generation=1, actual=Actual.PENDING, since=NOW)


def test_each_event_is_told_once() -> None:
    starting = report(FIRST, Actual.STARTING, "", NOW)
    killed = report(starting, Actual.KILLED, "died", NOW + timedelta(seconds=1))
    assert [(event.what, event.owner) for event in news(ORDER, None, starting)] == [("STARTING", "alice")]
    assert [(event.what, event.at) for event in news(ORDER, starting, killed)] == [("KILLED: died", killed.since)]
    assert list(news(ORDER, killed, report(killed, Actual.KILLED, "died", NOW + timedelta(seconds=2)))) == []
    assert list(news(ORDER, killed, None)) == []


def test_of_a_vm_without_an_order_only_admins_are_told() -> None:
    assert [event.owner for event in news(None, None, report(FIRST, Actual.STOPPING, "x", NOW))] == [""]
