"""How links are named, and which are this daemon's."""

import pytest

from ucloud_net.shape import alias_of, is_ours, links_of, network_of, vni_of


@pytest.mark.parametrize(
    ("link", "vni"),
    [("ucbr1", 1), ("ucvx16777215", 16777215), ("ucbr", 0), ("ucbr01", 0), ("ucbr0", 0), ("xucbr1", 0), ("ucbr1x", 0),
     ("ucbridge", 0), ("tap0000000001", 0), ("ucbr123456789", 0), ("ucbr-1", 0), ("", 0), ("ucbr1\n", 0)],
)  # fmt: skip
def test_only_links_that_are_named_like_ours_are_ours(link: str, vni: int) -> None:
    assert vni_of(link) == vni
    assert is_ours(link) is bool(vni)


def test_a_name_fits_the_kernel() -> None:
    assert all(len(name) <= 15 for name in links_of(2**24 - 1))


def test_a_links_network_is_written_on_it() -> None:
    assert network_of(alias_of("n-1")) == "n-1"
    assert network_of("uplink") == network_of("") == ""
