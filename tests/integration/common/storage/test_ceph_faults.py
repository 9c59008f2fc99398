"""A Ceph that hangs, loses its monitor, or is full: calls end with a reason and in time, and go on when it is back."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import TemporaryError
from common.settings import StorageSettings
from common.storage.rbd import RbdStore
from devcloud.ceph import CephCluster
from devcloud.waiting import wait_for
from tests.integration.common.storage.disks import IMAGE, VM, holds, import_image, prepare, qemu_io, root, sized, stage

TIMEOUT_S = 2
"""How long the cluster may leave one operation unanswered in these tests."""
LATEST_S = TIMEOUT_S + 35
SNAPSHOT = "00000000-0000-4000-8000-000000000001"
OTHER_VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a11"


@pytest.fixture
def store(rbd_settings: StorageSettings, tmp_path: Path) -> Iterator[RbdStore]:
    """A store with a template and a VM."""
    # One that waits: the cluster may have yet to get over the test before.
    patient = RbdStore(rbd_settings.model_copy(update={"rbd_timeout_s": 60}))
    import_image(patient, tmp_path)
    patient.create(VM, IMAGE, sized(64, 8))
    patient.close()
    made = RbdStore(rbd_settings.model_copy(update={"rbd_timeout_s": TIMEOUT_S}))
    yield made
    made.close()


def _calls(store: RbdStore) -> dict[str, Callable[[], object]]:
    return {
        "disks": lambda: store.disks(VM),
        "create": lambda: store.create(OTHER_VM, IMAGE, sized(64, 8)),
        "grow": lambda: store.grow(VM, sized(128, 8)),
        "remove": lambda: store.remove(VM),
        "expel": lambda: store.expel(VM),
        "take_snapshot": lambda: store.take_snapshot(VM, SNAPSHOT, ("root",)),
        "remove_snapshot": lambda: store.remove_snapshot(VM, SNAPSHOT),
        "roll_back": lambda: store.roll_back(VM, SNAPSHOT, ("root",), 1),
        "vms": store.vms,
        "templates": store.templates,
        "capacity": store.capacity,
        "remove_template": lambda: store.remove_template(IMAGE),
    }


def _ends(call: Callable[[], object]) -> float:
    """How long a call took that ended with a TemporaryError."""
    began = time.monotonic()
    with pytest.raises(TemporaryError):
        call()
    return time.monotonic() - began


def test_while_an_osd_hangs_every_call_ends_in_time_and_goes_on_afterwards(store: RbdStore, ceph: CephCluster) -> None:
    ceph.pause("ceph-osd")
    try:
        took: dict[str, float] = {}

        def ask(name: str, call: Callable[[], object]) -> None:
            took[name] = _ends(call)

        calls = {name: call for name, call in _calls(store).items() if name != "capacity"}
        threads = [threading.Thread(target=ask, args=each) for each in calls.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * LATEST_S)
        assert took.keys() == calls.keys()
        assert max(took.values()) < LATEST_S
        assert store.is_in_use(VM) is None
    finally:
        ceph.resume("ceph-osd")
    _comes_back(store)


def test_a_roll_back_in_whose_midst_an_osd_hangs_ends_in_time_and_is_done_afterwards(
    store: RbdStore, rbd_settings: StorageSettings, ceph: CephCluster
) -> None:
    other = RbdStore(rbd_settings)
    store.grow(VM, sized(512, 8))
    qemu_io(root(store), "write -P 1 0 400M")
    store.take_snapshot(VM, SNAPSHOT, ("root",))
    qemu_io(root(store), "write -P 2 0 400M")
    assert other._snapshots._noted(VM) == ""  # it is connected: from now on it sees what the first one does
    took: list[float] = []
    thread = threading.Thread(
        target=lambda: took.append(_ends(lambda: store.roll_back(VM, SNAPSHOT, ("root",), 1))), daemon=True
    )
    thread.start()
    wait_for("its beginning", lambda: other._snapshots._noted(VM).endswith("begun"), 20, interval_s=0.01)
    ceph.pause("ceph-osd")
    try:
        thread.join(4 * LATEST_S)
    finally:
        ceph.resume("ceph-osd")
    assert took, "it was too fast"
    assert took[0] < LATEST_S
    wait_for("a roll-back", lambda: _is_rolled_back(store), 120, interval_s=1)
    assert "failed" not in qemu_io(root(store), "read -P 1 0 400M")
    store.remove(VM)
    other.close()


def _is_rolled_back(store: RbdStore) -> bool:
    try:
        store.roll_back(VM, SNAPSHOT, ("root",), 1)
    except TemporaryError:
        return False
    return store.disks(VM).rolled_back == 1


def test_while_the_monitor_is_away_what_is_known_works_and_the_rest_ends_in_time(
    store: RbdStore, rbd_settings: StorageSettings, ceph: CephCluster
) -> None:
    assert root(store).size_mib == 64  # whoever is connected knows where the data are
    ceph.kill("ceph-mon")
    try:
        assert root(store).size_mib == 64
        assert _ends(store.capacity) < LATEST_S
        late = RbdStore(rbd_settings.model_copy(update={"rbd_timeout_s": TIMEOUT_S}))
        assert _ends(lambda: late.disks(VM)) < LATEST_S
        late.close()
    finally:
        ceph.start_daemon("ceph-mon")
    wait_for("the monitor's answer", lambda: _works(store.capacity), 60)
    _comes_back(store)


def test_an_import_goes_on_when_the_osd_is_back(store: RbdStore, ceph: CephCluster, tmp_path: Path) -> None:
    image = "00000000-0000-4000-8000-00000000001c"
    prepared = prepare(tmp_path / "big.qcow2", size_mib=512)
    qemu_io(prepared, "write -P 0xcd 1M 400M")
    said: list[object] = []

    def run() -> None:
        try:
            store.publish(image, stage(store, image, prepared))
            said.append("done")
        except TemporaryError as error:
            said.append(error)

    importer = threading.Thread(target=run)
    importer.start()
    wait_for("a draft", store.drafts, 10)
    ceph.pause("ceph-osd")
    threading.Event().wait(3 * TIMEOUT_S)
    assert not store_has(store, image)
    ceph.resume("ceph-osd")
    importer.join(60)
    assert said
    if said != ["done"]:
        # It had not got to the copy yet: the next try does.
        wait_for("the draft to go", lambda: _works(lambda: store.drop_drafts(image)), 60)
        store.publish(image, stage(store, image, prepared))
    store.create(OTHER_VM, image, sized(512))
    assert "Pattern verification failed" not in qemu_io(root(store, OTHER_VM), "read -P 0xcd 400M 1M")
    assert store.drafts() == {}


def store_has(store: RbdStore, image: str) -> bool:
    """Whether a template is there, as far as the cluster tells."""
    try:
        return store.has_template(image)
    except TemporaryError:
        return False


def test_a_full_pool_is_said_to_be_full_and_is_used_again_once_there_is_room(
    store: RbdStore, ceph: CephCluster
) -> None:
    qemu_io(root(store), "write -P 1 1M 32M")
    store.create(OTHER_VM, IMAGE, sized(64))
    store.remove(OTHER_VM)
    ceph.command("osd pool set-quota", pool="ssd", field="max_bytes", val=str(1024 * 1024))
    try:
        wait_for("a full pool", lambda: "full" in _flags(ceph, "ssd"), 60)
        assert "the pool ssd of the Ceph cluster is full" in _said(lambda: store.create(OTHER_VM, IMAGE, sized(64)))
        assert store.disks(OTHER_VM).root is None
        # What takes no room works, and so does what makes some.
        assert root(store).size_mib == 64
        store.remove(VM)
        assert store.disks(VM).leftovers is False
    finally:
        ceph.command("osd pool set-quota", pool="ssd", field="max_bytes", val="0")
    wait_for("room again", lambda: _works(lambda: store.create(OTHER_VM, IMAGE, sized(64))), 60)
    assert holds(root(store, OTHER_VM), 0xAB)


def _flags(ceph: CephCluster, pool: str) -> list[str]:
    """The flags of a pool."""
    pools = json.loads(ceph.command("osd dump"))["pools"]
    (names,) = (each["flags_names"] for each in pools if each["pool_name"] == pool)
    return str(names).split(",")


def _said(call: Callable[[], object]) -> str:
    try:
        call()
    except TemporaryError as error:
        return str(error)
    return ""


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except TemporaryError:
        return False
    return True


def _comes_back(store: RbdStore) -> None:
    """All calls work again, as if nothing had been; what was begun is brought to its end."""
    wait_for("a VM's disks", lambda: _works(lambda: store.create(OTHER_VM, IMAGE, sized(64, 8))), 90)
    assert holds(root(store, OTHER_VM), 0xAB)
    wait_for("a VM's end", lambda: _works(lambda: store.remove(VM)), 60)
    assert store.vms() == {OTHER_VM}
    wait_for("the other's end", lambda: _works(lambda: store.remove(OTHER_VM)), 60)
    wait_for("the template's end", lambda: _works(lambda: store.remove_template(IMAGE)), 60)
    assert store.vms() == store.templates() == frozenset()
