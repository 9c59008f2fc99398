"""A host that loses touch with the cloud: its HA guests end, none is started, and all is as before when it is back.

The test keeps the host's word of its lease, and is its guard.
"""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from common import clock, keys
from common.guests import HaMarks
from common.lifeline import Lifeline
from common.process import boot_id
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Requested
from devcloud import processes
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.rig import BLANK, Rig
from ucloud_host.guests import Guests
from ucloud_vm.permit import GIVEN_UP, LOST_TOUCH

TTL_S = 60


class Touch:
    """The host's word of its lease, and its guard."""

    def __init__(self, rig: Rig) -> None:
        self._lifeline = Lifeline(rig.host.run / "host", boot_id())
        self.guests = Guests(rig.host.run / "libvirt/qemu", HaMarks(rig.host.run / "vm"))

    def keep(self) -> None:
        """The lease was just renewed."""
        self._lifeline.renewed_at = clock.now()

    def lose(self) -> None:
        """The lease was renewed too long ago."""
        self._lifeline.renewed_at = clock.now() - TTL_S

    def end_guests(self) -> set[str]:
        """End the HA guests as the guard does; returns which there were."""
        found = set(self.guests.end_ha())
        wait_for("the end of HA guests", lambda: not self.guests.end_ha(), 30)
        return found


@pytest.fixture
def touch(host_rig: Rig, rig: Rig) -> Iterator[Touch]:
    """A ucloud-vm that counts on a guard."""
    touch = Touch(host_rig)
    rig.restart(
        "ucloud-vm",
        UCLOUD_FENCE_METHODS="self+storage",
        UCLOUD_HOST_RUN_DIRECTORY=str(rig.host.run / "host"),
        UCLOUD_HOST_ALIVE_TTL_S=str(TTL_S),
    )
    yield touch
    touch.lose()


def test_ha_guests_end_and_come_back_and_others_run_on(rig: Rig, touch: Touch) -> None:
    ha, other = rig.new_vm(), rig.new_vm()
    touch.lose()
    rig.order(ha, Requested.RUNNING, 1, BLANK)
    rig.wait_status(ha, Actual.STARTING, 1, LOST_TOUCH)
    assert rig.qemu_pids(ha) == set()
    rig.order(other, Requested.RUNNING, 1, BLANK, ha=False)
    rig.wait_status(other, Actual.RUNNING, 1)
    (other_pid,) = rig.qemu_pids(other)

    touch.keep()
    rig.wait_status(ha, Actual.RUNNING, 1)
    (pid,) = rig.qemu_pids(ha)
    processes.send([pid], signal.SIGSTOP)  # also one that is frozen

    touch.lose()
    ended = touch.end_guests()  # those that other tests have left, too
    assert ha in ended
    assert other not in ended
    assert not processes.is_alive(pid)
    assert rig.qemu_pids(other) == {other_pid}
    rig.wait_event(ha, "KILLED: the process that runs the guest died")
    rig.wait_status(ha, Actual.STARTING, 1, LOST_TOUCH)
    touch.keep()
    rig.wait_status(ha, Actual.RUNNING, 1)

    # What an owner changes counts at once, in both directions.
    rig.order(other, Requested.RUNNING, 2, BLANK, ha=True)
    rig.order(ha, Requested.RUNNING, 2, BLANK, ha=False)
    for vm in (ha, other):
        rig.wait_status(vm, Actual.RUNNING, 2)
    ended = touch.end_guests()
    assert other in ended
    assert ha not in ended
    assert len(rig.qemu_pids(ha)) == 1
    for vm in (ha, other):
        rig.delete(vm, 3)


def test_a_paused_guest_does_not_go_on_without_touch(rig: Rig, touch: Touch) -> None:
    vm = rig.new_vm()
    touch.keep()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 1)
    rig.order(vm, Requested.SUSPENDED, 2, BLANK)
    rig.wait_status(vm, Actual.SUSPENDED, 2)
    touch.lose()
    rig.order(vm, Requested.RUNNING, 3, BLANK)
    rig.wait_status(vm, Actual.SUSPENDED, 3, LOST_TOUCH)
    touch.keep()
    rig.wait_status(vm, Actual.RUNNING, 3)
    rig.delete(vm, 4)


def test_a_host_that_was_given_up_starts_nothing_until_it_is_back(rig: Rig, touch: Touch) -> None:
    vm, key = rig.new_vm(), keys.verdict(rig.host.name)
    touch.keep()
    verdict = Verdict(host=rig.host.name, sentence=Sentence.DEAD, since=datetime.now(UTC))
    rig.put(key, verdict.to_json())
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.STARTING, 1, GIVEN_UP)
    assert rig.qemu_pids(vm) == set()
    rig.remove(key)
    rig.wait_status(vm, Actual.RUNNING, 1)
    rig.delete(vm, 2)
