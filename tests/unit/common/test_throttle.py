"""Who is counted together, and when it is too much."""

import pytest

from common.errors import TooManyTries
from common.throttle import Throttle, network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
        ("nonsense", ""),
    ],
)
def test_an_ipv6_site_counts_as_one(address: str | None, network: str) -> None:
    assert network_of(address) == network


def test_failures_are_counted_for_each_key() -> None:
    throttle = Throttle("2 per minute")
    for _ in range(2):
        throttle.check("a")
        throttle.count("a")
    with pytest.raises(TooManyTries) as raised:
        throttle.check("a")
    assert 1 <= raised.value.retry_after_s <= 60
    throttle.check("b")


def test_tries_are_taken_until_there_are_none_left() -> None:
    throttle = Throttle("2 per minute")
    throttle.take("a")
    throttle.take("a")
    with pytest.raises(TooManyTries):
        throttle.take("a")
    throttle.take("b")
