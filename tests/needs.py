"""What tests need of the machine that they run on."""

import os

import pytest


def need(is_there: object, what: str) -> None:
    """Skip, saying what is missing, where it is. In CI, whose machine has all there is to be had, that is a failure."""
    if is_there:
        return
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
