"""The doctor finds what networks, ports and groups hold wrongly, nothing else, and mends what is safe."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from common import admission, keys
from common.errors import Conflict
from common.schemas.host import Alive, HostStatus
from common.schemas.network import (
    AddressHolder,
    Endpoint,
    NetworkActual,
    NetworkRequest,
    NetworkStatus,
    Rule,
    SecurityGroup,
)
from common.schemas.port import Port
from common.schemas.ssh_key import SshKey
from common.schemas.user import Amounts, Charge
from common.schemas.verdict import Sentence, Verdict
from common.store import Store
from tests.integration.ucloud_api.healthy import LONG_AGO, OTHER_VM, AnsweringHost, Healthy
from tests.integration.ucloud_api.test_doctor import KNOWN
from tests.unit.common.schemas.test_ssh_key import ED25519
from ucloud_api.doctor.examination import look
from ucloud_api.doctor.finding import Finding

NET = "00000000-0000-4000-8000-0000000000e1"
OTHER_NET = "00000000-0000-4000-8000-0000000000e2"
GROUP = "00000000-0000-4000-8000-0000000000c1"
OTHER_GROUP = "00000000-0000-4000-8000-0000000000c2"
NOTHING = "00000000-0000-4000-8000-0000000000ff"
PORT = Port(
    id="0123456789",
    network=NET,
    ipv6=IPv6Address("fd00:9::5"),
    ipv4=IPv4Address("10.9.0.5"),
    prefixes=(IPv6Network("fd00:a::/64"),),
    security_groups=(GROUP,),
)
LAN = NetworkRequest(
    uuid=NET,
    owner="alice",
    name="lan",
    vni=5,
    prefix=IPv6Network("fd00:9::/64"),
    ipv4=IPv4Network("10.9.0.0/24"),
    created_at=LONG_AGO,
)
ACTIVE = NetworkStatus(actual=NetworkActual.ACTIVE, since=LONG_AGO, mtu=1430)
ENDPOINT = Endpoint(address=IPv6Address("fd00::2"))
WEB = SecurityGroup(uuid=GROUP, owner="alice", name="web", created_at=LONG_AGO)
DB = SecurityGroup(uuid=OTHER_GROUP, owner="alice", name="db", rules=(Rule(group=GROUP),), created_at=LONG_AGO)


@pytest.fixture
def cloud(store: Store) -> Iterator[Healthy]:
    """A healthy cloud with a VM on a network."""
    with AnsweringHost() as host:
        cloud = Healthy(store, host)
        for thing in (LAN, WEB, DB):
            budget = admission.read_budget(store, "alice")
            assert budget
            step = admission.admit_group(thing, budget) if isinstance(thing, SecurityGroup) else None
            step = step or admission.admit_network(LAN, budget)
            store.commit(step.compares, step.operations)
        plugged = cloud.request.model_copy(update={"uuid": OTHER_VM, "name": "plugged", "ports": (PORT,)})
        cloud.add_vm(plugged)
        cloud.place(plugged, "h2")
        cloud.put(keys.network_status("h2", NET), ACTIVE)
        cloud.put(keys.endpoint(NET, "h2"), ENDPOINT)
        host.guests["h2"].add(OTHER_VM)
        host.disks.add(OTHER_VM)
        yield cloud


def found(cloud: Healthy) -> list[Finding]:
    return [each for each in look(cloud.store) if each.code not in KNOWN]


def test_of_a_healthy_cloud_with_networks_nothing_is_said(cloud: Healthy) -> None:
    assert found(cloud) == []


def twin(cloud: Healthy) -> None:
    """Another network of the same VNI, as after a bad restore."""
    other = LAN.model_copy(update={"uuid": OTHER_NET, "name": "twin", "isolated": True})
    cloud.put(keys.network(OTHER_NET), other)
    cloud.put(keys.name("alice", "network", "twin"), OTHER_NET.encode())
    cloud.put(keys.charge("alice", OTHER_NET), Charge(amounts=Amounts(networks=1)))


def holder(cloud: Healthy, vm: str, address: str, name: str = "plugged", port: str = PORT.id) -> None:
    cloud.put(keys.address(NET, address), AddressHolder(vm=vm, port=port, name=name))


def tell_of_network(cloud: Healthy, host: str) -> None:
    cloud.put(keys.network_status(host, NET), ACTIVE)
    cloud.put(keys.endpoint(NET, host), ENDPOINT)


def ssh_key(cloud: Healthy) -> None:
    cloud.put(keys.ssh_key("eve", "a"), SshKey(owner="eve", name="a", key=ED25519, created_at=LONG_AGO))


Plant = Callable[[Healthy], object]
FAULTS: dict[str, tuple[Plant, list[str], bool]] = {
    "a VNI of nothing": (lambda cloud: cloud.put(keys.vni(7), NOTHING.encode()), ["vni-without-holder"], True),
    "a VNI that a network had": (lambda cloud: cloud.put(keys.vni(7), NET.encode()), ["vni-without-holder"], True),
    "a network without its VNI": (lambda cloud: cloud.remove(keys.vni(5)), ["vni-not-held"], True),
    "two networks of one VNI": (twin, ["two-of-one-vni"], False),
    "a prefix of nothing": (
        lambda cloud: cloud.put(keys.prefix("fd00:b::"), NOTHING.encode()),
        ["prefix-without-holder"],
        True,
    ),
    "a network without its prefix": (lambda cloud: cloud.remove(keys.prefix("fd00:9::")), ["prefix-not-held"], True),
    "a port without its prefix": (lambda cloud: cloud.remove(keys.prefix("fd00:a::")), ["prefix-not-held"], True),
    "an address of nobody": (
        lambda cloud: holder(cloud, NOTHING, "fd00:9::6"),
        ["address-without-holder"],
        True,
    ),
    "an address that a VM does not have": (
        lambda cloud: holder(cloud, OTHER_VM, "fd00:9::6"),
        ["address-without-holder"],
        True,
    ),
    "an address that is not held": (
        lambda cloud: cloud.remove(keys.address(NET, "10.9.0.5")),
        ["address-not-held"],
        True,
    ),
    "an address under another name": (
        lambda cloud: holder(cloud, OTHER_VM, "10.9.0.5", name="old"),
        ["address-differs"],
        True,
    ),
    "an address that can't be read": (
        lambda cloud: cloud.put(keys.address(NET, "10.9.0.5"), b"{"),
        ["address-differs", "malformed-record"],
        True,
    ),
    "a port of nothing": (lambda cloud: cloud.put(keys.port("ff"), NOTHING.encode()), ["port-without-holder"], True),
    "a VM without its port": (lambda cloud: cloud.remove(keys.port(PORT.id)), ["port-not-held"], True),
    "a member that is none": (
        lambda cloud: cloud.put(keys.group_member(GROUP, "fd00:9::6", PORT.id), OTHER_VM.encode()),
        ["group-member-without-holder"],
        True,
    ),
    "a member that is not noted": (
        lambda cloud: cloud.remove(keys.group_member(GROUP, "fd00:9::5", PORT.id)),
        ["group-member-not-held"],
        True,
    ),
    "a use of a group by nothing": (
        lambda cloud: cloud.put(keys.group_use(OTHER_GROUP, NOTHING), b""),
        ["group-use-without-holder"],
        True,
    ),
    "a use of a group that is not noted": (
        lambda cloud: cloud.remove(keys.group_use(GROUP, OTHER_GROUP)),
        ["group-use-not-held"],
        True,
    ),
    "a network without its name": (
        lambda cloud: cloud.remove(keys.name("alice", "network", "lan")),
        ["thing-without-name"],
        True,
    ),
    "a group that is gone": (
        lambda cloud: cloud.remove(
            keys.security_group(GROUP), keys.name("alice", "security-group", "web"), keys.charge("alice", GROUP)
        ),
        ["port-without-group", "rule-without-group"],
        False,
    ),
    "a network that is gone": (
        lambda cloud: cloud.remove(
            *(keys.network(NET), keys.name("alice", "network", "lan"), keys.vni(5), keys.prefix("fd00:9::")),
            keys.charge("alice", NET),
        ),
        ["port-without-network"],
        False,
    ),
    "a network that is charged for nothing": (
        lambda cloud: cloud.put(keys.charge("alice", NOTHING), Charge(amounts=Amounts(networks=1))),
        ["charge-without-thing"],
        True,
    ),
    "a network for free": (lambda cloud: cloud.remove(keys.charge("alice", NET)), ["thing-without-charge"], True),
    "a group that is charged as a network": (
        lambda cloud: cloud.put(keys.charge("alice", GROUP), Charge(amounts=Amounts(networks=1))),
        ["charge-differs"],
        True,
    ),
    "a group that somebody else is charged for": (
        lambda cloud: cloud.put(keys.charge("bob", GROUP), Charge(amounts=Amounts(security_groups=1))),
        ["charge-without-thing"],
        True,
    ),
    "a network that its host says nothing of": (
        lambda cloud: cloud.remove(keys.network_status("h2", NET)),
        ["network-without-status"],
        False,
    ),
    "a network that a host can't build": (
        lambda cloud: cloud.put(
            keys.network_status("h2", NET), NetworkStatus(actual=NetworkActual.ERROR, reason="no", since=LONG_AGO)
        ),
        ["network-not-built"],
        False,
    ),
    "networks of a host that is gone": (
        lambda cloud: tell_of_network(cloud, "h9"),
        ["endpoint-of-gone-host", "network-status-of-gone-host"],
        True,
    ),
    "networks of a host without VMs on them": (
        lambda cloud: tell_of_network(cloud, "h1"),
        ["endpoint-without-port", "network-status-without-port"],
        False,
    ),
    "an ssh key of nobody": (ssh_key, ["ssh-key-without-user"], True),
    "a VM that can't be read": (lambda cloud: cloud.put(keys.vm(OTHER_VM), b"{"), ["malformed-record"], False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_nothing_else_and_mended_where_that_is_safe(cloud: Healthy, fault: str) -> None:
    plant, codes, is_mended = FAULTS[fault]
    before = {entry.key: entry.value for entry in cloud.store.list(keys.ROOT).entries}
    plant(cloud)
    findings = found(cloud)
    assert sorted({each.code for each in findings}) == codes
    assert all(each.sentence and each.advice and each.thing for each in findings)
    assert any(each.fix for each in findings) is is_mended
    for each in findings:
        if each.fix:
            cloud.store.commit(each.fix.compares, each.fix.operations)
    if is_mended:
        assert found(cloud) == []
        assert {entry.key: entry.value for entry in cloud.store.list(keys.ROOT).entries} == before


def test_what_a_dead_host_said_of_networks_is_forgotten_but_for_those_of_its_vms(cloud: Healthy) -> None:
    for host in ("h2", "h9"):
        tell_of_network(cloud, host)
    cloud.remove(keys.alive("h2"))
    for host, sentence in (("h2", Sentence.DEAD), ("h9", Sentence.SILENT)):
        cloud.put(keys.host_status(host), HostStatus(name=host, cpu=1, ram_mib=1))
        cloud.put(keys.verdict(host), Verdict(host=host, sentence=sentence, since=LONG_AGO))
    # The VM of the one is still ordered there, the other may be back at once.
    assert {each.code for each in found(cloud)} == {"host-dead", "host-silent"}
    cloud.remove(keys.placement("h2", OTHER_VM), keys.vm_status("h2", OTHER_VM))
    fixes = {each.code: each.fix for each in found(cloud) if each.fix}
    assert set(fixes) == {"endpoint-of-gone-host", "network-status-of-gone-host"}
    cloud.put(keys.alive("h2"), Alive(name="h2", boot_id="2"), cloud.lease)
    for fix in fixes.values():
        with pytest.raises(Conflict):
            cloud.store.commit(fix.compares, fix.operations)
