"""What a reader sees of a VM and an image, from what is requested, ordered and reported."""

from datetime import UTC, datetime

import pytest

from common.schemas.host import HostStatus, StoreCapacity
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Console, Event, Placement, Requested, Specs, VmRequest, VmStatus
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts

NOW = datetime(2026, 11, 21, tzinfo=UTC)
REQUEST = VmRequest(
    uuid="u", owner="ann", name="web", specs=Specs.of(cpu=1, ram_mib=1536, ssd_mib=4096), image="i", created_at=NOW
)
DELETED = REQUEST.model_copy(update={"requested": Requested.DELETED})
ORDER = Placement(epoch=3, generation=1, request=REQUEST, placed_at=NOW)
RUNNING = VmStatus(
    epoch=3,
    generation=1,
    actual=Actual.RUNNING,
    since=NOW,
    addresses=("2001:db8::1",),
    events=(Event(at=NOW, what="RUNNING"),),
    console=Console(url="http://[::1]:9703/vm/u/log", token="s3cret"),
)
ORDER_WITHOUT_HA = ORDER.model_copy(update={"request": REQUEST.model_copy(update={"ha": False})})
SILENT = Verdict(host="h1", sentence=Sentence.SILENT, since=NOW, waits_for="manual", answers={"manual": "no: nobody"})
DEAD = Verdict(host="h1", sentence=Sentence.DEAD, since=NOW, judged_at=NOW, fenced_by="self")
EARLIER = RUNNING.model_copy(update={"epoch": 2})
NO_ROOM = VmStatus(epoch=0, generation=1, actual=Actual.PENDING, reason="no host has 64 GiB free", since=NOW)


@pytest.mark.parametrize(
    ("facts", "actual", "reason"),
    [
        (VmFacts(REQUEST), Actual.PENDING, "waits for the scheduler"),
        (VmFacts(REQUEST, word=NO_ROOM), Actual.PENDING, "no host has 64 GiB free"),
        (VmFacts(DELETED), Actual.DELETING, ""),
        (VmFacts(REQUEST, "h1", ORDER), Actual.DEPLOYING, "ordered from host h1, which has not answered yet"),
        (VmFacts(REQUEST, "h1", ORDER, EARLIER), Actual.DEPLOYING, "ordered from host h1, which has not answered yet"),
        (VmFacts(REQUEST, "h1", ORDER, RUNNING), Actual.RUNNING, ""),
        (VmFacts(DELETED, "h1", ORDER, RUNNING), Actual.RUNNING, ""),
        (
            VmFacts(REQUEST, "h1", ORDER, RUNNING, host_alive=False),
            Actual.UNKNOWN,
            "host h1 is silent, it last said RUNNING",
        ),
        (VmFacts(REQUEST, "h1", ORDER, EARLIER, host_alive=False), Actual.UNKNOWN, "host h1 is silent"),
        (
            VmFacts(REQUEST, "h1", ORDER, RUNNING, host_alive=False, verdict=SILENT),
            Actual.UNKNOWN,
            "host h1 is silent, it last said RUNNING",
        ),
        (
            VmFacts(REQUEST, "h1", ORDER, RUNNING, host_alive=False, verdict=DEAD),
            Actual.UNKNOWN,
            "host h1 is dead, it last said RUNNING; it is to be started on another host",
        ),
        (
            VmFacts(REQUEST, "h1", ORDER, None, NO_ROOM, host_alive=False, verdict=DEAD),
            Actual.UNKNOWN,
            "host h1 is dead; no host has 64 GiB free",
        ),
        (
            VmFacts(REQUEST, "h1", ORDER_WITHOUT_HA, host_alive=False, verdict=DEAD),
            Actual.UNKNOWN,
            "host h1 is dead; it runs again when the host does, as its ha is off",
        ),
    ],
)
def test_actual_state(facts: VmFacts, actual: Actual, reason: str) -> None:
    assert views.actual_state(facts) == (actual, reason)


def test_a_placed_vm_shows_what_its_host_says() -> None:
    vm = views.vm(VmFacts(REQUEST, "h1", ORDER, RUNNING, image_name="debian"))
    assert (vm.hostname, vm.image_name, vm.addresses, vm.observed_generation) == (
        "/v1/host/h1",
        "debian",
        ("2001:db8::1",),
        1,
    )
    assert [event.what for event in vm.events] == ["RUNNING"]
    assert (vm.specs.ram, vm.specs.ssd, vm.specs.hdd) == ("1536MiB", 4, 0)


def test_a_vm_shows_nothing_of_an_earlier_life() -> None:
    vm = views.vm(VmFacts(REQUEST, "h1", ORDER, EARLIER))
    assert (vm.addresses, vm.events, vm.observed_generation) == ((), (), 0)


LARGER = REQUEST.model_copy(update={"generation": 2, "specs": Specs.of(cpu=2, ram_mib=1536, ssd_mib=4096)})
LARGER_ORDER = ORDER.model_copy(update={"generation": 2, "request": LARGER})
SMALL = RUNNING.model_copy(update={"specs": REQUEST.specs})
STILL_SMALL = SMALL.model_copy(update={"generation": 2})
LARGE = STILL_SMALL.model_copy(update={"specs": LARGER.specs})


@pytest.mark.parametrize(
    ("facts", "needed"),
    [
        (VmFacts(LARGER), False),
        (VmFacts(LARGER, "h1", ORDER, RUNNING), False),
        (VmFacts(LARGER, "h1", ORDER, SMALL), False),  # it waits for room: no restart would help
        (VmFacts(LARGER, "h1", LARGER_ORDER, STILL_SMALL), True),
        (VmFacts(LARGER, "h1", ORDER, STILL_SMALL), True),  # the answer came before the order
        (VmFacts(LARGER, "h1", LARGER_ORDER, LARGE), False),
        (VmFacts(LARGER, "h1", ORDER, LARGE), False),
    ],
)
def test_a_restart_is_needed_for_what_was_ordered_and_is_not_yet(facts: VmFacts, needed: bool) -> None:
    assert views.vm(facts).restart_needed is needed


def test_a_vm_without_an_order_has_no_host() -> None:
    vm = views.vm(VmFacts(REQUEST, word=NO_ROOM))
    assert (vm.hostname, vm.observed_generation) == (None, 0)


def test_the_token_of_the_console_is_never_shown() -> None:
    assert "s3cret" not in views.vm(VmFacts(REQUEST, "h1", ORDER, RUNNING)).model_dump_json()


IMAGE = ImageRequest(uuid="i", owner="ann", name="debian", file="d.qcow2", created_at=NOW)
DOOMED = IMAGE.model_copy(update={"requested": ImageRequested.DELETED})
READY = ImageStatus(generation=1, actual=ImageActual.READY, since=NOW, virtual_size_mib=2048)


@pytest.mark.parametrize(
    ("request_", "status", "actual"),
    [
        (IMAGE, None, ImageActual.PENDING),
        (IMAGE, READY, ImageActual.READY),
        (DOOMED, READY, ImageActual.DELETING),
        (DOOMED, None, ImageActual.DELETING),
    ],
)
def test_image_state(request_: ImageRequest, status: ImageStatus | None, actual: ImageActual) -> None:
    assert views.image_state(request_, status)[0] is actual


def test_a_host_that_never_registered_is_shown_as_silent() -> None:
    host = views.host("h1", None, None, False, None, [ORDER, ORDER])
    assert (host.status, host.capacity, host.vms, host.generation) == ("SILENT", None, 2, 0)
    assert (host.ordered.cpu, host.ordered.ram, host.ordered.ssd) == (2, 3, 8)


@pytest.mark.parametrize(
    ("alive", "verdict", "status", "is_shown"),
    [(True, None, "ALIVE", False), (False, None, "SILENT", False), (False, SILENT, "SILENT", True),
     (False, DEAD, "DEAD", True), (True, DEAD, "ALIVE", False)],
)  # fmt: skip
def test_a_host_shows_its_verdict_while_it_is_not_alive(
    alive: bool, verdict: Verdict | None, status: str, is_shown: bool
) -> None:
    host = views.host("h1", None, None, alive, verdict, [])
    assert (host.status, host.verdict is not None) == (status, is_shown)
    if host.verdict and verdict:
        assert (host.verdict.since, host.verdict.answers) == (verdict.since, verdict.answers)


def test_a_host_shows_how_much_more_its_stores_take() -> None:
    ssd = StoreCapacity(store_id="s", total_mib=4096, free_mib=1024)
    status = HostStatus(name="h1", cpu=1, ram_mib=1024, ssd=ssd, hdd=StoreCapacity(store_id="h", total_mib=1))
    assert views.host("h1", None, status, True, None, []).free.model_dump(mode="json") == {"ssd": 1, "hdd": None}
