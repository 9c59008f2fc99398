"""A VM's ports: what its guest gets and loses while it runs, and what it waits for before it starts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.decision import Decision, Failure
from common.schemas.port import Port
from common.schemas.vm import Actual, Console, Placement, Requested, Specs, VmRequest, VmStatus
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.nics import NO_BRIDGE
from ucloud_vm.planning import steps
from ucloud_vm.planning.plan import Planner
from ucloud_vm.planning.plugging import KEEPS, LATER, LOOK_AGAIN_S, change
from ucloud_vm.planning.steps import Action, Observation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPECS = Specs.of(cpu=1, ram_mib=128, ssd_mib=1024)
NET, OTHER_NET = "6b1c7c1e-0000-4000-8000-000000000001", "6b1c7c1e-0000-4000-8000-000000000002"
ONE = Port(id="00000000a1", network=NET, ipv6=IPv6Address("fd00::1"), ipv4=IPv4Address("10.0.0.1"))
TWO = Port(id="00000000b2", network=OTHER_NET, ipv6=IPv6Address("fd00::2"))
LACKING = {OTHER_NET: NO_BRIDGE}
WAITS = f"waiting for network {OTHER_NET}: {NO_BRIDGE}"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def order(*ports: Port, requested: Requested = Requested.RUNNING, **specs: int) -> Placement:
    request = VmRequest(
        uuid="5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10",
        owner="admin",
        name="web",
        image="00000000-0000-4000-8000-00000000001a",
        specs=Specs.of(**{"cpu": 1, "ram_mib": 128, "ssd_mib": 1024, **specs}),
        requested=requested,
        ports=ports,
        created_at=ago(900),
    )
    return Placement(epoch=1, generation=1, request=request, placed_at=ago(800))


def seen(power: Power, *ports: Port, plugs: bool = True, **more: object) -> Observation:
    """What is here of a VM whose domain has these ports."""
    domain = Domain(
        1, power, specs=SPECS, disks=frozenset({"root"}), ports=frozenset(port.id for port in ports), plugs=plugs
    )
    plain = Observation(Console(url="http://[::1]/vm", token="t"), domain, disks_mib={"root": 1024}, run_files=True)
    return replace(plain, **more)  # type: ignore[arg-type]


def said(actual: Actual, reason: str = "") -> VmStatus:
    return VmStatus(epoch=1, generation=1, actual=actual, since=ago(100), reason=reason)


def decide(
    placement: Placement, observed: Observation, previous: VmStatus | None = None, failure: Failure | None = None
) -> Decision[VmStatus, Action]:
    return Planner(30, 60)(placement, observed, previous, failure, NOW)


CREATE_HDD = steps.CreateDisks("00000000-0000-4000-8000-00000000001a", Specs.of(1, 128, 1024, 8).disks[1:])
PLUG_TWO, UNPLUG_TWO = steps.Plug(TWO), steps.Unplug(TWO.id)
STOPPED = Requested.STOPPED


@pytest.mark.parametrize(
    ("placement", "observed", "actions", "reason"),
    [
        # While it runs it gets what it has not, and lets go of what it is to lose.
        (order(ONE), seen(Power.RUNNING, ONE), (), ""),
        (order(ONE, TWO), seen(Power.RUNNING, ONE), (PLUG_TWO,), ""),
        (order(ONE), seen(Power.RUNNING, ONE, TWO), (UNPLUG_TWO,), ""),
        (order(ONE), seen(Power.RUNNING, TWO), (steps.Plug(ONE), UNPLUG_TWO), ""),
        # A bridge that is not there holds up its own port alone.
        (order(ONE, TWO), seen(Power.RUNNING, lacking=LACKING), (steps.Plug(ONE),), ""),
        (order(ONE, TWO), seen(Power.RUNNING, ONE, lacking=LACKING), (), WAITS),
        (order(ONE, TWO), seen(Power.RUNNING, ONE, TWO, lacking=LACKING), (), ""),
        # It is asked to let go now and then, and it is told that it does not.
        (order(), seen(Power.RUNNING, TWO, unplug_asked_at={TWO.id: ago(9)}), (), ""),
        (order(), seen(Power.RUNNING, TWO, unplug_asked_at={TWO.id: ago(10)}), (UNPLUG_TWO,), KEEPS),
        # A guest that is paused answers nothing.
        (order(ONE), seen(Power.PAUSED, TWO), (steps.Resume(),), ""),
        (order(ONE, requested=Requested.SUSPENDED), seen(Power.PAUSED, TWO), (), ""),
        # The hypervisor can't.
        (order(ONE), seen(Power.RUNNING, plugs=False), (), LATER),
        # While it is off it is defined anew, with the disks that there are.
        (order(ONE, requested=STOPPED), seen(Power.OFF, ONE), (), ""),
        (order(ONE, requested=STOPPED, hdd_mib=8), seen(Power.OFF), (steps.Define(1, SPECS, (ONE,)), CREATE_HDD), ""),
        (order(requested=STOPPED), seen(Power.OFF, ONE, lacking=LACKING), (steps.Define(1, SPECS),), ""),
        # A start takes them all along, and waits for their bridges.
        (order(ONE, TWO), seen(Power.OFF, ONE), (steps.Start(1, SPECS, (ONE, TWO)),), ""),
        (order(ONE, TWO), seen(Power.OFF, ONE, TWO, lacking=LACKING), (), WAITS),
        # What is to go waits for nothing.
        (order(TWO, requested=Requested.DELETED), seen(Power.OFF, lacking=LACKING), (steps.Undefine(),), ""),
        (order(TWO, requested=STOPPED), seen(Power.RUNNING, TWO, lacking=LACKING), (steps.ShutDown(),), ""),
    ],
)
def test_the_next_step(placement: Placement, observed: Observation, actions: tuple[Action, ...], reason: str) -> None:
    decision = decide(placement, observed)
    assert decision.status is not None
    assert (decision.actions, decision.status.reason) == (actions, reason)
    if reason == WAITS:
        assert decision.again_in_s == LOOK_AGAIN_S


def test_disks_are_made_and_the_domain_is_defined_while_the_bridge_is_waited_for() -> None:
    nothing = replace(seen(Power.OFF, lacking=LACKING), domain=None, disks_mib={})
    decision = decide(order(TWO), nothing)
    assert [type(action) for action in decision.actions] == [steps.CreateDisks]
    decision = decide(order(TWO), replace(nothing, disks_mib={"root": 1024}), decision.status)
    assert decision.actions == (steps.Define(1, SPECS, (TWO,)),)
    waiting = decide(order(TWO), seen(Power.OFF, TWO, lacking=LACKING), decision.status)
    assert waiting.status is not None
    assert (waiting.actions, waiting.status.actual, waiting.status.reason) == ((), Actual.DEPLOYING, WAITS)
    assert decide(order(TWO), seen(Power.OFF, TWO, lacking=LACKING), waiting.status).status == waiting.status
    started = decide(order(TWO), seen(Power.OFF, TWO), waiting.status)
    assert started.actions == (steps.Start(1, SPECS, (TWO,)),)


def test_a_guest_that_died_and_waits_for_a_bridge_has_died_once() -> None:
    crashed = seen(Power.OFF, TWO, lacking=LACKING)
    assert crashed.domain is not None
    crashed = replace(crashed, domain=replace(crashed.domain, off_cause=OffCause.CRASHED))
    previous, kinds = said(Actual.RUNNING), []
    for _ in range(4):
        decision = decide(order(TWO), crashed, previous)
        assert decision.status is not None
        previous = decision.status.model_copy(update={"since": ago(100)})
        kinds.append(previous.actual)
    assert kinds == [Actual.KILLED, Actual.DEPLOYING, Actual.DEPLOYING, Actual.DEPLOYING]
    there = replace(crashed, lacking={})
    assert decide(order(TWO), there, previous).actions == (steps.Start(1, SPECS, (TWO,)),)


def test_that_a_guest_keeps_a_port_is_told_until_it_has_let_go() -> None:
    asked = seen(Power.RUNNING, TWO, unplug_asked_at={TWO.id: ago(4)})
    decision = decide(order(), asked, said(Actual.RUNNING, KEEPS))
    assert decision.status is not None
    assert (decision.actions, decision.status.reason, decision.again_in_s) == ((), KEEPS, 5)
    gone = decide(order(), replace(seen(Power.RUNNING), unplug_asked_at={TWO.id: ago(4)}), decision.status)
    assert gone.status is not None
    assert (gone.actions, gone.status.reason) == ((), "")


def test_a_port_that_can_not_be_plugged_in_is_in_no_other_chores_way() -> None:
    observed = seen(Power.RUNNING, TWO)
    first = {
        decide(order(ONE, ssd_mib=2048), observed, None, Failure(count, "no", permanent=False, at=ago(1))).actions[0]
        for count in range(1, 4)
    }
    assert {type(action) for action in first} == {steps.Plug, steps.Unplug, steps.GrowDisks}


def test_a_guest_that_is_on_has_the_addresses_of_the_ports_that_it_has() -> None:
    for observed, found in (
        (seen(Power.RUNNING, ONE), ("fd00::1", "10.0.0.1")),
        (seen(Power.RUNNING, ONE, TWO), ("fd00::1", "10.0.0.1", "fd00::2")),
        (seen(Power.RUNNING, lacking=LACKING), ()),
        (seen(Power.OFF, ONE, TWO), ()),
    ):
        status = decide(order(ONE, TWO), observed).status
        assert status is not None
        assert status.addresses == found


ports = st.sets(st.sampled_from([ONE, TWO])).map(lambda chosen: tuple(sorted(chosen, key=lambda port: port.id)))
times = st.none() | st.floats(0, 30).map(ago)


@given(ports, ports, st.sampled_from(Power), st.booleans(), times, st.sampled_from(["", KEEPS]))
def test_nothing_is_plugged_without_a_bridge_nor_unplugged_that_is_wanted(
    wanted: tuple[Port, ...], there: tuple[Port, ...], power: Power, lacks: bool, asked: datetime | None, reason: str
) -> None:
    asked_at = {TWO.id: asked} if asked else {}
    observed = seen(power, *there, lacking=LACKING if lacks else {}, unplug_asked_at=asked_at)
    plugging = change(wanted, observed, reason, NOW)
    plugged = {action.port.id for action in plugging.actions if isinstance(action, steps.Plug)}
    unplugged = {action.port for action in plugging.actions if isinstance(action, steps.Unplug)}
    assert plugged <= {port.id for port in wanted if not lacks or port != TWO} - {port.id for port in there}
    assert unplugged <= {port.id for port in there} - {port.id for port in wanted}
    if plugging.actions:
        assert power is Power.RUNNING
    if wanted == there:
        assert plugging == type(plugging)()
    elif power is Power.RUNNING:
        assert plugging.actions or plugging.again_in_s
