"""A cloud as the scheduler sees it: hosts and VMs that are keys in a real etcd, written as the other daemons would."""

import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from common import admission, keys
from common.schemas.host import Alive, HostRequest, HostState, HostStatus, StoreCapacity
from common.schemas.image import ImageRequest
from common.schemas.user import Account, Amounts
from common.schemas.vm import Actual, Placement, Requested, Specs, VmRequest, VmStatus
from common.store import Delete, Put, Store, present, unchanged
from devcloud.waiting import wait_for

DEADLINE_S = 60.0
SMALL = Specs.of(cpu=1, ram_mib=1024, ssd_mib=10 * 1024)


class Cloud:
    """Writes what the API and the hosts write, and reads what the scheduler wrote."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.image = str(uuid.uuid4())
        image = ImageRequest(
            uuid=self.image, owner="admin", name="debian", file="d.qcow2", created_at=datetime.now(UTC)
        )
        account = Account(name="admin", realm="ucloud", created_at=datetime.now(UTC))
        account_revision = self.put(keys.account("admin"), account.to_json())
        self._budget = admission.Budget(account, account_revision, Amounts(), account_revision)
        step = admission.admit_image(image, account_revision)
        self._image_revision = store.commit(step.compares, step.operations)

    def put(self, key: str, value: bytes) -> int:
        """Write a key whatever it holds now."""
        entry = self.store.get(key)
        return self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, value)])

    def add_host(self, name: str, cpu: int = 8, ram_mib: int = 16384, ssd_mib: int = 10**6, store_id: str = "") -> None:
        """A host that is registered and alive; without overcommit of processors."""
        ssd = StoreCapacity(store_id=store_id or f"store-of-{name}", total_mib=ssd_mib)
        self.put(keys.host_status(name), HostStatus(name=name, cpu=cpu, ram_mib=ram_mib, ssd=ssd).to_json())
        self.put(keys.alive(name), Alive(name=name, boot_id="1").to_json())

    def set_host(self, name: str, state: HostState) -> None:
        """The admin's word."""
        self.put(keys.host(name), HostRequest(name=name, state=state).to_json())

    def request(self, specs: Specs = SMALL, requested: Requested = Requested.RUNNING, **more: Any) -> VmRequest:
        """A VM's request, not yet written; `more` are other fields."""
        vm_uuid = str(uuid.uuid4())
        return VmRequest(
            uuid=vm_uuid,
            owner="admin",
            name=f"vm-{vm_uuid}",
            specs=specs,
            image=self.image,
            requested=requested,
            created_at=datetime.now(UTC),
            **more,
        )

    def add_vm(self, specs: Specs = SMALL, requested: Requested = Requested.RUNNING, **more: Any) -> VmRequest:
        """A VM as the API admits it."""
        request = self.request(specs, requested, **more)
        step = admission.admit_vm(request, self._image_revision, self._budget)
        self.store.commit(step.compares, step.operations)
        return request

    def change_vm(self, request: VmRequest, **changes: object) -> VmRequest:
        """The owner wants something else."""
        changed = request.model_copy(update={**changes, "generation": request.generation + 1})
        entry = self.store.get(keys.vm(request.uuid))
        assert entry is not None
        step = admission.change_vm(request, changed, entry.mod_revision, self._budget)
        self.store.commit(step.compares, step.operations)
        return changed

    def report(self, host: str, vm_uuid: str, placement: Placement, actual: Actual) -> None:
        """A host's status of a VM, as the answer to `placement`."""
        status = VmStatus(
            epoch=placement.epoch, generation=placement.generation, actual=actual, since=datetime.now(UTC)
        )
        self.put(keys.vm_status(host, vm_uuid), status.to_json())

    def remove(self, key: str) -> None:
        """Remove a key that exists."""
        self.store.commit([present(key)], [Delete(key)])

    def placements(self) -> dict[tuple[str, str], Placement]:
        """All placements by host and VM."""
        entries = self.store.list(keys.PLACEMENT).entries
        return {keys.host_and_vm(entry.key): Placement.read(entry.key, entry.value) for entry in entries}

    def placement(self, vm_uuid: str) -> tuple[str, Placement]:
        """The one placement of a VM, with its host, as soon as there is one."""

        def look() -> tuple[str, Placement] | None:
            found = [(host, placed) for (host, placed_vm), placed in self.placements().items() if placed_vm == vm_uuid]
            assert len(found) <= 1
            return found[0] if found else None

        return wait_for(f"placement of {vm_uuid}", look, DEADLINE_S)

    def wait_specs(self, vm_uuid: str, specs: Specs) -> None:
        """Wait until a VM's host is ordered to give it `specs`."""
        wait_for(f"{specs}", lambda: self.placement(vm_uuid)[1].request.specs == specs, DEADLINE_S)

    def reason(self, vm_uuid: str) -> str | None:
        """Why a VM waits, as the scheduler reports it."""
        key = keys.vm_status("-", vm_uuid)
        entry = self.store.get(key)
        return VmStatus.read(key, entry.value).reason if entry else None

    def wait_reason(self, vm_uuid: str, reason: str) -> None:
        """Wait until a VM's owner is told `reason`."""
        wait_for(f"{reason!r}", lambda: self.reason(vm_uuid) == reason, DEADLINE_S)

    def wait_gone(self, key: str) -> None:
        """Wait until `key` exists no more."""
        wait_for(f"the end of {key}", lambda: self.store.get(key) is None, DEADLINE_S)

    def wait_placed(self, count: int, timeout_s: float = DEADLINE_S) -> None:
        """Wait until there are `count` placements."""
        wait_for(f"{count} placements", lambda: len(self.placements()) >= count, timeout_s)

    def used(self) -> dict[str, Counter[str]]:
        """What is promised on each host."""
        used: dict[str, Counter[str]] = {}
        for (host, _), placement in self.placements().items():
            specs = placement.request.specs
            sums = used.setdefault(host, Counter())
            sums.update(cpu=specs.cpu, ram_mib=specs.ram_mib, ssd_mib=specs.ssd_mib)
        return used
