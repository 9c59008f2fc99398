"""A VM on its way from one host to another, as each of the two sees it: docs/design/0008-moves.md. Pure.

Nothing here starts or resumes a guest: that is done by whose VM it is when the move is over. It must never say FAILED
while another host may have the guest, nor DONE while it may be here, nor end a guest that runs before its placement
says that it has left.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from common.decision import Failure
from common.schemas.disk import ROOT, DiskSpec
from common.schemas.vm import Actual, Leaving, MoveReport, MoveState, Placement, Requested
from ucloud_vm.hypervisor import Domain, Journey, OffCause, Power, Sending
from ucloud_vm.planning import disks, plugging
from ucloud_vm.planning.steps import (
    Action,
    AllowDowntime,
    CreateArrivingDisks,
    KeepArrivedDisks,
    MakeFolder,
    Observation,
    PowerOff,
    RemoveDisks,
    Send,
    SendRestLater,
    StopSending,
    Undefine,
)
from ucloud_vm.planning.stopping import Guest, bring_down

LOOK_AGAIN_S = 1.0
PATIENCE = 3
"""So often a host tries to get ready for a VM that comes."""
DOWNTIMES_MS = ((16, 4000), (8, 2000), (4, 1000))
"""How long a guest may stand still at the end, from which pass through its memory: at first 300 ms, QEMU's default."""
PASSES_BEFORE_POST_COPY = 2
CUT_OFF = "its move was cut off, and another host may have had it"
HAS_MOVED = "it has moved to another host"
TRANSITIONAL = (Power.STARTING, Power.CHANGING, Power.DYING)
_SETTLED = {Power.RUNNING: Actual.RUNNING, Power.PAUSED: Actual.SUSPENDED, Power.STUCK: Actual.SUSPENDED}


@dataclass(frozen=True)
class Turn:
    """What is to be said of a VM that moves, and what to do."""

    actual: Actual
    move: MoveReport | None
    reason: str = ""
    actions: tuple[Action, ...] = ()
    again_in_s: float | None = None


@dataclass(frozen=True)
class Departure:
    """A VM that is to leave this host, whose `leaving.uri` is set. `report` is what was said of this move last.

    `lasts` is for how long it has been MIGRATING; `owes_reboot`: its owner wants a reboot that is not done.
    """

    placement: Placement
    leaving: Leaving
    observed: Observation
    report: MoveReport | None
    failure: Failure | None
    lasts: timedelta
    owes_reboot: bool
    stop_timeout: timedelta
    post_copy: bool

    def decide(self, now: datetime) -> Turn:
        """The next step."""
        if self.report and self.report.state is MoveState.FAILED:
            return self._stay(self.report)
        if self.report and self.report.state is MoveState.DONE:
            return Turn(Actual.MIGRATING, self.report)
        if not self._has_begun and (why := self._why_not()):
            return self._fail(why)
        return self._send() if self.leaving.live else self._bring_down(now)

    @property
    def _has_begun(self) -> bool:
        """Whether the guest may have left; by the status, or, should that be lost, by what is seen."""
        domain, sent = self._domain, self.observed.sent
        is_on_its_way = domain is not None and (
            domain.sending is not None or domain.power is Power.BETWEEN or domain.off_cause is OffCause.MOVED
        )
        # What has ended may have been an earlier try, which had the same epoch.
        return self.report is not None or is_on_its_way or (sent is not None and sent.under_way)

    def _why_not(self) -> str:
        """Why the move can't even begin."""
        power = self._domain.power if self._domain else Power.OFF
        if self.leaving.cancelled:
            return "it was cancelled"
        if power is Power.STUCK:
            return "a disk of it can't be written"
        return self._why_not_live() if self.leaving.live else self._why_not_cold(power)

    def _why_not_cold(self, power: Power) -> str:
        if self.leaving.copies_disks:
            return "its disks can't be copied while it is off"
        if power is Power.PAUSED and self._requested is Requested.SUSPENDED:
            return "it is suspended, and would have to be shut down"
        return ""

    def _why_not_live(self) -> str:
        domain = self._domain
        if domain is None or domain.power is Power.OFF or domain.epoch != self.placement.epoch:
            return "it does not run"
        if self._is_unwanted:
            return f"it is to be {self._requested}"
        if self.owes_reboot:
            return "it is to be rebooted first"
        if not disks.fits(self._disks, domain):
            return "its disks are not as requested yet"
        if self.leaving.copies_disks and self.placement.request.snapshots:
            return "it has snapshots, which a copy of its disks would not have"
        if self.leaving.copies_disks and not self._has_requested_sizes():
            return "its disks are not as large as requested yet"
        if not plugging.fits(self.placement.request.ports, domain):
            return "its ports are not as requested yet"
        return ""

    # --- live ---------------------------------------------------------------------------------------------------------

    def _send(self) -> Turn:
        domain, sent = self._domain, self.observed.sent
        if sent and sent.epoch != self.leaving.epoch:
            sent = None
        if not self._has_begun:
            leaving = self.leaving
            journey = Journey(leaving.epoch, leaving.uri, leaving.copies_disks, self.post_copy)
            return self._under_way(Send(journey))
        if domain and domain.sending:
            return self._hurry(domain, domain.sending)
        if (sent and sent.under_way) or (domain and domain.power in TRANSITIONAL):
            return self._under_way()
        problem = "it was cancelled" if self.leaving.cancelled else sent.problem if sent else ""
        if domain is None or domain.power is Power.OFF:
            if (domain and domain.off_cause is OffCause.MOVED) or (sent and not sent.problem):
                return self._done()
            return self._uncertain(problem or "its guest ended while it was sent")
        if domain.power is Power.BETWEEN:
            return self._uncertain(problem or CUT_OFF)
        # QEMU lets it run here only with the locks of its disks, which the other host's then has not.
        return self._fail(problem or "it was interrupted")

    def _hurry(self, domain: Domain, sending: Sending) -> Turn:
        """It is being sent: stop that, or help a guest along that writes faster than it can be sent, each way once."""
        actions: tuple[Action, ...] = ()
        if domain.power is not Power.BETWEEN:
            downtime_ms = next((ms for passes, ms in DOWNTIMES_MS if sending.passes >= passes), 0)
            if self._is_unwanted or self.leaving.cancelled:
                actions = (StopSending(),)
            elif self.post_copy:
                is_due = sending.passes >= PASSES_BEFORE_POST_COPY and domain.power is Power.RUNNING
                actions = (SendRestLater(),) if is_due else ()
            elif 0 < sending.max_downtime_ms < downtime_ms:
                actions = (AllowDowntime(downtime_ms),)
        news = (action for action in actions if action not in self.observed.told)
        return self._under_way(*news, percent=sending.percent)

    @property
    def _is_unwanted(self) -> bool:
        """Whether its owner wants something that a guest on its way can't do."""
        is_paused = self._domain is not None and self._domain.power is Power.PAUSED
        return self._requested in (Requested.STOPPED, Requested.DELETED) or (
            self._requested is Requested.SUSPENDED and not is_paused
        )

    def _has_requested_sizes(self) -> bool:
        """The other host has made disks of the sizes that are requested, and a copy has exactly the original's."""
        sizes_mib = self.observed.disks_mib or {}
        return all(sizes_mib.get(disk.serial) == disk.size_mib for disk in self._disks)

    @property
    def _disks(self) -> tuple[DiskSpec, ...]:
        return self.placement.request.specs.disks

    # --- cold ---------------------------------------------------------------------------------------------------------

    def _bring_down(self, now: datetime) -> Turn:
        """Shut the guest down, then forget the domain: the other host makes one of its own."""
        domain = self._domain
        if self.leaving.cancelled:
            return self._fail("it was cancelled")
        if self.failure and self.failure.permanent:
            return self._fail(self.failure.reason)
        if domain is None or domain.power is Power.OFF:
            return self._under_way(Undefine()) if domain or self.observed.run_files else self._done()
        left = self.stop_timeout - self.lasts
        if domain.power is Power.RUNNING:
            guest = Guest(domain.power, self.observed.shutdown_asked_at, resumed=True)
            push = bring_down(guest, left, self.placement.request.force, self.stop_timeout, now)
            return self._under_way(*push.actions, again_in_s=push.again_in_s, reason=push.reason)
        if domain.power not in TRANSITIONAL or left <= timedelta():
            return self._under_way(PowerOff("it can't be shut down as it is"))
        return self._under_way()

    # --- what is said -------------------------------------------------------------------------------------------------

    def _under_way(
        self, *actions: Action, percent: int = 0, again_in_s: float | None = LOOK_AGAIN_S, reason: str = ""
    ) -> Turn:
        percent = max(percent, self.report.percent if self.report else 0)
        move = MoveReport(epoch=self.leaving.epoch, state=MoveState.RUNNING, percent=percent)
        reason = reason or (self.failure.reason if self.failure else f"it goes to {self.leaving.to}")
        return Turn(Actual.MIGRATING, move, reason, actions, again_in_s)

    def _done(self) -> Turn:
        move = MoveReport(epoch=self.leaving.epoch, state=MoveState.DONE, percent=100)
        return Turn(Actual.MIGRATING, move, f"it has gone to {self.leaving.to}")

    def _uncertain(self, why: str) -> Turn:
        move = MoveReport(epoch=self.leaving.epoch, state=MoveState.UNCERTAIN, reason=why)
        reason = f"whether it has gone to {self.leaving.to} is not known yet: {why}"
        return Turn(Actual.MIGRATING, move, reason, again_in_s=LOOK_AGAIN_S)

    def _fail(self, why: str) -> Turn:
        return self._stay(MoveReport(epoch=self.leaving.epoch, state=MoveState.FAILED, reason=why))

    def _stay(self, move: MoveReport) -> Turn:
        """It is where it was, and left alone until nothing of the move is left on the other host either."""
        actual = _SETTLED.get(self._domain.power, Actual.MIGRATING) if self._domain else Actual.MIGRATING
        return Turn(actual, move, f"it could not move to {self.leaving.to}: {move.reason}")

    @property
    def _domain(self) -> Domain | None:
        return self.observed.domain

    @property
    def _requested(self) -> Requested:
        return self.placement.request.requested


def arrive(placement: Placement, observed: Observation, report: MoveReport | None, failure: Failure | None) -> Turn:
    """The next step with a VM that is to come from another host; `report` is what was said of this move last."""
    domain = observed.domain
    reason = f"it comes from {placement.coming_from}"
    if report and report.state is MoveState.FAILED:
        return Turn(Actual.MIGRATING, report, f"{reason}, but this host can't take it: {report.reason}")

    def fail(why: str) -> Turn:
        move = MoveReport(epoch=placement.epoch, state=MoveState.FAILED, reason=why)
        return Turn(Actual.MIGRATING, move, f"{reason}, but this host can't take it: {why}")

    is_here = domain is not None and domain.epoch == placement.epoch
    if domain and not is_here:
        if domain.power is not Power.OFF:
            return fail("a guest of an earlier life of it runs here")
        return Turn(Actual.MIGRATING, report, reason, (Undefine(),))
    if has_whole_disks(placement, observed):
        return Turn(Actual.MIGRATING, report, reason, (KeepArrivedDisks(),))
    if not is_here:
        if why := _why_not_here(placement, observed, failure):
            return fail(why)
        if observed.dock is None:
            empty = (CreateArrivingDisks(placement.request.specs.disks),) if placement.copies_disks else ()
            return Turn(Actual.MIGRATING, report, failure.reason if failure else reason, (*empty, MakeFolder()))
        if waiting := plugging.waits_for(placement.request.ports, observed):
            return Turn(Actual.MIGRATING, report, f"{reason}; {waiting}", again_in_s=LOOK_AGAIN_S)
    move = MoveReport(
        epoch=placement.epoch,
        state=MoveState.READY,
        uri=observed.dock or "",
        has_guest=domain is not None and domain.power in _SETTLED,
    )
    # Its arrival is told by the hypervisor; a guest that is half here may vanish without a word.
    return Turn(Actual.MIGRATING, move, reason, again_in_s=LOOK_AGAIN_S if domain and not move.has_guest else None)


def _why_not_here(placement: Placement, observed: Observation, failure: Failure | None) -> str:
    """Why this host can't take a VM that has not arrived yet."""
    if failure and (failure.permanent or failure.count >= PATIENCE):
        return failure.reason
    # A second disk may have been asked for and be made by the next start only, so it is not missed.
    if ROOT not in (observed.disks_mib or {}) and not placement.copies_disks:
        return "its SSD is not in this host's store: do the hosts share one?"
    return ""


def has_whole_disks(placement: Placement, observed: Observation) -> bool:
    """Whether the disks that were made to be copied into have been.

    The hypervisor keeps a domain of the new epoch only when the guest has arrived, and its disks with it.
    """
    domain = observed.domain
    is_whole = domain is not None and domain.power not in (*TRANSITIONAL, Power.BETWEEN)
    return observed.disks_arriving and is_whole and domain is not None and domain.epoch == placement.epoch


def clean_up(placement: Placement, observed: Observation) -> Turn:
    """The next step with what is left of a VM that has moved away."""
    domain = observed.domain
    if domain and domain.epoch > placement.epoch:
        return Turn(Actual.ERROR, None, "it has left, but its domain here is of a later life")
    if domain and domain.power is not Power.OFF:
        return Turn(Actual.DELETING, None, HAS_MOVED, (PowerOff(HAS_MOVED),))
    if domain or observed.run_files:
        return Turn(Actual.DELETING, None, HAS_MOVED, (Undefine(),))
    if observed.disk_files and placement.leaving and placement.leaving.copies_disks:
        return Turn(Actual.DELETING, None, HAS_MOVED, (RemoveDisks(),))
    return Turn(Actual.DELETED, None, HAS_MOVED)
