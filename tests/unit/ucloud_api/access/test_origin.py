"""Where a request comes from, behind proxies that are trusted and others that are not."""

from ipaddress import ip_network

import pytest

from ucloud_api.access.origin import address_behind

TRUSTED = (ip_network("2001:db8:ff::/64"), ip_network("10.0.0.0/8"))
PROXY, USER, LIAR = "2001:db8:ff::1", "2001:db8:1::7", "2001:db8:bad::1"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (USER, [], USER),
        (USER, [LIAR], USER),
        (PROXY, [], PROXY),
        (PROXY, [USER], USER),
        (PROXY, [f"{LIAR}, {USER}"], USER),
        (PROXY, [LIAR, USER], USER),
        (PROXY, [f"{USER}, 10.1.2.3"], USER),
        ("::ffff:10.0.0.1", [USER], USER),
        (PROXY, [f"{LIAR}, nonsense"], PROXY),
        (PROXY, [f"{LIAR}, "], PROXY),
        (PROXY, [f"{USER}%a zone with words"], USER),
        (PROXY, ["2001:DB8:1:0:0:0:0:7"], USER),
        (PROXY, ["10.0.0.1"], "10.0.0.1"),
        ("", [USER], ""),
        ("nonsense", [USER], "nonsense"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: list[str], address: str) -> None:
    assert address_behind(peer, forwarded, TRUSTED) == address
    assert address_behind(peer, forwarded, ()) == peer
