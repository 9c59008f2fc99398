"""How much an asker gets."""

from ipaddress import IPv6Network

from ucloud_ipam.bucket import Bucket
from ucloud_ipam.dns.asker_limits import AskerLimits


def test_a_bucket_gives_some_at_once_and_then_as_it_is_filled() -> None:
    bucket = Bucket(rate_per_s=2, most=3, now_s=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


def test_an_asker_does_not_use_up_what_is_anothers() -> None:
    limits = AskerLimits(IPv6Network("2001:db8::/64"))
    assert sum(limits.allow("a", 0) for _ in range(1000)) == 400
    assert limits.allow("b", 0)
    for number in range(5000):
        limits.allow(str(number), 0)


def test_who_has_many_addresses_is_one_asker() -> None:
    limits = AskerLimits(IPv6Network("2001:db8::/64"))
    assert limits.count_as("2001:db8::1") != limits.count_as("2001:db8::2")
    assert limits.count_as("2001:db8:ff::1") == limits.count_as("2001:db8:ff::2")
    assert limits.count_as("fe80::1%ucbr1") == "fe80::1"
    assert limits.count_as("10.0.0.1") == "10.0.0.1"
