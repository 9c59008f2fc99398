"""How the tests are spread over processes, and how their failures are told."""

import gc
from collections.abc import Generator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_MACHINE = ("tests/system/", "tests/integration/ucloud_vm/", "tests/integration/test_guest.py")
"""What boots guests or runs whole clouds: one after the other, in one process, as they need the machine."""


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """One process has all that boots guests, in their order; the modules of the others go to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return "the machine" if nodeid.startswith(_MACHINE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Spread the tests by lanes."""
    return Lanes(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: the lane of the guests."""
    items.sort(key=lambda item: not item.nodeid.startswith(_MACHINE))


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
