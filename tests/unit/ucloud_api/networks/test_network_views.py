"""What is told of a network: to its owner in one word, to admins of each host."""

from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Network

import pytest

from common.schemas.network import NetworkActual, NetworkRequest, NetworkStatus
from ucloud_api.networks.network_views import HasNetwork, network

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LAN = NetworkRequest(uuid="n1", owner="ann", name="lan", vni=7, prefix=IPv6Network("fd00:9::/64"), created_at=NOW)
A, B, E = NetworkActual.ACTIVE, NetworkActual.BUILDING, NetworkActual.ERROR


def seen(*actuals: NetworkActual, silent: int = 0) -> list[HasNetwork]:
    """What hosts say, the last of which are `silent`."""
    return [
        HasNetwork(
            f"h{number}",
            number < len(actuals) - silent,
            NetworkStatus(actual=actual, reason="no room" if actual is E else "", since=NOW, mtu=1430, endpoint=None),
        )
        for number, actual in enumerate(actuals)
    ]


@pytest.mark.parametrize(
    ("hosts", "state", "reason"),
    [
        (seen(), "UNUSED", ""),
        (seen(A, A), "ACTIVE", ""),
        (seen(A, B), "BUILDING", "1 of 2 hosts is building it"),
        (seen(B, B, A), "BUILDING", "2 of 3 hosts are building it"),
        (seen(E), "ERROR", "1 of 1 host can't build it, which is for admins to mend"),
        (seen(A, B, E), "ERROR", "1 of 3 hosts can't build it, which is for admins to mend"),
        # What a silent host said last says nothing of now.
        (seen(A, E, silent=1), "ACTIVE", ""),
        (seen(A, silent=1), "UNUSED", ""),
    ],
)
def test_the_state_is_that_of_the_worst_host_that_is_alive(hosts: list[HasNetwork], state: str, reason: str) -> None:
    shown = network(LAN, hosts, is_admin=False)
    assert (shown.status, shown.reason) == (state, reason)
    assert shown.hosts is None
    text = shown.model_dump_json()
    assert not any(each.host in text for each in hosts)
    assert "no room" not in text


def test_admins_see_each_host() -> None:
    hosts = seen(A, E, A, silent=1)
    status = hosts[0].status.model_copy(update={"endpoint": IPv6Address("fd00::1")})
    hosts[0] = HasNetwork("h0", is_alive=True, status=status)
    told = network(LAN, hosts, is_admin=True).hosts
    assert told is not None
    assert [(each.host, each.status, each.reason, each.endpoint) for each in told] == [
        ("h0", "ACTIVE", "", IPv6Address("fd00::1")),
        ("h1", "ERROR", "no room", None),
        ("h2", "UNKNOWN", "host h2 is silent, it last said ACTIVE", None),
    ]
