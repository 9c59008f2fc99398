"""Names and addresses of a cloud's network."""

import ipaddress

from devcloud.network import Network


def test_addresses_are_in_one_unique_local_prefix() -> None:
    network = Network("dev", "0123456789")
    addresses = [network.control_address, *(network.host_address(number) for number in range(1, 101))]
    prefix = ipaddress.IPv6Network("fd01:2345:6789::/64")
    assert all(ipaddress.IPv6Address(address) in prefix for address in addresses)
    assert len(set(addresses)) == len(addresses)


def test_the_name_of_the_link_fits_the_kernel() -> None:
    assert len(Network("a-very-long-name-of-a-cloud", "0123456789").link) <= 15


def test_clouds_whose_names_begin_alike_have_namespaces_of_their_own() -> None:
    assert not Network("dev-2", "0" * 10).namespace("h1").startswith(Network("dev", "0" * 10).namespace(""))
