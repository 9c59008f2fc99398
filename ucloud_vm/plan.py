"""What to do about one VM on this host: from its placement and what is here to the status and the next steps. Pure.

It must never start a guest unless its placement says RUNNING, and never remove disks unless it says DELETED.

What a later look must know of an earlier one is in the status: since when a VM is being stopped, whether its guest
powered itself off, how often it died of late. So nothing is forgotten when the daemon dies.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from common.decision import Decision, Failure
from common.schemas.vm import EVENTS_KEPT, Actual, Console, Event, Placement, Requested, Role, Specs, VmStatus
from ucloud_vm.hypervisor import Domain, OffCause, Power

ORPHAN_GRACE = timedelta(seconds=60)
PRESS_AGAIN = timedelta(seconds=10)
"""A guest that is still booting misses the power button."""
KILLS_REMEMBERED = timedelta(minutes=10)
RETRY_STUCK = timedelta(seconds=10)
START_TIMEOUT = timedelta(seconds=10)
_FIRST_RESTART_S = 1.0
_MAX_RESTART_S = 60.0
_LOOK_SOON_S = 1.0
_LOOK_AGAIN_S = 5.0

POWERED_OFF_BY_GUEST = "powered off by the guest"
STUCK = "a disk of this VM can't be written, is the store of its host full?"
START_ABANDONED = "its start was interrupted, it is begun anew"
NOT_ORDERED = "no placement orders this VM to this host"


@dataclass(frozen=True)
class CreateDisks:
    """Make the disks that are missing."""

    image: str
    specs: Specs


@dataclass(frozen=True)
class Define:
    """Tell the hypervisor of the VM."""

    epoch: int
    specs: Specs


@dataclass(frozen=True)
class Start:
    """Define the VM anew, as its specs may have changed, and start it."""

    epoch: int
    specs: Specs


@dataclass(frozen=True)
class ShutDown:
    """Press the power button."""


@dataclass(frozen=True)
class PowerOff:
    """Cut the power."""

    reason: str


@dataclass(frozen=True)
class Suspend:
    """Pause the guest."""


@dataclass(frozen=True)
class Resume:
    """Let a paused guest go on."""


@dataclass(frozen=True)
class Undefine:
    """Remove the domain, which is off, with its sockets and its serial log; the disks stay."""


@dataclass(frozen=True)
class RemoveDisks:
    """Remove the disks, for good."""


Action = CreateDisks | Define | Start | ShutDown | PowerOff | Suspend | Resume | Undefine | RemoveDisks


@dataclass(frozen=True)
class Observation:
    """What is here of a VM. `run_files`: its folder of sockets or its serial log; `disk_files`: any part of a disk.

    `obstacle` says why that could not be found out.
    """

    console: Console
    domain: Domain | None = None
    root_disk: bool = False
    hdd_disk: bool = False
    disk_files: bool = False
    run_files: bool = False
    shutdown_asked_at: datetime | None = None
    """When the power button was last pressed in this life of the guest, as far as this daemon knows."""
    obstacle: str = ""


@dataclass(frozen=True)
class Planner:
    """The plan with its settings. Its call has the shape that common.controller wants."""

    stop_timeout_s: int

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
            return _Orphan(observed, previous, now).decide()
        return _Look(request, observed, previous, failure, now, timedelta(seconds=self.stop_timeout_s)).decide()


@dataclass(frozen=True)
class _Orphan:
    """A VM that is not ordered here: its domain goes after a time of grace, its disks stay."""

    observed: Observation
    previous: VmStatus | None
    now: datetime

    def decide(self) -> Decision[VmStatus, Action]:
        if self.observed.obstacle:
            return Decision(self.previous)
        domain = self.observed.domain
        if domain is None or domain.power is Power.OFF:
            if domain or self.observed.run_files:
                return Decision(self.previous, (Undefine(),))
            return Decision(None)
        known = self.previous or VmStatus(epoch=domain.epoch, generation=0, actual=Actual.UNKNOWN, since=self.now)
        status = _report(known, Actual.STOPPING, NOT_ORDERED, self.now)
        left = status.since + ORPHAN_GRACE - self.now
        if left > timedelta():
            return Decision(status, again_in_s=left.total_seconds())
        return Decision(status, (PowerOff(NOT_ORDERED),))


@dataclass(frozen=True)
class _Look:
    """A VM that is ordered here."""

    placement: Placement
    observed: Observation
    previous: VmStatus | None
    failure: Failure | None
    now: datetime
    stop_timeout: timedelta

    def decide(self) -> Decision[VmStatus, Action]:
        domain = self.observed.domain
        if self.observed.obstacle:
            known = (
                self.previous.actual if self.previous and self.previous.epoch == self.placement.epoch else Actual.ERROR
            )
            return self._say(known, self.observed.obstacle, _LOOK_AGAIN_S)
        if self.placement.request.requested is Requested.DELETED:
            return self._delete()
        if self.placement.role is not Role.RUN:
            return self._say(Actual.ERROR, "this host can't take over a running VM yet")
        if domain is None:
            return self._deploy()
        if domain.power is Power.OFF:
            return self._renew(domain) or self._settle(domain)
        if domain.epoch != self.placement.epoch:
            # It was left here from an earlier life: since then the disk may have been written elsewhere.
            return self._do(Actual.STOPPING, PowerOff("it was started for an earlier placement"))
        if domain.power in (Power.STARTING, Power.CHANGING):
            return self._await_change(domain)
        return self._settle(domain)

    def _deploy(self) -> Decision[VmStatus, Action]:
        """First the disks, then the domain: so a domain says that its disks were made."""
        request = self.placement.request
        if self._missing_disks():
            return self._do(Actual.DEPLOYING, CreateDisks(request.image, request.specs))
        return self._do(Actual.DEPLOYING, Define(self.placement.epoch, request.specs))

    def _renew(self, domain: Domain) -> Decision[VmStatus, Action] | None:
        """What a domain that is off needs before the rest; None when it is as it should be."""
        if missing := self._missing_disks():
            # They were here, and a new disk is not the old one.
            return self._say(Actual.ERROR, f"its {' and '.join(missing)} is gone from this host's store", _LOOK_AGAIN_S)
        if domain.epoch != self.placement.epoch:
            return self._do(Actual.DEPLOYING, Define(self.placement.epoch, self.placement.request.specs))
        return None

    def _missing_disks(self) -> list[str]:
        wants_hdd = self.placement.request.specs.hdd_mib > 0
        ssd = [] if self.observed.root_disk else ["SSD"]
        return [*ssd, "HDD"] if wants_hdd and not self.observed.hdd_disk else ssd

    def _await_change(self, domain: Domain) -> Decision[VmStatus, Action]:
        """The domain is on its way. A start that is not this daemon's own any more must not take for ever.

        A libvirtd that died in the midst of a start leaves the guest paused, and its successor does not go on.
        """
        if domain.power is Power.CHANGING:
            return Decision(self.previous or self._status(Actual.STARTING), again_in_s=_LOOK_SOON_S)
        status = self._status(Actual.STARTING, self.failure.reason if self.failure else "")
        left = status.since + START_TIMEOUT - self.now
        if left > timedelta():
            return Decision(status, again_in_s=left.total_seconds())
        return self._do(Actual.STOPPING, PowerOff(START_ABANDONED))

    def _settle(self, domain: Domain) -> Decision[VmStatus, Action]:
        """Bring a VM that is deployed to the requested state."""
        match self.placement.request.requested:
            case Requested.RUNNING:
                return self._run(domain)
            case Requested.SUSPENDED:
                return self._suspend(domain)
            case _:
                return self._stop(domain)

    def _run(self, domain: Domain) -> Decision[VmStatus, Action]:
        match domain.power:
            case Power.RUNNING:
                return self._say(Actual.RUNNING)
            case Power.PAUSED:
                return self._do(Actual.SUSPENDED, Resume())
            case Power.STUCK:
                return self._unstick()
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
        return self._do(Actual.STARTING, Start(self.placement.epoch, self.placement.request.specs))

    def _stop(self, domain: Domain) -> Decision[VmStatus, Action]:
        if domain.power is Power.OFF:
            return self._say(Actual.STOPPED)
        status = self._status(Actual.STOPPING, self.failure.reason if self.failure else "")
        left = status.since + self.stop_timeout - self.now
        if left <= timedelta():
            reason = f"the guest did not shut down within {self.stop_timeout.seconds} s, its power is cut"
            return Decision(self._status(Actual.STOPPING, reason), (PowerOff(reason),))
        if domain.power is not Power.RUNNING:
            # A paused guest can't answer. One that pauses again gets what is left of its time, and no more.
            tried = self._was(Actual.STOPPING) and self.failure is None
            actions: tuple[Action, ...] = () if tried else (Resume(),)
            return Decision(status, actions, left.total_seconds())
        pressed = self.observed.shutdown_asked_at
        wait = pressed + PRESS_AGAIN - self.now if pressed else timedelta()
        if wait <= timedelta():
            return Decision(status, (ShutDown(),))
        return Decision(status, again_in_s=min(wait, left).total_seconds())

    def _suspend(self, domain: Domain) -> Decision[VmStatus, Action]:
        match domain.power:
            case Power.PAUSED:
                return self._say(Actual.SUSPENDED)
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

    def _do(self, actual: Actual, action: Action) -> Decision[VmStatus, Action]:
        """Take a step, unless it was found to be hopeless."""
        running = actual in (Actual.RUNNING, Actual.SUSPENDED)
        if self.failure and self.failure.permanent:
            return self._say(actual if running else Actual.ERROR, self.failure.reason)
        return Decision(self._status(actual, self.failure.reason if self.failure else ""), (action,))

    def _say(self, actual: Actual, reason: str = "", again_in_s: float | None = None) -> Decision[VmStatus, Action]:
        return Decision(self._status(actual, reason), again_in_s=again_in_s)

    def _status(self, actual: Actual, reason: str = "") -> VmStatus:
        known = self.previous or VmStatus(epoch=0, generation=0, actual=Actual.PENDING, since=self.now)
        known = known.model_copy(
            update={
                "epoch": self.placement.epoch,
                "generation": self.placement.generation,
                "console": None if actual is Actual.DELETED else self.observed.console,
            }
        )
        return _report(known, actual, reason, self.now)


def _report(known: VmStatus, actual: Actual, reason: str, now: datetime) -> VmStatus:
    """`known` with a new state; what is new is an event as well."""
    what = f"{actual}: {reason}" if reason else str(actual)
    # An orphan's time of grace and a guest's time to shut down are both counted in STOPPING, each for itself.
    other_clock = reason != known.reason and NOT_ORDERED in (reason, known.reason)
    changed = actual is not known.actual or other_clock
    news = changed or (reason and reason != known.reason)
    events = (*known.events, Event(at=now, what=what))[-EVENTS_KEPT:] if news else known.events
    return known.model_copy(
        update={
            "actual": actual,
            "reason": reason,
            "since": now if changed else known.since,
            "events": events,
        }
    )


def _cause_of_death(domain: Domain) -> str:
    match domain.off_cause:
        case OffCause.CRASHED:
            return "the process that runs the guest died"
        case OffCause.DESTROYED:
            return "its power was cut on its host"
        case _:
            return "its host lost it, by a reboot perhaps"
