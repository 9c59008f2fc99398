"""What admission charges, release gives back; and however many charge at once, no quota is ever exceeded."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from uuid import UUID

import pytest

from common import admission, keys
from common.admission import Step
from common.errors import Conflict, QuotaExceeded
from common.schemas.image import ImageRequest
from common.schemas.network import NetworkRequest, SecurityGroup
from common.schemas.port import Port
from common.schemas.user import Account, Amounts, Charge, Quota
from common.schemas.vm import Specs, VmRequest
from common.store import EtcdOptions, Put, Store, absent, none_written_since, unchanged
from devcloud.etcd import EtcdCluster

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = ImageRequest(uuid="i-1", owner="alice", name="debian", file="debian.qcow2", created_at=NOW)
SPECS = Specs.of(cpu=1, ram_mib=64, ssd_mib=1)
VM = VmRequest(uuid="v-1", owner="alice", name="web", specs=SPECS, image="i-1", created_at=NOW)


def _commit(store: Store, step: admission.Step) -> int:
    return store.commit(step.compares, step.operations)


def _keys(store: Store) -> list[str]:
    return [entry.key for entry in store.list(keys.ROOT).entries]


def _open_account(store: Store, name: str, quota: Quota | None = None) -> int:
    account = Account(name=name, realm="ucloud", quota=quota, created_at=NOW)
    return store.commit([absent(keys.account(name))], [Put(keys.account(name), account.to_json())])


def _budget(store: Store, owner: str = "alice") -> admission.Budget:
    budget = admission.read_budget(store, owner)
    assert budget is not None
    return budget


@pytest.fixture
def image_revision(store: Store) -> int:
    """Alice's account, without a limit, and her image."""
    return _commit(store, admission.admit_image(IMAGE, _open_account(store, "alice")))


def _limit(store: Store, quota: Quota) -> None:
    entry = store.get(keys.account("alice"))
    assert entry is not None
    account = Account.read(entry.key, entry.value).model_copy(update={"quota": quota})
    store.commit([unchanged(entry.key, entry.mod_revision)], [Put(entry.key, account.to_json())])


def _deletion(store: Store) -> Step:
    """What removes alice's account."""
    budget = _budget(store)
    assert isinstance(budget.holder, Account)
    ssh_keys, projects = store.list(keys.ssh_keys("alice")), store.list(keys.PROJECT)
    return admission.delete_account(budget.holder, budget.holder_revision, ssh_keys, projects)


def test_release_gives_back_all_that_admission_took(store: Store) -> None:
    account_revision = _open_account(store, "alice")
    with_account = _keys(store)
    image_revision = _commit(store, admission.admit_image(IMAGE, account_revision))
    with_image = _keys(store)
    vm_revision = _commit(store, admission.admit_vm(VM, image_revision, _budget(store)))
    assert len(_keys(store)) > len(with_image)
    changed = VM.model_copy(update={"name": "db", "specs": SPECS.model_copy(update={"cpu": 4})})
    vm_revision = _commit(store, admission.change_vm(VM, changed, vm_revision, _budget(store)))
    assert _budget(store).used == Amounts.of(changed.specs)
    _commit(store, admission.release_vm(changed, vm_revision))
    assert _keys(store) == with_image
    _commit(store, admission.release_image(IMAGE, image_revision))
    assert _keys(store) == with_account
    _commit(store, _deletion(store))
    assert _keys(store) == []


NETWORK = NetworkRequest(
    uuid="n-1", owner="alice", name="lan", vni=7, prefix=IPv6Network("fd00:9::/64"), created_at=NOW
)
GROUP = SecurityGroup(uuid="g-1", owner="alice", name="web", created_at=NOW)
PORT = Port(
    id="0123456789",
    network="n-1",
    ipv6=IPv6Address("fd00:9::5"),
    ipv4=IPv4Address("10.0.0.5"),
    prefixes=(IPv6Network("fd00:a::/64"),),
    security_groups=("g-1",),
)
SECOND = Port(id="aaaaaaaaaa", network="n-1", ipv6=IPv6Address("fd00:9::6"))
PLUGGED = VM.model_copy(update={"ports": (PORT,)})


@pytest.fixture
def network_revision(store: Store, image_revision: int) -> int:
    """Alice's network, and her group."""
    _commit(store, admission.admit_group(GROUP, _budget(store)))
    return _commit(store, admission.admit_network(NETWORK, _budget(store)))


def _all(store: Store) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.list(keys.ROOT).entries}


def test_ports_give_back_all_that_they_took_at_whatever_change(
    store: Store, image_revision: int, network_revision: int
) -> None:
    before = _all(store)
    revision = _commit(store, admission.admit_vm(PLUGGED, image_revision, _budget(store)))
    assert len(admission.port_keys(PLUGGED)) == 1 + 2 + 1 + 2
    assert set(_all(store)) >= set(admission.port_keys(PLUGGED))
    for ports, name in (
        ((PORT, SECOND), "web"),
        ((SECOND,), "www"),
        ((PORT,), "www"),
        ((), "db"),
        ((SECOND, PORT), "db"),
    ):
        current = _all(store)
        here = VmRequest.read("", current[keys.vm("v-1")])
        after = here.model_copy(update={"ports": ports, "name": name})
        revision = _commit(store, admission.change_vm(here, after, revision, None))
        now = {key: value for key, value in _all(store).items() if key not in before}
        held = admission.port_keys(after)
        assert held.items() <= now.items()
        rest = {
            keys.vm("v-1"),
            keys.name("alice", "vm", name),
            keys.image_use("i-1", "v-1"),
            keys.charge("alice", "v-1"),
        }
        assert set(now) == rest | set(held)
    _commit(store, admission.release_vm(after, revision))
    assert _all(store) == before


def test_what_a_port_holds_is_nobody_elses(store: Store, image_revision: int, network_revision: int) -> None:
    _commit(store, admission.admit_vm(PLUGGED, image_revision, _budget(store)))
    other = VM.model_copy(update={"uuid": "v-2", "name": "db"})
    for port in (
        SECOND.model_copy(update={"id": PORT.id}),
        SECOND.model_copy(update={"ipv6": PORT.ipv6}),
        SECOND.model_copy(update={"ipv4": PORT.ipv4}),
        SECOND.model_copy(update={"prefixes": PORT.prefixes}),
        SECOND.model_copy(update={"network": "n-2"}),
        SECOND.model_copy(update={"security_groups": ("g-2",)}),
    ):
        with pytest.raises(Conflict):
            _commit(
                store, admission.admit_vm(other.model_copy(update={"ports": (port,)}), image_revision, _budget(store))
            )
    assert store.get(keys.vm("v-2")) is None


def test_a_network_or_a_group_with_ports_stays(store: Store, image_revision: int, network_revision: int) -> None:
    before = _all(store)
    vm_revision = _commit(store, admission.admit_vm(PLUGGED, image_revision, _budget(store)))
    group_revision = store.get(keys.security_group("g-1")).mod_revision  # type: ignore[union-attr]
    steps = (admission.delete_network(NETWORK, network_revision), admission.delete_group(GROUP, group_revision))
    for step, key in zip(steps, (keys.addresses("n-1"), keys.group_members("g-1")), strict=True):
        with pytest.raises(Conflict) as refused:
            _commit(store, step)
        assert refused.value.keys == (key,)
    _commit(store, admission.release_vm(PLUGGED, vm_revision))
    assert _all(store) == before
    for step in steps:
        _commit(store, step)
    assert not [
        key for key in _all(store) if key.startswith((keys.NETWORK, keys.VNI, keys.PREFIX, keys.SECURITY_GROUP))
    ]


def test_an_account_stays_while_anything_is_charged_to_it_or_named_by_it(store: Store, image_revision: int) -> None:
    budget = _budget(store)
    with pytest.raises(Conflict) as refused:
        _commit(store, _deletion(store))
    assert refused.value.keys == (keys.names("alice"),)
    _commit(store, admission.admit_vm(VM, image_revision, budget))
    with pytest.raises(Conflict) as refused:
        _commit(store, _deletion(store))
    assert set(refused.value.keys) == {keys.names("alice"), keys.charges("alice")}


def test_a_name_is_held_by_one_thing_of_an_owner(store: Store, image_revision: int) -> None:
    _commit(store, admission.admit_vm(VM, image_revision, _budget(store)))
    twin = VM.model_copy(update={"uuid": "v-2"})
    with pytest.raises(Conflict) as refused:
        _commit(store, admission.admit_vm(twin, image_revision, _budget(store)))
    assert refused.value.keys == (keys.name("alice", "vm", "web"),)
    _open_account(store, "bob")
    of_bob = twin.model_copy(update={"owner": "bob"})
    _commit(store, admission.admit_vm(of_bob, image_revision, _budget(store, "bob")))


def test_an_image_that_a_vm_uses_can_be_neither_deleted_nor_released(store: Store, image_revision: int) -> None:
    vm_revision = _commit(store, admission.admit_vm(VM, image_revision, _budget(store)))
    for step in (admission.delete_image(IMAGE, image_revision), admission.release_image(IMAGE, image_revision)):
        with pytest.raises(Conflict) as refused:
            _commit(store, step)
        assert refused.value.keys == (keys.image_uses("i-1"),)
    _commit(store, admission.release_vm(VM, vm_revision))
    _commit(store, admission.delete_image(IMAGE, image_revision))


def test_no_vm_is_made_of_an_image_that_has_changed_since_it_was_read(store: Store, image_revision: int) -> None:
    _commit(store, admission.delete_image(IMAGE, image_revision))
    with pytest.raises(Conflict):
        _commit(store, admission.admit_vm(VM, image_revision, _budget(store)))
    assert store.get(keys.vm("v-1")) is None


def test_what_was_charged_since_the_budget_was_read_is_noticed(store: Store, image_revision: int) -> None:
    _limit(store, Quota(vms=2, cpu=2, ram_mib=128, ssd_mib=2))
    stale = _budget(store)
    revision = _commit(store, admission.admit_vm(VM, image_revision, stale))
    second = VM.model_copy(update={"uuid": "v-2", "name": "db"})
    with pytest.raises(Conflict) as refused:
        _commit(store, admission.admit_vm(second, image_revision, stale))
    assert refused.value.keys == (keys.charges("alice"),)
    # A removal disturbs nobody: the sum can only have become smaller.
    charged = _budget(store)
    _commit(store, admission.release_vm(VM, revision))
    _commit(store, admission.admit_vm(second, image_revision, charged))
    assert _budget(store).used == Amounts.of(SPECS)


def test_a_quota_that_was_lowered_since_it_was_read_is_noticed(store: Store, image_revision: int) -> None:
    stale = _budget(store)
    _limit(store, Quota())
    with pytest.raises(Conflict) as refused:
        _commit(store, admission.admit_vm(VM, image_revision, stale))
    assert refused.value.keys == (keys.account("alice"),)
    with pytest.raises(QuotaExceeded, match="VMs: 1 more asked for, 0 of 0 in use"):
        admission.admit_vm(VM, image_revision, _budget(store))


def test_none_written_since_speaks_of_its_prefix_alone(store: Store) -> None:
    first = store.commit([absent("/t/a/1")], [Put("/t/a/1", b"")])
    store.commit([absent("/t/b/1")], [Put("/t/b/1", b"")])
    store.commit([none_written_since("/t/a/", first), none_written_since("/t/none/", first)], [Put("/t/c", b"")])
    with pytest.raises(Conflict) as refused:
        store.commit([none_written_since("/t/a/", first - 1)], [Put("/t/c", b"")])
    assert refused.value.keys == ("/t/a/",)


CLIENTS = 3
QUOTA = Quota(vms=7, cpu=9, ram_mib=7 * 64, ssd_mib=100)


class _Client:
    """Creates VMs as long as the quota allows it, resizes and removes some, as another worker of the API would."""

    def __init__(self, etcd: EtcdCluster, number: int, image_revision: int) -> None:
        self._store = Store(EtcdOptions(etcd.endpoints))
        self._number = number
        self._image_revision = image_revision
        self.refusals = 0
        self.conflicts = 0

    def run(self, rounds: int) -> None:
        mine: list[tuple[VmRequest, int]] = []
        for turn in range(rounds):
            uuid = str(UUID(int=1000 * self._number + turn))
            request = VM.model_copy(update={"uuid": uuid, "name": f"vm-{self._number}-{turn}"})
            try:
                admit = partial(admission.admit_vm, request, self._image_revision)
                mine.append((request, self._commit(admit)))
                before, revision = mine[0]
                larger = before.model_copy(update={"specs": SPECS.model_copy(update={"cpu": 2})})
                mine[0] = (larger, self._commit(partial(admission.change_vm, before, larger, revision)))
            except QuotaExceeded:
                self.refusals += 1
                if mine:
                    _commit(self._store, admission.release_vm(*mine.pop(0)))
        self._store.close()

    def _commit(self, decide: Callable[[admission.Budget], admission.Step]) -> int:
        while True:
            try:
                return _commit(self._store, decide(_budget(self._store)))
            except Conflict as error:
                if error.keys != (keys.charges("alice"),):
                    raise
                self.conflicts += 1


def test_several_clients_at_once_never_exceed_a_quota_and_the_sums_stay_right(
    store: Store, etcd: EtcdCluster, image_revision: int
) -> None:
    _limit(store, QUOTA)
    begin = store.list(keys.CHARGE).revision
    clients = [_Client(etcd, number, image_revision) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for future in [pool.submit(client.run, 40) for client in clients]:
            future.result()
    assert all(client.refusals for client in clients)
    assert any(client.conflicts for client in clients)
    vms = [VmRequest.read(entry.key, entry.value) for entry in store.list(keys.VM).entries]
    charged = {entry.key: Charge.read(entry.key, entry.value) for entry in store.list(keys.charges("alice")).entries}
    assert charged == {keys.charge("alice", vm.uuid): Charge(amounts=Amounts.of(vm.specs)) for vm in vms}
    for used in _history(store, begin):
        assert all(getattr(used, field) <= getattr(QUOTA, field) for field in Amounts.model_fields), used


def _history(store: Store, begin: int) -> list[Amounts]:
    """What was in use after each revision since `begin`, when nothing was."""
    end = store.list(keys.CHARGE).revision
    charged: dict[str, Amounts] = {}
    sums: dict[int, Amounts] = {}
    for news in store.watch(keys.CHARGE, begin + 1, threading.Event()):
        for change in news.changes:
            charged.pop(change.key, None)
            if change.value is not None:
                charged[change.key] = Charge.read(change.key, change.value).amounts
            sums[change.revision] = sum(charged.values(), Amounts())
        if news.revision >= end:
            break
    assert len(sums) > len(charged)
    return list(sums.values())
