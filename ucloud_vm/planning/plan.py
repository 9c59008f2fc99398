"""What to do about one VM on this host: from its placement and what is here to the status and the next steps. Pure.

It must never start a guest unless its placement says RUNNING, nor while its disks are to be rolled back; and never
remove all disks unless it says DELETED.

What a later look must know of an earlier one is in the status: since when a VM is being stopped, whether its guest
powered itself off, how often it died of late, how many of its reboots are done. So nothing is forgotten when the daemon
dies. A reboot is done as soon as its guest is off and the status says that it is being started.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from common.decision import Decision, Failure
from common.schemas.disk import DiskSpec
from common.schemas.port import Port
from common.schemas.snapshot import SnapshotReport
from common.schemas.vm import Actual, MoveReport, Placement, Requested, Role, Specs, VmRequest, VmStatus
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.planning import disks, moving, plugging, snapshots
from ucloud_vm.planning.report import NOT_ORDERED, report
from ucloud_vm.planning.steps import (
    Action,
    CreateDisks,
    Define,
    DropArrivingDisks,
    GrowDisks,
    KeepArrivedDisks,
    Observation,
    PowerOff,
    RemoveDisks,
    Resume,
    SetHa,
    Start,
    StopSending,
    Suspend,
    Undefine,
)
from ucloud_vm.planning.stopping import Guest, bring_down

KILLS_REMEMBERED = timedelta(minutes=10)
RETRY_STUCK = timedelta(seconds=10)
START_TIMEOUT = timedelta(seconds=10)
_FIRST_RESTART_S = 1.0
_MAX_RESTART_S = 60.0
_LOOK_SOON_S = 1.0
_LOOK_AGAIN_S = 5.0
_AT_REST = (Actual.RUNNING, Actual.SUSPENDED, Actual.STOPPED)

POWERED_OFF_BY_GUEST = "powered off by the guest"
REBOOT = "to be started again: a reboot"
STUCK = "a disk of this VM can't be written, is the store of its host full?"
START_ABANDONED = "its start was interrupted, it is begun anew"
ROLLS_BACK = "its disks are rolled back"
GIVEN_UP = "its move to this host was given up"
NOT_WHOLE = "its disks have not arrived whole: its move to this host was cut off"


def _is_going(placement: Placement) -> bool:
    """Whether nothing of the VM but its disks is to be left here."""
    leaves_cold = _is_leaving(placement) and placement.leaving is not None and not placement.leaving.live
    return placement.role is Role.LEFT or placement.request.requested is Requested.DELETED or leaves_cold


@dataclass(frozen=True)
class Planner:
    """The plan with its settings. Its call has the shape that common.controller wants."""

    stop_timeout_s: int
    orphan_grace_s: int
    post_copy: bool = False
    """Guests that are sent to another host go on there before all of their memory has come."""

    def __call__(
        self,
        request: Placement | None,
        observed: Observation,
        previous: VmStatus | None,
        failure: Failure | None,
        now: datetime,
    ) -> Decision[VmStatus, Action]:
        """The status and the steps for one VM."""
        if request is None:
            return _Orphan(observed, previous, now, timedelta(seconds=self.orphan_grace_s)).decide()
        if observed.ha is not request.request.ha and not _is_going(request):
            return Decision(previous, (SetHa(request.request.ha),))
        if previous and request.role is Role.RUN and not _is_leaving(request):
            previous = previous.model_copy(update={"move": None})
        timeout = timedelta(seconds=self.stop_timeout_s)
        return _Look(request, observed, previous, failure, now, timeout, self.post_copy).decide()


@dataclass(frozen=True)
class _Orphan:
    """A VM that is not ordered here: its domain goes after a time of grace, its disks stay."""

    observed: Observation
    previous: VmStatus | None
    now: datetime
    grace: timedelta

    def decide(self) -> Decision[VmStatus, Action]:
        if self.observed.obstacle:
            return Decision(self.previous)
        domain = self.observed.domain
        if domain is None or domain.power is Power.OFF:
            if domain or self.observed.run_files:
                drop = (DropArrivingDisks(),) if self.observed.disks_arriving else ()
                return Decision(self.previous, (*drop, Undefine()))
            return Decision(None)
        if domain.power is Power.BETWEEN and self._was_to_come(domain):
            return Decision(self.previous, (PowerOff(GIVEN_UP),))
        known = self.previous or VmStatus(epoch=domain.epoch, generation=0, actual=Actual.UNKNOWN, since=self.now)
        status = report(known, Actual.STOPPING, NOT_ORDERED, self.now)
        left = status.since + self.grace - self.now
        if left > timedelta():
            return Decision(status, again_in_s=left.total_seconds())
        return Decision(status, (PowerOff(NOT_ORDERED),))

    def _was_to_come(self, domain: Domain) -> bool:
        """Whether it was on its way to this host, rather than away: it has not run here, so it needs no grace."""
        move = self.previous.move if self.previous else None
        return move is not None and move.epoch == domain.epoch


@dataclass(frozen=True)
class _Look:
    """A VM that is ordered here."""

    placement: Placement
    observed: Observation
    previous: VmStatus | None
    failure: Failure | None
    now: datetime
    stop_timeout: timedelta
    post_copy: bool

    def decide(self) -> Decision[VmStatus, Action]:
        if self.observed.obstacle:
            known = self.previous if self.previous and self.previous.epoch == self.placement.epoch else None
            actual, move = (known.actual, known.move) if known else (Actual.ERROR, None)
            status = self._status(actual, self.observed.obstacle, move)
            if known:
                # What was is no answer to what is asked for now: a guest that is off is still to be started.
                status = status.model_copy(update={"generation": known.generation})
            return Decision(status, again_in_s=_LOOK_AGAIN_S)
        if turn := self._move():
            status = self._status(turn.actual, turn.reason, turn.move)
            return Decision(status, turn.actions, turn.again_in_s)
        return self._decide_here()

    def _decide_here(self) -> Decision[VmStatus, Action]:
        """What to do with a VM that is ordered here and nowhere else."""
        domain = self.observed.domain
        if domain and domain.sending and StopSending() not in self.observed.told:
            return self._do(Actual.RUNNING, StopSending())
        if self._request.requested is Requested.DELETED:
            return self._delete()
        if moving.has_whole_disks(self.placement, self.observed):
            return self._do(Actual.MIGRATING, KeepArrivedDisks())
        if domain is None or domain.power is Power.OFF:
            return self._decide_off(domain)
        return self._decide_on(domain)

    def _decide_on(self, domain: Domain) -> Decision[VmStatus, Action]:
        if domain.epoch != self.placement.epoch:
            # It was left here from an earlier life: since then the disk may have been written elsewhere.
            return self._do(Actual.STOPPING, PowerOff("it was started for an earlier placement"))
        if domain.power is Power.BETWEEN:
            # Only if nobody else has run it since could it go on from where it stands; and that nobody can tell.
            return self._do(Actual.STOPPING, PowerOff(moving.CUT_OFF))
        if domain.power in moving.TRANSITIONAL:
            return self._await_change(domain)
        return self._settle(domain)

    def _move(self) -> moving.Turn | None:
        """The next step of a VM that is between two hosts."""
        previous = self.previous if self.previous and self.previous.epoch == self.placement.epoch else None
        report = previous.move if previous else None
        if self.placement.role is Role.LEFT:
            return moving.clean_up(self.placement, self.observed)
        if self.placement.role is Role.INCOMING:
            return moving.arrive(self.placement, self.observed, report, self.failure)
        leaving = self.placement.leaving
        if not leaving or not leaving.uri:
            return None
        report = report if report and report.epoch == leaving.epoch else None
        domain = self.observed.domain
        if report is None and domain and domain.power in moving.TRANSITIONAL:
            return None  # first it must have become something
        is_known = previous is not None and previous.actual is Actual.MIGRATING
        lasts = self.now - previous.since if previous and is_known else timedelta()
        return moving.Departure(
            placement=self.placement,
            leaving=leaving,
            observed=self.observed,
            report=report,
            failure=self.failure,
            lasts=lasts,
            owes_reboot=self._owes_reboot,
            stop_timeout=self.stop_timeout,
            post_copy=self.post_copy,
        ).decide(self.now)

    def _decide_off(self, domain: Domain | None) -> Decision[VmStatus, Action]:
        if self.observed.disks_arriving:
            return self._say(Actual.ERROR, NOT_WHOLE)
        if domain and (lost := disks.lost(self._specs.disks, self.observed, domain)):
            # They were here, and a new disk is not the old one.
            return self._say(Actual.ERROR, f"its {' and '.join(lost)} is gone from this host's store", _LOOK_AGAIN_S)
        if domain is None or domain.epoch != self.placement.epoch:
            return self._deploy()
        return self._settle(domain)

    def _deploy(self) -> Decision[VmStatus, Action]:
        """First the disks, then the domain: so a domain says that its disks were made."""
        if missing := self._missing_disks():
            return self._do(Actual.DEPLOYING, CreateDisks(self._request.image, missing))
        return self._do(Actual.DEPLOYING, Define(self.placement.epoch, self._specs, self._ports))

    def _missing_disks(self) -> tuple[DiskSpec, ...]:
        return disks.missing(self._specs.disks, self.observed)

    def _await_change(self, domain: Domain) -> Decision[VmStatus, Action]:
        """The domain is on its way. A start that is not this daemon's own any more must not take for ever.

        A libvirtd that died in the midst of a start leaves the guest paused, and its successor does not go on.
        """
        is_news = self.previous is None or self._died(domain)
        if domain.power is Power.DYING and self._request.requested is not Requested.STOPPED and is_news:
            return self._say(Actual.KILLED, _cause_of_death(domain), _LOOK_SOON_S)
        if domain.power is not Power.STARTING:
            return Decision(self.previous or self._status(Actual.STARTING), again_in_s=_LOOK_SOON_S)
        status = self._status(Actual.STARTING, self.failure.reason if self.failure else "")
        left = status.since + START_TIMEOUT - self.now
        if left > timedelta():
            return Decision(status, again_in_s=left.total_seconds())
        return self._do(Actual.STOPPING, PowerOff(START_ABANDONED))

    def _settle(self, domain: Domain) -> Decision[VmStatus, Action]:
        """Bring a VM that is deployed to the requested state; first its disks to what they are to be rolled back to."""
        if domain.power is Power.OFF and (roll_back := snapshots.due(self._request, self.observed)):
            actual = Actual.STOPPED if self._request.requested is Requested.STOPPED else Actual.DEPLOYING
            return self._do(actual, roll_back, reason=ROLLS_BACK)
        match self._request.requested:
            case Requested.RUNNING:
                return self._run(domain) if domain.power is not Power.OFF else self._start(domain)
            case Requested.SUSPENDED:
                return self._suspend(domain)
            case _:
                return self._rest(Actual.STOPPED, domain) if domain.power is Power.OFF else self._bring_down(domain)

    def _run(self, domain: Domain) -> Decision[VmStatus, Action]:
        if self._owes_reboot:
            return self._bring_down(domain, REBOOT)
        match domain.power:
            case Power.RUNNING:
                return self._rest(Actual.RUNNING, domain)
            case Power.PAUSED:
                return self._do(Actual.SUSPENDED, Resume())
            case _:
                return self._unstick()

    def _start(self, domain: Domain) -> Decision[VmStatus, Action]:
        """Start a guest that is off, unless it is to stay so. Whatever reboots it owes are done by that."""
        if not self._owes_reboot and (rest := self._stay_off(domain)):
            return rest
        if waiting := plugging.waits_for(self._ports, self.observed):
            return self._say(Actual.DEPLOYING, waiting, plugging.LOOK_AGAIN_S)
        missing = self._missing_disks()
        new = (CreateDisks(self._request.image, missing),) if missing else ()
        # That a disk can't be grown is no reason to stay off: it is tried again, and told, when the guest runs.
        small = disks.small(self._specs.disks, self.observed, domain)
        grow = (GrowDisks(small),) if small and not self.failure else ()
        start = Start(self.placement.epoch, self._specs, self._ports)
        decision = self._do(Actual.STARTING, *new, *grow, start)
        if not decision.actions or decision.status is None:
            return decision
        status = decision.status.model_copy(update={"reboots": self._request.reboots})
        return Decision(status, decision.actions)

    def _stay_off(self, domain: Domain) -> Decision[VmStatus, Action] | None:
        """Why a guest that is off stays so, for a while or until its owner asks anew; None when it is to be started."""
        if self._is_answered and self._was(Actual.STOPPED):
            return Decision(self.previous)
        if self._is_answered and self._powered_itself_off(domain):
            return self._say(Actual.STOPPED, POWERED_OFF_BY_GUEST)
        if self._died(domain):
            return self._say(Actual.KILLED, _cause_of_death(domain), self._restart_delay_s(1))
        if self._is_answered and self._was(Actual.KILLED) and self.previous:
            left_s = self._restart_delay_s() - (self.now - self.previous.since).total_seconds()
            if left_s > 0:
                return Decision(self.previous, again_in_s=left_s)
        return None

    def _bring_down(self, domain: Domain, purpose: str = "") -> Decision[VmStatus, Action]:
        """Bring a guest that is on down, to be stopped or for a `purpose`."""
        status = self._status(Actual.STOPPING, self.failure.reason if self.failure else purpose)
        resumed = self._was(Actual.STOPPING) and self.failure is None
        guest = Guest(domain.power, self.observed.shutdown_asked_at, resumed)
        left = status.since + self.stop_timeout - self.now
        push = bring_down(guest, left, self._request.force, self.stop_timeout, self.now)
        if push.reason:
            status = self._status(Actual.STOPPING, push.reason)
        return Decision(status, push.actions, push.again_in_s)

    def _suspend(self, domain: Domain) -> Decision[VmStatus, Action]:
        match domain.power:
            case Power.PAUSED:
                return self._rest(Actual.SUSPENDED, domain)
            case Power.STUCK:
                return self._say(Actual.SUSPENDED, STUCK)
            case Power.RUNNING:
                return self._do(Actual.RUNNING, Suspend())
        if self._powered_itself_off(domain):
            return self._say(Actual.STOPPED, POWERED_OFF_BY_GUEST)
        if self._died(domain):
            return self._say(Actual.KILLED, _cause_of_death(domain))
        if self.previous and self.previous.actual in (Actual.STOPPED, Actual.KILLED):
            return self._say(self.previous.actual, self.previous.reason)
        return self._say(Actual.STOPPED, "only a VM that runs can be suspended")

    def _delete(self) -> Decision[VmStatus, Action]:
        domain = self.observed.domain
        if domain and domain.power is not Power.OFF:
            return self._do(Actual.DELETING, PowerOff("its VM is to be deleted"))
        if domain or self.observed.run_files:
            return self._do(Actual.DELETING, Undefine())
        if self.observed.disk_files:
            return self._do(Actual.DELETING, RemoveDisks())
        return self._say(Actual.DELETED)

    def _unstick(self) -> Decision[VmStatus, Action]:
        """Let a guest try again, now and then, to write what its disk refused."""
        status = self._status(Actual.SUSPENDED, STUCK)
        left = status.since + RETRY_STUCK - self.now
        if left > timedelta():
            return Decision(status, again_in_s=left.total_seconds())
        return self._do(Actual.STARTING, Resume())

    @property
    def _request(self) -> VmRequest:
        return self.placement.request

    @property
    def _specs(self) -> Specs:
        return self.placement.request.specs

    @property
    def _ports(self) -> tuple[Port, ...]:
        return self.placement.request.ports

    @property
    def _reboots_done(self) -> int:
        """A new life on this host owes none of the reboots that were asked of an earlier one."""
        if self.previous is None or self.previous.epoch != self.placement.epoch:
            return self._request.reboots
        return min(self.previous.reboots, self._request.reboots)

    @property
    def _owes_reboot(self) -> bool:
        return self._reboots_done < self._request.reboots

    @property
    def _is_answered(self) -> bool:
        """Whether the last status speaks of this very request."""
        return (
            self.previous is not None
            and self.previous.epoch == self.placement.epoch
            and self.previous.generation == self.placement.generation
        )

    def _was(self, *states: Actual) -> bool:
        """Whether the last status of this placement was one of `states`."""
        return (
            self.previous is not None and self.previous.epoch == self.placement.epoch and self.previous.actual in states
        )

    def _powered_itself_off(self, domain: Domain) -> bool:
        asked_at = self.observed.shutdown_asked_at
        was_asked = asked_at is not None and self.now - asked_at < self.stop_timeout
        return self._was(Actual.RUNNING, Actual.SUSPENDED) and domain.off_cause is OffCause.GUEST and not was_asked

    def _died(self, domain: Domain) -> bool:
        if self._was(Actual.RUNNING, Actual.SUSPENDED):
            return domain.off_cause is not OffCause.GUEST
        return self._was(Actual.STARTING) and self.failure is None and domain.off_cause is OffCause.CRASHED

    def _restart_delay_s(self, kills_to_come: int = 0) -> float:
        """How long a VM that was killed stays so: longer, the more often it was of late."""
        events = self.previous.events if self.previous else ()
        kills = kills_to_come + sum(
            event.what.startswith(Actual.KILLED) and self.now - event.at < KILLS_REMEMBERED for event in events
        )
        return min(_FIRST_RESTART_S * 2.0 ** max(0, kills - 1), _MAX_RESTART_S)

    def _rest(self, actual: Actual, domain: Domain) -> Decision[VmStatus, Action]:
        """The VM is as it is to be; at leisure its ports and its disks are made so as well."""
        said = self.previous.reason if self.previous else ""
        plugs = plugging.change(self._ports, self.observed, said, self.now)
        swaps = disks.change(self._request.image, self._specs.disks, self.observed, said, self.now)
        chores: tuple[Action, ...] = (*plugs.actions, *swaps.actions)
        if domain.power is Power.OFF and (define := self._redefine(domain)):
            chores = (define, *swaps.actions)
        can_take = domain.power is Power.OFF or domain.takes_snapshots
        to_take = snapshots.chores(self._request, self.observed, self.previous, can_take=can_take)
        if to_take and self.failure and (left := snapshots.pause(self.failure, self.observed, self.now)) > timedelta():
            if not chores:
                return self._say(actual, self.failure.reason, left.total_seconds())
            to_take = ()
        chores = (*to_take, *chores)
        reason = "; ".join(filter(None, (plugs.reason, swaps.reason)))
        if not chores:
            pauses = [pause for pause in (plugs.again_in_s, swaps.again_in_s) if pause is not None]
            return self._say(actual, reason, min(pauses, default=None))
        # One that fails is in no other's way: each is the first in its turn.
        turn = self.failure.count % len(chores) if self.failure else 0
        return self._do(actual, *chores[turn:], *chores[:turn], reason=reason)

    def _redefine(self, domain: Domain) -> Define | None:
        """What makes a guest that is off have the ports and the disks that it is to have, as far as these are there."""
        has = disks.present(self._specs, self.observed).disks
        if plugging.fits(self._ports, domain) and disks.fits(has, domain):
            return None
        specs = (domain.specs or self._specs).model_copy(update={"disks": has})
        return Define(self.placement.epoch, specs, self._ports)

    def _do(self, actual: Actual, *actions: Action, reason: str = "") -> Decision[VmStatus, Action]:
        """Take steps, unless that was found to be hopeless."""
        if self.failure and self.failure.permanent:
            return self._say(actual if actual in _AT_REST else Actual.ERROR, self.failure.reason)
        return Decision(self._status(actual, self.failure.reason if self.failure else reason), actions)

    def _say(self, actual: Actual, reason: str = "", again_in_s: float | None = None) -> Decision[VmStatus, Action]:
        return Decision(self._status(actual, reason), again_in_s=again_in_s)

    def _status(self, actual: Actual, reason: str = "", move: MoveReport | None = None) -> VmStatus:
        known = self.previous or VmStatus(epoch=0, generation=0, actual=Actual.PENDING, since=self.now)
        known = known.model_copy(
            update={
                "epoch": self.placement.epoch,
                "generation": self.placement.generation,
                "reboots": self._reboots_done,
                "specs": self._specs_in_use(),
                "addresses": plugging.addresses(self._ports, self.observed.domain),
                "move": move,
                "snapshots": self._snapshots(actual, reason),
                "rolled_back": known.rolled_back if self.observed.snapshots is None else self.observed.rolled_back,
                "console": None if actual is Actual.DELETED else self.observed.console,
            }
        )
        return report(known, actual, reason, self.now)

    def _snapshots(self, actual: Actual, reason: str) -> tuple[SnapshotReport, ...]:
        domain = self.observed.domain
        why_not = reason if actual in _AT_REST else snapshots.WAITS_FOR_REST
        if domain and domain.power is not Power.OFF and not domain.takes_snapshots:
            why_not = snapshots.WAITS_FOR_OFF
        return snapshots.reports(self._request, self.observed, self.previous, why_not)

    def _specs_in_use(self) -> Specs | None:
        """What the guest that is on was started with, and how large its disks are by now."""
        domain, told = self.observed.domain, self.previous.specs if self.previous else None
        return disks.in_use(self._specs.disks, self.observed, domain, told) if domain else None


def _is_leaving(placement: Placement) -> bool:
    """Whether the VM may be on its way to another host."""
    return placement.leaving is not None and bool(placement.leaving.uri)


def _cause_of_death(domain: Domain) -> str:
    match domain.off_cause:
        case OffCause.CRASHED:
            return "the process that runs the guest died"
        case OffCause.DESTROYED:
            return "its power was cut on its host"
        case _:
            return "its host lost it, by a reboot perhaps"
