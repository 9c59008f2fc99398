"""The setting fence.methods."""

import pytest

from common.errors import ConfigurationError
from common.settings import FenceSettings
from ucloud_host.fences.methods import parse


def test_alternatives_are_in_the_order_of_the_setting_their_fences_in_that_of_asking() -> None:
    assert parse(("power+storage+self", "manual")) == (("self", "storage", "power"), ("manual",))
    assert parse((" self + self",)) == (("self",),)


def test_the_default_is_one() -> None:
    assert parse(FenceSettings().methods) == (("self", "storage"), ("manual",))


@pytest.mark.parametrize("method", ["", "self+", "stonith", "self,storage"])
def test_what_is_no_fence_is_refused(method: str) -> None:
    with pytest.raises(ConfigurationError, match="is none of self, manual, storage, power"):
        parse((method,))
