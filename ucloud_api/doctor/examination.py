"""One look at the cloud: read, ask the hosts, run all checks."""

from dataclasses import replace
from importlib.metadata import version

from common.errors import Compacted
from common.store import Store
from ucloud_api.doctor import book_checks, host_checks, network_checks, reach_checks, vm_checks
from ucloud_api.doctor.finding import Finding
from ucloud_api.doctor.inquiry import ask_hosts
from ucloud_api.doctor.snapshot import Snapshot, read

_CHECKS = (*vm_checks.CHECKS, *book_checks.CHECKS, *network_checks.CHECKS, *reach_checks.CHECKS, *host_checks.CHECKS)
_TRIES = 3


def look(store: Store) -> list[Finding]:
    """What is wrong now, or looks wrong because it is on its way."""
    snapshot = _read(store)
    snapshot = replace(snapshot, answers=ask_hosts(snapshot))
    return [finding for check in _CHECKS for finding in check(snapshot)]


def _read(store: Store) -> Snapshot:
    for _ in range(_TRIES - 1):
        try:
            return read(store, version("ucloud"))
        except Compacted:
            continue
    return read(store, version("ucloud"))
