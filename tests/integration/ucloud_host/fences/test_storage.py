"""The fence `storage` on placements in a real etcd; what the disks say is the store's own test."""

import uuid
from datetime import UTC, datetime

import pytest

from common import keys
from common.errors import Conflict, TemporaryError
from common.schemas.host import HostStatus, StoreCapacity
from common.schemas.vm import Placement, Role, Specs, VmRequest
from common.store import Put, Store, absent, present
from ucloud_host.fences import Answer, Silence, Word
from ucloud_host.fences.storage import StorageFence

SHARED, OWN = StoreCapacity(store_id="shared", total_mib=1), StoreCapacity(store_id="own", total_mib=1)
STATUS = HostStatus(name="h1", cpu=1, ram_mib=1, ssd=SHARED)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Disks:
    """Disks that say what a test wants."""

    def __init__(self, ssd: StoreCapacity = SHARED, hdd: StoreCapacity | None = None) -> None:
        self.stores = ssd, hdd
        self.in_use: dict[str, bool | None] = {}
        self.asked: list[str] = []
        self.expelled: list[str] = []
        self.is_mounted = True

    def store_ids(self) -> tuple[str, str | None]:
        if not self.is_mounted:
            raise TemporaryError("is it mounted?")
        ssd, hdd = self.stores
        return ssd.store_id, hdd.store_id if hdd else None

    def expel(self, vm_uuid: str) -> None:
        self.expelled.append(vm_uuid)

    def is_in_use(self, vm_uuid: str) -> bool | None:
        self.asked.append(vm_uuid)
        return self.in_use.get(vm_uuid, False)


def _place(store: Store, host: str = "h1", role: Role = Role.RUN, ha: bool = True, hdd_mib: int = 0) -> str:
    vm_uuid = str(uuid.uuid4())
    specs = Specs.of(cpu=1, ram_mib=64, ssd_mib=1, hdd_mib=hdd_mib)
    request = VmRequest(uuid=vm_uuid, owner="ann", name="web", specs=specs, image="i", created_at=NOW, ha=ha)
    placement = Placement(epoch=1, generation=1, request=request, placed_at=NOW, role=role)
    key = keys.placement(host, vm_uuid)
    store.commit([absent(key)], [Put(key, placement.to_json())])
    return vm_uuid


def _ask(store: Store, disks: Disks, status: HostStatus | None = STATUS) -> Answer:
    return StorageFence(store, disks).ask(Silence("h1", 5, status=status))


def test_yes_where_no_disk_is_locked(store: Store) -> None:
    disks, placed = Disks(), {_place(store), _place(store)}
    assert str(_ask(store, disks)) == "yes: nobody uses the disks of its HA VMs (2)"
    assert set(disks.asked) == set(disks.expelled) == placed


@pytest.mark.parametrize(("in_use", "word"), [(True, Word.NO), (None, Word.UNKNOWN)])
def test_one_disk_is_enough_for_a_no(store: Store, in_use: bool | None, word: Word) -> None:
    disks = Disks()
    _place(store)
    disks.in_use[_place(store)] = in_use
    answer = _ask(store, disks)
    assert (answer.word, "VM web" in answer.why) == (word, True)


def test_only_ha_vms_that_are_there_to_run_are_asked_about(store: Store) -> None:
    disks = Disks()
    _place(store, "h10")
    _place(store, ha=False)
    _place(store, role=Role.INCOMING)
    _place(store, role=Role.LEFT)
    assert str(_ask(store, disks)) == "yes: there is no HA VM on it"
    assert disks.asked == disks.expelled == []


@pytest.mark.parametrize(
    ("disks", "status", "hdd_mib", "word"),
    [
        (Disks(OWN), STATUS, 0, Word.UNKNOWN),
        (Disks(), None, 0, Word.UNKNOWN),
        (Disks(), HostStatus(name="h1", cpu=1, ram_mib=1), 0, Word.UNKNOWN),
        (Disks(SHARED, OWN), STATUS, 0, Word.YES),
        (Disks(SHARED, OWN), STATUS, 1, Word.UNKNOWN),
        (Disks(SHARED, OWN), STATUS.model_copy(update={"hdd": OWN}), 1, Word.YES),
        (Disks(SHARED), STATUS.model_copy(update={"hdd": OWN}), 1, Word.UNKNOWN),
    ],
)
def test_disks_that_the_judge_does_not_see_are_unknown(
    store: Store, disks: Disks, status: HostStatus | None, hdd_mib: int, word: Word
) -> None:
    _place(store, hdd_mib=hdd_mib)
    assert _ask(store, disks, status).word is word


def test_a_placement_that_can_not_be_read_is_unknown(store: Store) -> None:
    store.commit([absent(keys.placement("h1", "x"))], [Put(keys.placement("h1", "x"), b"{")])
    assert _ask(store, Disks()).word is Word.UNKNOWN


def test_a_yes_is_void_once_something_else_is_placed_there(store: Store) -> None:
    vm_uuid = _place(store)
    answer = _ask(store, Disks())
    store.commit(answer.rests_on, [Put("/test", b"")])
    key = keys.placement("h1", vm_uuid)
    entry = store.get(key)
    assert entry
    store.commit([present(key)], [Put(key, entry.value)])
    with pytest.raises(Conflict):
        store.commit(answer.rests_on, [Put("/test", b"")])
