"""How the tests are spread over processes, and how their failures are told."""

import gc
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

_GUESTS = ("tests/system/", "tests/integration/ucloud_vm/", "tests/integration/test_guest.py")
"""What boots guests, one after the other in one process: they share clouds, and need the machine."""
_GUESTLESS = ("tests/system/test_devcloud.py", "tests/system/test_secure_etcd.py", "tests/system/test_ceph_outages.py")
"""Of these, what boots none after all, on clouds of its own; or waits most of the time for what it wants to see."""

_CEPH = (
    "tests/integration/common/storage/",
    "tests/integration/ucloud_host/fences/test_storage_ceph.py",
    "tests/integration/ucloud_image/test_image_ceph.py",
)
"""What shares one Ceph."""


def _boots_guests(nodeid: str) -> bool:
    return nodeid.startswith(_GUESTS) and not nodeid.startswith(_GUESTLESS)


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """One process has all that boots guests, in their order, one what
    needs a Ceph; the modules of the others go to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_CEPH):
            return "ceph"
        return "guests" if _boots_guests(nodeid) else nodeid.partition("::")[0]


def pytest_configure() -> None:
    """Have the programs of the tests heed Ctrl-C, which a shell has its background commands ignore.

    And have no property fail because the machine is busy with the tests beside it.
    """
    settings.register_profile("beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("beside others")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Spread the tests by lanes."""
    return Lanes(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: the guests, and the clouds without."""
    items.sort(key=lambda item: (not _boots_guests(item.nodeid), not item.nodeid.startswith(_GUESTLESS)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, object, object]:
    """Tell of a failure without the garbage collector.

    pytest parses the sources to show where it failed. In Python before 3.11.5 that ends with a SystemError, and pytest
    with it, if another thread parses meanwhile, and it can only where the collector runs something
    (https://github.com/python/cpython/issues/106905).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        if was_enabled:
            gc.enable()
