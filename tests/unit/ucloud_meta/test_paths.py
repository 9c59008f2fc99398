"""What a VM may read of itself: the whole tree, for one that has everything and for one that has nothing."""

import json
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.schemas.vm import VmRequest
from tests.unit.ucloud_meta.vms import (
    BARE,
    HOSTNAMES,
    INNER,
    KEYS,
    NETWORKS,
    TEXTS,
    USER_DATA,
    WEB,
    ZONE,
    instance,
    port,
    request,
)
from ucloud_meta.instance import describe
from ucloud_meta.paths import paths
from ucloud_meta.tree import Directory, File, read

FIRST, SECOND = "02:00:00:00:00:01", "02:00:00:00:00:02"
MACS = "/latest/meta-data/network/interfaces/macs"

GOLDEN = {
    "/": "2009-04-04\n2016-09-02\n2018-09-24\n2021-03-23\nlatest",
    "/latest": "meta-data\nuser-data",
    "/latest/": "meta-data\nuser-data",
    "/2009-04-04/": "meta-data\nuser-data",
    "/latest/user-data": USER_DATA,
    "/latest/meta-data/": "ami-id\nami-launch-index\nhostname\ninstance-id\nipv6\nlocal-hostname\nlocal-ipv4\nmac\n"
    "network/\nplacement/\npublic-keys/",
    "/2009-04-04/meta-data/instance-id": "uuid-of-web",
    "/latest/meta-data/ami-id": "image-1",
    "/latest/meta-data/ami-launch-index": "0",
    "/latest/meta-data/hostname": "www",
    "/latest/meta-data/local-hostname": "www",
    "/latest/meta-data/mac": FIRST,
    "/latest/meta-data/ipv6": "2001:db8:7::ff:fe00:1",
    "/latest/meta-data/local-ipv4": "10.7.0.5",
    "/latest/meta-data/placement": "availability-zone",
    "/latest/meta-data/placement/availability-zone": "cloud-1",
    "/latest/meta-data/public-keys/": "0=key-0\n1=key-1",
    "/latest/meta-data/public-keys/0/": "openssh-key",
    "/latest/meta-data/public-keys/0/openssh-key": f"{KEYS[0]}\n",
    "/latest/meta-data/public-keys/1/openssh-key": f"{KEYS[1]}\n",
    "/latest/meta-data/network/interfaces/": "macs/",
    f"{MACS}/": f"{FIRST}/\n{SECOND}/",
    f"{MACS}/{FIRST}/": "device-number\ninterface-id\nipv6-prefix\nipv6s\nlocal-hostname\nlocal-ipv4s\nmac\nowner-id\n"
    "subnet-id\nsubnet-ipv4-cidr-block\nsubnet-ipv6-cidr-blocks",
    f"{MACS}/{FIRST}/device-number": "0",
    f"{MACS}/{FIRST}/interface-id": "0000000001",
    f"{MACS}/{FIRST}/ipv6-prefix": "2001:db8:100::/56",
    f"{MACS}/{FIRST}/ipv6s": "2001:db8:7::ff:fe00:1",
    f"{MACS}/{FIRST}/local-ipv4s": "10.7.0.5",
    f"{MACS}/{FIRST}/owner-id": "ann",
    f"{MACS}/{FIRST}/subnet-id": "net-1",
    f"{MACS}/{FIRST}/subnet-ipv4-cidr-block": "10.7.0.0/24",
    f"{MACS}/{FIRST}/subnet-ipv6-cidr-blocks": "2001:db8:7::/64",
    f"{MACS}/{SECOND}/": "device-number\ninterface-id\nipv6s\nlocal-hostname\nmac\nowner-id\nsubnet-id\n"
    "subnet-ipv6-cidr-blocks",
    f"{MACS}/{SECOND}/device-number": "1",
    "/openstack": "2015-10-15\n2018-08-27\nlatest",
    "/openstack/": "2015-10-15\n2018-08-27\nlatest",
    "/openstack/latest/": "meta_data.json\nnetwork_data.json\nuser_data\nvendor_data.json",
    "/openstack/2018-08-27/user_data": USER_DATA,
    "/openstack/latest/vendor_data.json": "{}",
    "/nocloud/": "meta-data\nuser-data\nvendor-data",
    "/nocloud/user-data": USER_DATA,
    "/nocloud/vendor-data": "",
}

META_DATA = {
    "uuid": "uuid-of-web",
    "name": "web",
    "hostname": "www",
    "availability_zone": "cloud-1",
    "launch_index": 0,
    "project_id": "ann",
    "public_keys": {"key-0": KEYS[0], "key-1": KEYS[1]},
    "keys": [
        {"name": "key-0", "type": "ssh", "data": KEYS[0]},
        {"name": "key-1", "type": "ssh", "data": KEYS[1]},
    ],
    "meta": {},
    "devices": [],
}

NETWORK_DATA = {
    "links": [
        {
            "id": "tap0000000001",
            "vif_id": "0000000001",
            "type": "tap",
            "mtu": 1430,
            "ethernet_mac_address": FIRST,
        },
        {
            "id": "tap0000000002",
            "vif_id": "0000000002",
            "type": "tap",
            "mtu": None,
            "ethernet_mac_address": SECOND,
        },
    ],
    "networks": [
        {"id": "network0", "type": "ipv6_dhcp", "link": "tap0000000001", "network_id": "net-1"},
        {"id": "network1", "type": "ipv4_dhcp", "link": "tap0000000001", "network_id": "net-1"},
        {"id": "network2", "type": "ipv6_dhcp", "link": "tap0000000002", "network_id": "net-2"},
    ],
    "services": [{"type": "dns", "address": "fd00:ec2::253"}],
}

NOTHING = (
    "/1.0",
    "/latest/user-data/",
    "/latest/meta-data/instance-id/",
    "/latest/meta-data/instance-id/x",
    "/latest//meta-data/",
    "//",
    "/latest/../latest/meta-data/",
    "/latest/meta%2ddata/",
    "/latest/api/token",
    "/latest/dynamic/instance-identity",
    "/latest/meta-data/iam/",
    "/latest/meta-data/public-keys/2/openssh-key",
    "/latest/meta-data/public-keys/key-0",
    f"{MACS}/02:00:00:00:00:03/",
    "/openstack/content/0000",
    "/openstack/latest/vendor_data2.json",
    "/openstack/latest/password",
    "/nocloud/network-config",
)


def _text(vm: VmRequest, path: str) -> str | None:
    file = read(paths(instance(vm)), path)
    return file.text if file else None


@pytest.mark.parametrize("path", GOLDEN)
def test_a_path_says_what_ec2_and_openstack_say(path: str) -> None:
    assert _text(WEB, path) == GOLDEN[path]


@pytest.mark.parametrize("path", NOTHING)
def test_there_is_nothing_else(path: str) -> None:
    assert _text(WEB, path) is None


def test_the_documents_of_openstack() -> None:
    root = paths(instance(WEB))
    meta_data, network_data = (read(root, f"/openstack/latest/{name}_data.json") for name in ("meta", "network"))
    assert meta_data
    assert network_data
    assert meta_data.content_type == network_data.content_type == "application/json"
    assert json.loads(meta_data.text) == META_DATA
    assert json.loads(network_data.text) == NETWORK_DATA


def test_the_seed_of_nocloud() -> None:
    meta_data = _text(WEB, "/nocloud/meta-data")
    assert meta_data
    assert yaml.safe_load(meta_data) == {
        "instance-id": "uuid-of-web",
        "local-hostname": "www",
        "availability-zone": "cloud-1",
        "public-keys": list(KEYS),
    }


def test_what_a_vm_has_not_is_not_there() -> None:
    assert _text(BARE, "/latest/") == "meta-data"
    assert _text(BARE, "/latest/user-data") is None
    assert _text(BARE, "/latest/meta-data/") == (
        "ami-id\nami-launch-index\nhostname\ninstance-id\nlocal-hostname\nplacement/"
    )
    assert _text(BARE, "/latest/meta-data/hostname") == "bare"
    assert _text(BARE, "/openstack/latest/user_data") is None
    assert _text(BARE, "/nocloud/user-data") == ""
    network_data = _text(BARE, "/openstack/latest/network_data.json")
    assert network_data
    assert json.loads(network_data) == {"links": [], "networks": [], "services": []}


def test_blank_keys_and_newlines_at_their_ends_are_nothing() -> None:
    vm = request(ssh_keys=(f"{KEYS[0]}\n", " ", ""))
    assert _text(vm, "/latest/meta-data/public-keys/") == "0=key-0"
    assert _text(vm, "/latest/meta-data/public-keys/0/openssh-key") == f"{KEYS[0]}\n"


def test_nobody_is_told_half_of_their_networks() -> None:
    assert describe(WEB, {INNER.uuid: INNER}, ZONE) is None


def _all_paths(directory: Directory, at: str) -> Iterator[tuple[str, File | Directory]]:
    yield at, directory
    for name, entry in directory.entries.items():
        if isinstance(entry, Directory):
            yield from _all_paths(entry, f"{at}{name}/")
        else:
            yield f"{at}{name}", entry


def test_what_is_listed_is_there() -> None:
    """As cloud-init goes through it: what ends in a slash is a directory; `0=name` is a key."""
    root = paths(instance(WEB))
    for at, entry in _all_paths(root, "/"):
        if not isinstance(entry, Directory):
            continue
        for line in entry.text().splitlines():
            name = f"{line.partition('=')[0]}/openssh-key" if "=" in line else line
            assert read(root, at + name), f"{at}: {line}"


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=3), TEXTS, st.none() | HOSTNAMES, st.integers(0, 3), TEXTS)
def test_whatever_owners_write_can_be_read(
    keys: list[str], user_data: str, hostname: str | None, ports: int, path: str
) -> None:
    vm = request(
        *(port(number, INNER) for number in range(ports)), ssh_keys=tuple(keys), user_data=user_data, hostname=hostname
    )
    described = describe(vm, NETWORKS, ZONE)
    assert described
    root = paths(described)
    for at, entry in _all_paths(root, "/"):
        found = read(root, at)
        assert found
        assert found.text == (entry.text() if isinstance(entry, Directory) else entry.text)
        found.text.encode()
    read(root, path)
    read(root, f"/{path}")
