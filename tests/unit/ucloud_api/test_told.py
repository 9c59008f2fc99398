"""What was asked for, in words."""

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network

import pytest

from common.schemas.host import HostRequest, HostState, Overcommit
from common.schemas.image import ImageRequest, ImageRequested
from common.schemas.network import NetworkRequest, Protocol, Rule, SecurityGroup
from common.schemas.port import Port
from common.schemas.project import Project
from common.schemas.record import Record
from common.schemas.role import MemberRole
from common.schemas.snapshot import Rollback, Snapshot, SnapshotSource
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account, Quota
from common.schemas.vm import MoveWish, Requested, Specs, VmRequest
from tests.unit.common.schemas.test_ssh_key import ED25519
from ucloud_api.told import Subject, asked, subject

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPECS = Specs.of(cpu=1, ram_mib=512, ssd_mib=2048)
VM = VmRequest(uuid="u", owner="alice", name="web", specs=SPECS, image="i", created_at=NOW)
IMAGE = ImageRequest(uuid="i", owner="alice", name="debian", file="d.qcow2", created_at=NOW)
SNAPSHOT = Snapshot(id="s", name="before", created_at=NOW, disks=SPECS.disks)
SOURCE = SnapshotSource(vm="u", snapshot="s", vm_name="web", name="before")
OF_VM = ImageRequest(uuid="i", owner="alice", name="web-2", source=SOURCE, created_at=NOW)
HOST = HostRequest(name="h1")
USER = Account(name="alice", realm="ucloud", created_at=NOW)
WEB = Project(name="web", members={"alice": MemberRole.OWNER}, created_at=NOW)
LAN = NetworkRequest(
    uuid="n",
    owner="alice",
    name="lan",
    vni=1,
    prefix=IPv6Network("fd00:9::/64"),
    ipv4=IPv4Network("10.0.0.0/24"),
    isolated=True,
    created_at=NOW,
)
GROUP = SecurityGroup(uuid="g", owner="alice", name="web", rules=(Rule(protocol=Protocol.ICMP),), created_at=NOW)
KEY = SshKey(owner="alice", name="laptop", key=ED25519, created_at=NOW)
PORT = Port(id="0123456789", network="n", ipv6=IPv6Address("fd00:9::5"))


def changed(record: Record, **fields: object) -> Record:
    return record.model_copy(update={"generation": 2, **fields})


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, VM, "created: web, 1 CPU 512 MiB RAM 2 GiB SSD 0 GiB HDD, to run"),
        (VM, changed(VM, requested=Requested.STOPPED, force=True), "asked to be stopped"),
        (VM, changed(VM, reboots=1), "asked to reboot"),
        (VM, changed(VM, name="www", protected=True), "renamed from web to www; protected: no -> yes"),
        (
            VM,
            changed(VM, specs=SPECS.model_copy(update={"cpu": 2})),
            "resized from 1 CPU 512 MiB RAM 2 GiB SSD 0 GiB HDD to 2 CPU 512 MiB RAM 2 GiB SSD 0 GiB HDD",
        ),
        (VM, changed(VM), "asked again to run"),
        (VM, changed(VM, snapshots=(SNAPSHOT,)), "snapshot before asked for"),
        (changed(VM, snapshots=(SNAPSHOT,)), VM, "snapshot before removed"),
        (
            VM,
            changed(VM, rollback=Rollback(number=1, snapshot="s", name="before")),
            "asked to be rolled back to the snapshot before",
        ),
        (None, OF_VM, "created: web-2 from the snapshot before of VM web"),
        (VM, changed(VM, move=MoveWish(number=1)), "asked to move to another host"),
        (VM, changed(VM, move=MoveWish(number=1, to="h2", cold=True)), "asked to move cold to h2"),
        (VM, changed(VM, move=MoveWish(number=1, cancelled=True)), "asked not to move any more"),
        (VM, changed(VM, host_labels={"rack": "r1"}), "host labels: none -> rack=r1"),
        (None, IMAGE, "created: debian from d.qcow2"),
        (IMAGE, changed(IMAGE, public=True), "public: no -> yes"),
        (IMAGE, changed(IMAGE, requested=ImageRequested.DELETED), "asked to be deleted"),
        (None, changed(HOST, state=HostState.DRAINING), "state: enabled -> draining"),
        (
            HOST,
            changed(HOST, overcommit=Overcommit(cpu=2.0)),
            "overcommit: 4.0 CPU ram=1.0 disk=1.0 -> 2.0 CPU ram=1.0 disk=1.0",
        ),
        (None, USER, "created: of the realm ucloud"),
        (
            USER,
            changed(USER, quota=Quota(vms=1)),
            "quota: none -> 1 VMS 0 CPU 0 GiB RAM 0 GiB SSD 0 GiB HDD 10 networks 50 security groups",
        ),
        (USER, None, "deleted"),
        (None, WEB, "created: with alice=owner"),
        (
            WEB,
            changed(WEB, members={"alice": MemberRole.READER, "bob": MemberRole.OWNER}),
            "alice is reader now; bob is owner now",
        ),
        (WEB, changed(WEB, members={}), "alice is no member now"),
        (
            WEB,
            changed(WEB, quota=Quota(vms=1)),
            "quota: none -> 1 VMS 0 CPU 0 GiB RAM 0 GiB SSD 0 GiB HDD 10 networks 50 security groups",
        ),
        (None, LAN, "created: lan of fd00:9::/64 and 10.0.0.0/24, isolated"),
        (LAN, LAN.model_copy(update={"public": True}), "public: no -> yes"),
        (LAN, None, "deleted"),
        (None, GROUP, "created: web with 1 rules"),
        (GROUP, GROUP.model_copy(update={"rules": (Rule(), Rule(group="g"))}), "rules: 2 added, 1 removed"),
        (None, KEY, f"ssh key laptop added: {KEY.fingerprint}"),
        (KEY, None, f"ssh key laptop removed: {KEY.fingerprint}"),
        (VM, changed(VM, ports=(PORT,)), "asked to be plugged into network n (port 0123456789, fd00:9::5)"),
        (changed(VM, ports=(PORT,)), VM, "asked to be unplugged from network n (port 0123456789, fd00:9::5)"),
    ],
)
def test_the_words(before: Record | None, after: Record | None, words: str) -> None:
    assert asked(before, after) == words


def test_what_it_is_about() -> None:
    assert subject(VM) == Subject("vm", "u", "alice")
    assert subject(IMAGE) == Subject("image", "i", "alice")
    assert subject(HOST) == Subject("host", "h1", "")
    assert subject(USER) == Subject("user", "alice", "alice")
    assert subject(WEB) == Subject("project", "web", "project:web")
    assert subject(LAN) == Subject("network", "n", "alice")
    assert subject(GROUP) == Subject("security-group", "g", "alice")
    assert subject(KEY) == Subject("user", "alice", "alice")
    assert subject(Record()) is None
