"""What admission charges, release gives back: afterwards etcd is as it was before."""

from datetime import UTC, datetime

import pytest

from common import admission, keys
from common.errors import Conflict
from common.schemas.image import ImageRequest
from common.schemas.vm import Specs, VmRequest
from common.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = ImageRequest(uuid="i-1", owner="alice", name="debian", file="debian.qcow2", created_at=NOW)
VM = VmRequest(
    uuid="v-1", owner="alice", name="web", specs=Specs(cpu=1, ram_mib=64, ssd_mib=1), image="i-1", created_at=NOW
)


def _commit(store: Store, step: admission.Step) -> int:
    return store.commit(step.compares, step.operations)


def _keys(store: Store) -> list[str]:
    return [entry.key for entry in store.list(keys.ROOT).entries]


def test_release_gives_back_all_that_admission_took(store: Store) -> None:
    image_revision = _commit(store, admission.admit_image(IMAGE))
    with_image = _keys(store)
    vm_revision = _commit(store, admission.admit_vm(VM, image_revision))
    assert len(_keys(store)) > len(with_image)
    _commit(store, admission.release_vm(VM, vm_revision))
    assert _keys(store) == with_image
    _commit(store, admission.release_image(IMAGE, image_revision))
    assert _keys(store) == []


def test_a_name_is_held_by_one_thing_of_an_owner(store: Store) -> None:
    image_revision = _commit(store, admission.admit_image(IMAGE))
    _commit(store, admission.admit_vm(VM, image_revision))
    twin = VM.model_copy(update={"uuid": "v-2"})
    with pytest.raises(Conflict) as refused:
        _commit(store, admission.admit_vm(twin, image_revision))
    assert refused.value.keys == (keys.name("alice", "vm", "web"),)
    _commit(store, admission.admit_vm(twin.model_copy(update={"owner": "bob"}), image_revision))


def test_an_image_that_a_vm_uses_can_be_neither_deleted_nor_released(store: Store) -> None:
    image_revision = _commit(store, admission.admit_image(IMAGE))
    vm_revision = _commit(store, admission.admit_vm(VM, image_revision))
    for step in (admission.delete_image(IMAGE, image_revision), admission.release_image(IMAGE, image_revision)):
        with pytest.raises(Conflict) as refused:
            _commit(store, step)
        assert refused.value.keys == (keys.image_uses("i-1"),)
    _commit(store, admission.release_vm(VM, vm_revision))
    _commit(store, admission.delete_image(IMAGE, image_revision))


def test_no_vm_is_made_of_an_image_that_has_changed_since_it_was_read(store: Store) -> None:
    image_revision = _commit(store, admission.admit_image(IMAGE))
    _commit(store, admission.delete_image(IMAGE, image_revision))
    with pytest.raises(Conflict):
        _commit(store, admission.admit_vm(VM, image_revision))
    assert store.get(keys.vm("v-1")) is None
