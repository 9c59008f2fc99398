"""What a plan wants written: data that names what it was decided from, for commit.py to make transactions of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.schemas.vm import Placement, VmRequest
from ucloud_scheduler.filters import Why
from ucloud_scheduler.views import BriefStatus, Judged, Vm


@dataclass(frozen=True, slots=True)
class Place:
    """Order a VM that has no placement to `host`."""

    vm: Vm
    host: str
    placement: Placement


@dataclass(frozen=True, slots=True)
class Evacuate:
    """Order a VM to `host` that was on dead hosts, whose placements and statuses of it go. `dead`: their verdicts."""

    vm: Vm
    host: str
    placement: Placement
    dead: Mapping[str, Judged]


@dataclass(frozen=True, slots=True)
class Update:
    """Give the placement on `host` the newer request, or the specs that there was no room for before."""

    vm: Vm
    host: str
    placement: Placement


@dataclass(frozen=True, slots=True)
class Move:
    """Change the placements of a VM that moves (None: removed), all of them at once or none.

    It rests on all of its placements and statuses as they were, and on the verdicts in `dead` (the revision, by host).
    """

    vm: Vm
    placements: Mapping[str, Placement | None]
    what: str = ""
    """What becomes of the VM, for the log: "has moved from h1 to h2"."""
    dead: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the owner why the VM is not placed, or not resized."""

    vm: Vm
    status: BriefStatus


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove such a report: it holds no more."""

    vm: Vm


@dataclass(frozen=True, slots=True)
class Release:
    """Remove the request of a VM of which nothing is left, with its placements and charges."""

    vm: Vm
    request: VmRequest


Write = Place | Evacuate | Update | Move | Report | Clear | Release


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write; which VMs wait, and why; and what is odd and was left alone, as sentences for the log."""

    writes: tuple[Write, ...]
    waiting: Mapping[str, Why] = field(default_factory=dict)
    oddities: tuple[str, ...] = ()
