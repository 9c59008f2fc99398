"""Events in a real etcd: bound to leases that they share, bounded for each thing, never in the way of a status."""

from datetime import UTC, datetime, timedelta

from common import keys
from common.events import EventLog, event_id
from common.schemas.event import EventRecord
from common.store import Store, absent


def event(what: str = "it happened", second: int = 0) -> EventRecord:
    return EventRecord(at=datetime.now(UTC) + timedelta(seconds=second), what=what, owner="alice")


def told(store: Store) -> list[str]:
    return [EventRecord.read(entry.key, entry.value).what for entry in store.list(keys.EVENT).entries]


def test_events_share_a_lease_and_go_with_it(store: Store) -> None:
    log = EventLog(store, "h1", 3600)
    for number in range(3):
        store.commit([absent("/never")], log.tell("vm", "v", event(f"step {number}", number)))
    entries = store.list(keys.events("h1", "vm", "v")).entries
    leases = {entry.lease for entry in entries}
    assert told(store) == ["step 0", "step 1", "step 2"]
    assert len(leases) == 1
    assert 0 not in leases
    store.revoke(leases.pop())
    assert told(store) == []


def test_when_the_lease_is_gone_another_one_is_lent(store: Store) -> None:
    log = EventLog(store, "h1", 3600)
    (first,) = log.tell("vm", "v", event())
    store.revoke(first.lease)
    log.forget_leases((first,))
    (second,) = log.tell("vm", "v", event())
    store.commit([absent("/never")], [second])
    assert told(store) == ["it happened"]


def test_a_thing_that_is_never_at_rest_does_not_fill_the_store(store: Store) -> None:
    log = EventLog(store, "h1", 3600)
    kept = [put for number in range(100) for put in log.tell("vm", "v", event(second=number))]
    assert len(kept) == 60
    last = EventRecord.read(kept[-1].key, kept[-1].value)
    assert last.what == "it happened (more within this hour is not kept)"
    assert len(log.tell("vm", "another", event())) == 1


def test_ids_sort_by_time() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    times = [now, now + timedelta(microseconds=1), now + timedelta(seconds=1), now + timedelta(days=4000)]
    ids = [event_id(at) for at in times]
    assert ids == sorted(ids)
    assert {len(each) for each in ids} == {20}
