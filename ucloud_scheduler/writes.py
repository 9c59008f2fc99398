"""What a plan wants written: data that names what it was decided from, for commit.py to make transactions of."""

from dataclasses import dataclass

from common.schemas.vm import Placement, VmRequest, VmStatus
from ucloud_scheduler.views import Vm


@dataclass(frozen=True)
class Place:
    """Order a VM that has no placement to `host`."""

    vm: Vm
    host: str
    placement: Placement


@dataclass(frozen=True)
class Update:
    """Give the placement on `host` the newer request."""

    vm: Vm
    host: str
    placement: Placement


@dataclass(frozen=True)
class Report:
    """Tell the owner why the VM is not placed, or its placement not updated."""

    vm: Vm
    status: VmStatus


@dataclass(frozen=True)
class Clear:
    """Remove such a report: it holds no more."""

    vm: Vm


@dataclass(frozen=True)
class Release:
    """Remove the request of a VM of which nothing is left, with its placements and charges."""

    vm: Vm
    request: VmRequest


Write = Place | Update | Report | Clear | Release


@dataclass(frozen=True)
class Plan:
    """What to write; which VMs wait for room; and what is odd and was left alone, as sentences for the log."""

    writes: tuple[Write, ...]
    waiting: frozenset[str] = frozenset()
    oddities: tuple[str, ...] = ()
