"""What wishes make of a request: every pair of state and verb, what counts as a change, what is refused."""

from datetime import UTC, datetime
from ipaddress import IPv6Address

import pytest

from common.schemas.port import Port
from common.schemas.vm import ALLOWED_VERBS, Actual, Requested, Specs, Verb, VmRequest
from ucloud_api.problems import ApiProblem
from ucloud_api.vms.lifecycle import Wish, decide
from ucloud_api.vms.sizing import resized

THEN, NOW = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
SPECS = Specs.of(cpu=1, ram_mib=1024, ssd_mib=4096)
VM = VmRequest(uuid="u", owner="ann", name="web", specs=SPECS, image="i", created_at=THEN)
STOPPED = VM.model_copy(update={"requested": Requested.STOPPED})
DELETED = VM.model_copy(update={"requested": Requested.DELETED})


def to_resize(**sizes: int) -> Wish:
    return Wish(resize=lambda specs: resized(specs, sizes))


WISHES: dict[Verb, Wish] = {
    **{verb: Wish(verb=verb) for verb in Verb if verb not in (Verb.RENAME, Verb.RESIZE)},
    Verb.RENAME: Wish(name="other"),
    Verb.RESIZE: to_resize(cpu=2),
}


def refusal(current: VmRequest, actual: Actual, wish: Wish) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        decide(current, actual, wish, NOW)
    return caught.value


@pytest.mark.parametrize("actual", Actual)
@pytest.mark.parametrize("verb", Verb)
def test_what_the_table_forbids_is_refused_with_what_it_allows(actual: Actual, verb: Verb) -> None:
    if verb in ALLOWED_VERBS[actual]:
        decide(VM, actual, WISHES[verb], NOW)
        return
    problem = refusal(VM, actual, WISHES[verb]).problem
    assert (problem.status, problem.type) == (409, "urn:ucloud:problem:not-allowed-now")
    assert problem.errors[0].allowed == [each.value for each in Verb if each in ALLOWED_VERBS[actual]]


@pytest.mark.parametrize("actual", [Actual.PENDING, Actual.RUNNING, Actual.UNKNOWN])
def test_where_it_goes_may_be_said_at_any_time_until_it_is_to_be_deleted(actual: Actual) -> None:
    wish = Wish(placing={"ha": False, "priority": 10})
    changed = decide(VM, actual, wish, NOW)
    assert (changed.ha, changed.priority, changed.generation) == (False, 10, 2)
    assert decide(changed, actual, wish, NOW) is changed
    (error,) = refusal(DELETED, actual, wish).problem.errors
    assert (error.field, error.problem) == ("ha", "can't be changed now")


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.DELETE])
def test_nothing_brings_back_what_is_being_deleted(verb: Verb) -> None:
    for actual in Actual:
        problem = refusal(DELETED, actual, WISHES[verb]).problem
        assert problem.errors[0].allowed == ["delete"]
        assert "is being deleted" in problem.detail
    assert refusal(DELETED, Actual.RUNNING, Wish(protected=True)).problem.status == 409


def test_a_change_counts_and_says_when() -> None:
    stopped = decide(VM, Actual.RUNNING, Wish(verb=Verb.STOP, force=True), NOW)
    assert stopped == VM.model_copy(
        update={"requested": Requested.STOPPED, "force": True, "generation": 2, "changed_at": NOW}
    )
    started = decide(stopped, Actual.STOPPED, Wish(verb=Verb.START), NOW)
    assert (started.requested, started.force, started.generation) == (Requested.RUNNING, False, 3)


def test_what_is_so_already_changes_nothing_what_is_not_yet_is_tried_again() -> None:
    assert decide(VM, Actual.RUNNING, Wish(verb=Verb.START), NOW) is VM
    assert decide(VM, Actual.RUNNING, Wish(requested=Requested.RUNNING, name="web", protected=False), NOW) is VM
    assert decide(STOPPED, Actual.STOPPED, Wish(verb=Verb.STOP, force=True), NOW) is STOPPED
    assert decide(DELETED, Actual.RUNNING, Wish(verb=Verb.DELETE), NOW) is DELETED
    again = decide(VM, Actual.STOPPED, Wish(verb=Verb.START), NOW)
    assert again == VM.model_copy(update={"generation": 2, "changed_at": NOW})


def test_to_run_is_to_resume_what_is_suspended_and_to_start_what_is_off() -> None:
    suspended = VM.model_copy(update={"requested": Requested.SUSPENDED})
    to_run = Wish(requested=Requested.RUNNING)
    assert decide(suspended, Actual.SUSPENDED, to_run, NOW).requested is Requested.RUNNING
    assert decide(STOPPED, Actual.STOPPED, to_run, NOW).requested is Requested.RUNNING


def test_each_reboot_counts() -> None:
    once = decide(VM, Actual.RUNNING, Wish(verb=Verb.REBOOT), NOW)
    twice = decide(once, Actual.RUNNING, Wish(verb=Verb.REBOOT, force=True), NOW)
    assert (once.reboots, once.force, twice.reboots, twice.force) == (1, False, 2, True)
    assert decide(STOPPED, Actual.RUNNING, Wish(verb=Verb.REBOOT), NOW).requested is Requested.RUNNING


def test_what_is_protected_is_not_deleted() -> None:
    protected = decide(VM, Actual.RUNNING, Wish(protected=True), NOW)
    assert (protected.protected, protected.generation) == (True, 2)
    assert refusal(protected, Actual.RUNNING, Wish(verb=Verb.DELETE)).problem.type == "urn:ucloud:problem:protected"


def test_disks_only_grow() -> None:
    larger = decide(VM, Actual.RUNNING, to_resize(ram_mib=512, ssd_mib=8192, hdd_mib=1024), NOW)
    assert (larger.specs.cpu, larger.specs.ram_mib, larger.specs.ssd_mib, larger.specs.hdd_mib) == (1, 512, 8192, 1024)
    problem = refusal(larger, Actual.RUNNING, to_resize(ssd_mib=4096, hdd_mib=0)).problem
    assert problem.status == 422
    assert [(each.field, each.allowed) for each in problem.errors] == [
        ("specs.ssd", "at least 8 GiB"),
        ("specs.hdd", "at least 1 GiB"),
    ]


def test_all_that_is_wished_at_once_is_one_change_or_none() -> None:
    wish = Wish(requested=Requested.STOPPED, name="other", protected=True, resize=to_resize(cpu=4).resize)
    changed = decide(VM, Actual.RUNNING, wish, NOW)
    assert (changed.requested, changed.name, changed.protected, changed.specs.cpu) == (
        Requested.STOPPED,
        "other",
        True,
        4,
    )
    assert changed.generation == 2
    refusal(VM, Actual.UNKNOWN, wish)


PORT = Port(id="0123456789", network="n", ipv6=IPv6Address("fd00:9::5"))


@pytest.mark.parametrize("actual", Actual)
def test_ports_change_where_a_resize_may(actual: Actual) -> None:
    wish = Wish(ports=(PORT,))
    if Verb.RESIZE in ALLOWED_VERBS[actual]:
        plugged = decide(VM, actual, wish, NOW)
        assert (plugged.ports, plugged.generation, plugged.changed_at) == ((PORT,), 2, NOW)
        assert decide(plugged, actual, wish, NOW) is plugged
        assert decide(plugged, actual, Wish(ports=()), NOW).ports == ()
        return
    problem = refusal(VM, actual, wish).problem
    assert (problem.status, problem.errors[0].field) == (409, "ports")
    assert refusal(DELETED, Actual.RUNNING, wish).problem.errors[0].field == "ports"
