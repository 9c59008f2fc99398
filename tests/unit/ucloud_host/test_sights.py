"""What the judge sees when the caches that it looks at are ahead of one another."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, Counter

from common import keys
from common.metrics import Metrics
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.verdict import Sentence, Verdict
from common.store import EtcdOptions, Store
from ucloud_host.inquiries import Inquiries
from ucloud_host.sights import Caches, Docket

ALIVE = Alive(name="h1", boot_id="b", guarded_s=1.0)
VERDICT = Verdict(
    host="h1", sentence=Sentence.SILENT, since=datetime.now(UTC), boot_id="b", waits_for="nothing", answers={}
)
STATUS = HostStatus(name="h1", cpu=1, ram_mib=1, ssd=StoreCapacity(store_id="s", total_mib=1), boot_id="b")


@pytest.fixture
def caches() -> Iterator[Caches]:
    """One host that has been alive, and is. No etcd is asked: all that is known is what a test notes."""
    store = Store(EtcdOptions(("[::1]:1",)), Metrics())
    caches = Caches(store, Metrics())
    caches.statuses.note(keys.host_status("h1"), STATUS, 1)
    caches.last_alive.note(keys.last_alive("h1"), ALIVE, 2)
    caches.alive.note(keys.alive("h1"), ALIVE, 2)
    yield caches
    store.close()


@pytest.fixture
def docket(caches: Caches) -> Docket:
    answers = Counter("answers", "-", ["fence", "word"], registry=CollectorRegistry())
    docket = Docket(caches, Inquiries({}, 1.0, lambda: None, answers))
    assert not _returned(docket)
    return docket


def _returned(docket: Docket) -> list[str]:
    docket.sights()
    return list(docket.returned)


def test_a_host_whose_verdict_is_seen_gone_before_it_is_seen_alive_has_returned(caches: Caches, docket: Docket) -> None:
    caches.alive.note(keys.alive("h1"), None, 3)
    caches.verdicts.note(keys.verdict("h1"), VERDICT, 4)
    docket.sights()
    caches.verdicts.note(keys.verdict("h1"), None, 5)
    assert not _returned(docket)
    caches.alive.note(keys.alive("h1"), ALIVE, 5)
    assert _returned(docket) == ["h1"]


def test_a_host_that_returns_as_soon_as_its_verdict_is_written_has_returned(caches: Caches, docket: Docket) -> None:
    caches.alive.note(keys.alive("h1"), None, 3)
    docket.sights()
    docket.note("h1", VERDICT, 4)
    caches.verdicts.note(keys.verdict("h1"), None, 5)
    caches.alive.note(keys.alive("h1"), ALIVE, 5)
    assert _returned(docket) == ["h1"]


def test_a_return_is_told_until_it_was_heard_and_then_no_more(caches: Caches, docket: Docket) -> None:
    caches.alive.note(keys.alive("h1"), None, 3)
    caches.verdicts.note(keys.verdict("h1"), VERDICT, 4)
    docket.sights()
    caches.alive.note(keys.alive("h1"), ALIVE, 5)
    for _ in range(2):
        assert _returned(docket) == ["h1"]
    docket.note_told("h1")
    assert not _returned(docket)


def test_a_host_that_was_away_for_less_than_a_verdict_has_not_returned(caches: Caches, docket: Docket) -> None:
    caches.alive.note(keys.alive("h1"), None, 3)
    docket.sights()
    caches.alive.note(keys.alive("h1"), ALIVE, 4)
    assert not _returned(docket)
