"""The doctor finds each of many faults that are planted in a real etcd, nothing else, and mends what is safe."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.host import HostRequest, HostStatus
from common.schemas.image import ImageActual, ImageStatus
from common.schemas.inventory import InventoryDoor
from common.schemas.user import Account, Amounts, Charge, Quota
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Leaving, Role, VmStatus
from common.store import Store
from tests.integration.ucloud_api.healthy import IMAGE, LONG_AGO, OTHER_VM, VM, AnsweringHost, Healthy
from tests.integration.ucloud_api.world import World, bearer
from ucloud_api.doctor.examination import look
from ucloud_api.doctor.finding import Finding

NOWHERE = "00000000-0000-4000-8000-0000000000ff"
KNOWN = {"etcd-version"}
"""What is wrong with the etcd of the tests, perhaps."""


@pytest.fixture
def host() -> Iterator[AnsweringHost]:
    with AnsweringHost() as host:
        yield host


@pytest.fixture
def cloud(store: Store, host: AnsweringHost) -> Healthy:
    return Healthy(store, host)


def found(cloud: Healthy) -> list[Finding]:
    return [each for each in look(cloud.store) if each.code not in KNOWN]


def codes(cloud: Healthy) -> list[str]:
    return sorted({each.code for each in found(cloud)})


def test_of_a_healthy_cloud_nothing_is_said(cloud: Healthy) -> None:
    assert found(cloud) == []


def silence(cloud: Healthy, host: str) -> None:
    cloud.remove(keys.alive(host))


def word_of_gone_host(cloud: Healthy) -> None:
    status = VmStatus(epoch=1, generation=1, actual=Actual.RUNNING, since=LONG_AGO)
    cloud.put(keys.vm_status("h9", VM), status)


def judge(cloud: Healthy, sentence: Sentence, is_silent: bool = True) -> None:
    if is_silent:
        silence(cloud, "h2")
    cloud.put(keys.verdict("h2"), Verdict(host="h2", sentence=sentence, since=LONG_AGO))


def register(cloud: Healthy, **fields: object) -> None:
    entry = cloud.store.get(keys.host_status("h2"))
    assert entry
    status = HostStatus.read(entry.key, entry.value)
    cloud.put(entry.key, status.model_copy(update=fields))


def leave(cloud: Healthy) -> None:
    cloud.place(cloud.request, "h1", leaving=Leaving(to="h2", epoch=2, live=True))


def come(cloud: Healthy) -> None:
    cloud.place(cloud.request, "h2", role=Role.INCOMING, epoch=2, coming_from="h1")
    cloud.host.guests["h2"].add(VM)


def answer(cloud: Healthy, **fields: object) -> None:
    for name, value in fields.items():
        setattr(cloud.host, name, value)


def wait_in_vain(cloud: Healthy) -> None:
    cloud.remove(keys.placement("h1", VM), keys.vm_status("h1", VM))
    cloud.host.guests["h1"].clear()


def pending_word(cloud: Healthy) -> None:
    status = VmStatus(epoch=0, generation=1, actual=Actual.PENDING, since=LONG_AGO)
    cloud.put(keys.vm_status(keys.NO_HOST, NOWHERE), status)


def account(cloud: Healthy, quota: Quota) -> None:
    cloud.put(keys.account("alice"), Account(name="alice", realm="ucloud", quota=quota, created_at=LONG_AGO))


def second_web(cloud: Healthy) -> None:
    other = cloud.request.model_copy(update={"uuid": OTHER_VM, "name": "other"})
    cloud.add_vm(other)
    cloud.place(other, "h2")
    cloud.put(keys.vm(OTHER_VM), other.model_copy(update={"name": "web"}))


Plant = Callable[[Healthy], object]

FAULTS: dict[str, tuple[Plant, list[str]]] = {
    "a placement without a VM": (
        lambda cloud: cloud.place(cloud.request.model_copy(update={"uuid": NOWHERE}), "h2"),
        ["placement-without-vm"],
    ),
    "a placement on a host that never was": (
        lambda cloud: cloud.place(cloud.request, "h9", role=Role.LEFT),
        ["placement-on-unknown-host"],
    ),
    "placed twice": (lambda cloud: cloud.place(cloud.request, "h2"), ["placed-twice"]),
    "a placement without a status": (
        lambda cloud: cloud.remove(keys.vm_status("h1", VM)),
        ["placement-without-status"],
    ),
    "a status without a placement": (
        lambda cloud: cloud.put(
            keys.vm_status("h2", VM), VmStatus(epoch=1, generation=1, actual=Actual.STOPPED, since=LONG_AGO)
        ),
        ["status-without-placement"],
    ),
    "a status of a host that is gone": (word_of_gone_host, ["status-of-gone-host"]),
    "a word on a VM that is gone": (pending_word, ["status-without-vm"]),
    "incoming without leaving": (come, ["incoming-without-leaving"]),
    "leaving without incoming": (leave, ["leaving-without-incoming"]),
    "a VM without a host or a reason": (wait_in_vain, ["vm-without-placement"]),
    "an orphan guest": (lambda cloud: cloud.host.guests["h2"].add(NOWHERE), ["orphan-guest"]),
    "an orphan disk": (lambda cloud: answer(cloud, disks={VM, NOWHERE}), ["orphan-disk"]),
    "an orphan tap": (lambda cloud: answer(cloud, ports={"00000000a1"}), ["orphan-tap"]),
    "a request that can't be read": (lambda cloud: cloud.put(keys.vm(VM), b"{"), ["malformed-record"]),
    "a verdict that can't be read": (lambda cloud: cloud.put(keys.account("bob"), b"[]"), ["malformed-record"]),
    "a sign of life without a lease": (
        lambda cloud: cloud.put(keys.alive("h1"), b'{"version":1,"name":"h1","boot_id":"1"}'),
        ["no-lease"],
    ),
    "a leader without a lease": (lambda cloud: cloud.put(keys.leader("scheduler"), b""), ["no-lease"]),
    "a name without a thing": (
        lambda cloud: cloud.put(keys.name("alice", "vm", "ghost"), NOWHERE.encode()),
        ["name-without-thing"],
    ),
    "a name that a VM had": (
        lambda cloud: cloud.put(keys.name("alice", "vm", "old"), VM.encode()),
        ["name-of-another"],
    ),
    "a VM without its name": (lambda cloud: cloud.remove(keys.name("alice", "vm", "web")), ["thing-without-name"]),
    "two VMs of one name": (second_web, ["name-of-another", "two-of-one-name"]),
    "an image without its name": (
        lambda cloud: cloud.remove(keys.name("admin", "image", "debian")),
        ["thing-without-name"],
    ),
    "a charge for nothing": (
        lambda cloud: cloud.put(keys.charge("alice", NOWHERE), Charge(amounts=Amounts(vms=1))),
        ["charge-without-thing"],
    ),
    "a charge that differs": (
        lambda cloud: cloud.put(keys.charge("alice", VM), Charge(amounts=Amounts(vms=1, cpu=10))),
        ["charge-differs", "over-quota"],
    ),
    "a VM for free": (lambda cloud: cloud.remove(keys.charge("alice", VM)), ["thing-without-charge"]),
    "more than the quota": (lambda cloud: account(cloud, Quota(vms=1)), ["over-quota"]),
    "an owner without an account": (lambda cloud: cloud.remove(keys.account("alice")), ["thing-without-owner"]),
    "a use by nobody": (lambda cloud: cloud.put(keys.image_use(IMAGE, NOWHERE), b""), ["use-without-vm"]),
    "a use that is not noted": (lambda cloud: cloud.remove(keys.image_use(IMAGE, VM)), ["vm-without-use"]),
    "an image that is gone": (
        lambda cloud: cloud.remove(keys.image(IMAGE), keys.name("admin", "image", "debian")),
        ["status-without-image", "vm-without-image"],
    ),
    "a status of no image": (
        lambda cloud: cloud.put(
            keys.image_status(NOWHERE), ImageStatus(generation=1, actual=ImageActual.ERROR, since=LONG_AGO)
        ),
        ["status-without-image"],
    ),
    "an image without a template": (lambda cloud: answer(cloud, templates=set()), ["image-without-template"]),
    "a silent host that nobody judges": (lambda cloud: silence(cloud, "h1"), ["silent-unjudged"]),
    "a verdict on a living host": (
        lambda cloud: judge(cloud, Sentence.DEAD, is_silent=False),
        ["verdict-of-living-host"],
    ),
    "a dead host": (lambda cloud: judge(cloud, Sentence.DEAD), ["host-dead"]),
    "a silent host": (lambda cloud: judge(cloud, Sentence.SILENT), ["host-silent"]),
    "a host that did not register": (lambda cloud: cloud.remove(keys.host_status("h2")), ["host-not-registered"]),
    "a host that tells nothing": (lambda cloud: cloud.remove(keys.inventory("h2")), ["host-without-inventory"]),
    "a host that does not answer": (
        lambda cloud: cloud.put(keys.inventory("h2"), InventoryDoor(url="http://127.0.0.1:1/inventory", token="x")),
        ["host-unreachable"],
    ),
    "a host that knows another token": (
        lambda cloud: cloud.put(keys.inventory("h2"), InventoryDoor(url=cloud.host.door("h2").url, token="x")),
        ["host-unreachable"],
    ),
    "a word on no host": (lambda cloud: cloud.put(keys.host("h9"), HostRequest(name="h9")), ["word-without-host"]),
    "a clock that is ahead": (lambda cloud: answer(cloud, clock_ahead_s=60.0), ["clock-skew"]),
    "a clock that is behind": (lambda cloud: answer(cloud, clock_ahead_s=-60.0), ["clock-skew"]),
    "another version": (lambda cloud: register(cloud, versions={"ucloud": "0.0.1"}), ["other-version"]),
    "no scheduler": (lambda cloud: cloud.remove(keys.leader("scheduler")), ["nobody-elected"]),
    "no image daemon of a store": (lambda cloud: register(cloud, image_store="fast"), ["nobody-elected"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_nothing_else(cloud: Healthy, fault: str) -> None:
    plant, expected = FAULTS[fault]
    plant(cloud)
    findings = found(cloud)
    assert sorted({each.code for each in findings}) == expected
    assert all(each.sentence and each.advice and each.thing for each in findings)
    assert "sesame" not in str(findings)


MENDED = (
    "a status of a host that is gone",
    "a word on a VM that is gone",
    "a name without a thing",
    "a name that a VM had",
    "a VM without its name",
    "an image without its name",
    "a charge for nothing",
    "a charge that differs",
    "a VM for free",
    "a use by nobody",
    "a use that is not noted",
    "a status of no image",
)


def test_what_is_safe_is_mended_and_the_rest_is_left(
    cloud: Healthy, host: AnsweringHost, nobody: FlaskClient, world: World
) -> None:
    for fault in MENDED:
        FAULTS[fault][0](cloud)
    answer(cloud, disks={VM, NOWHERE})
    cloud.host.guests["h2"].add(NOWHERE)
    headers = bearer(world.log_in("admin"))
    before = {entry.key: entry.value for entry in cloud.store.list(keys.PLACEMENT).entries}
    reply = nobody.post("/v1/doctor", json={}, headers=headers)
    assert reply.status_code == 200, reply.text
    items = reply.get_json()["items"]
    assert {each["can_be_mended"] for each in items if each["mended"]} == {True}
    assert codes(cloud) == ["no-lease", "orphan-disk", "orphan-guest"]  # the session of this test has no lease
    assert {entry.key: entry.value for entry in cloud.store.list(keys.PLACEMENT).entries} == before
    for key in (keys.vm(VM), keys.image(IMAGE), keys.vm_status("h1", VM), keys.charge("alice", VM)):
        assert cloud.store.get(key)


def test_only_what_is_asked_for_is_mended(cloud: Healthy, nobody: FlaskClient, world: World) -> None:
    FAULTS["a charge for nothing"][0](cloud)
    FAULTS["a use by nobody"][0](cloud)
    headers = bearer(world.log_in("admin"))
    items = nobody.post("/v1/doctor", json={"codes": ["use-without-vm"]}, headers=headers).get_json()["items"]
    assert [each["code"] for each in items if each["mended"]] == ["use-without-vm"]
    assert "charge-without-thing" in codes(cloud)


def test_what_changed_meanwhile_is_left(cloud: Healthy) -> None:
    FAULTS["a name without a thing"][0](cloud)
    (finding,) = found(cloud)
    assert finding.fix
    cloud.put(keys.vm(NOWHERE), cloud.request.model_copy(update={"uuid": NOWHERE, "name": "ghost"}))
    with pytest.raises(Exception, match="changed by somebody else"):
        cloud.store.commit(finding.fix.compares, finding.fix.operations)


def test_it_is_for_admins(cloud: Healthy, nobody: FlaskClient, world: World) -> None:
    headers = bearer(world.log_in("alice"))
    assert nobody.get("/v1/doctor", headers=headers).status_code == 403
    assert nobody.post("/v1/doctor", json={}, headers=headers).status_code == 403
    assert cloud.store.get(keys.vm(VM))


def test_what_was_created_just_now_is_not_wrong(cloud: Healthy) -> None:
    fresh = cloud.request.model_copy(update={"uuid": OTHER_VM, "name": "new", "created_at": datetime.now(UTC)})
    cloud.add_vm(fresh)
    assert found(cloud) == []
