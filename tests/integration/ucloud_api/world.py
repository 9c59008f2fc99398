"""What the other daemons write, written by a test: images that are READY, hosts, placements, statuses."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta

from common import admission, keys
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.image import ImageActual, ImageRequest, ImageStatus
from common.schemas.record import Record
from common.schemas.snapshot import SnapshotReport
from common.schemas.user import Account, Quota, Session
from common.schemas.vm import Actual, Console, Placement, Specs, VmRequest, VmStatus
from common.store import Delete, Put, Store, present, unchanged
from ucloud_api.access.auth import TOKEN_PREFIX
from ucloud_api.access.sessions import digest

NOBODY = "123e4567-e89b-42d3-a456-426614174000"
"""The uuid of nothing."""


def bearer(token: str) -> dict[str, str]:
    """The header that proves a session."""
    return {"Authorization": f"Bearer {token}"}


class World:
    """Keys in a real etcd, written as their daemons would write them."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, key: str, value: Record | bytes) -> None:
        """Write a key, whatever it holds now."""
        entry = self.store.get(key)
        raw = value if isinstance(value, bytes) else value.to_json()
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, raw)])

    def remove(self, key: str) -> None:
        """Remove a key that exists."""
        self.store.commit([present(key)], [Delete(key)])

    def request_of(self, vm_uuid: str) -> VmRequest:
        """The request for a VM as it stands in etcd."""
        entry = self.store.get(keys.vm(vm_uuid))
        assert entry
        return VmRequest.read(entry.key, entry.value)

    def add_account(self, name: str, is_admin: bool = False, quota: Quota | None = None) -> None:
        """A user of the realm ucloud; no quota, no limit."""
        account = Account(name=name, realm="ucloud", is_admin=is_admin, quota=quota, created_at=datetime.now(UTC))
        self.put(keys.account(name), account)

    def log_in(self, name: str, ttl_s: float = 3600) -> str:
        """A session of a user who has an account; returns its bearer token."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        session = Session(user=name, created_at=now, expires_at=now + timedelta(seconds=ttl_s))
        self.put(keys.session(digest(token)), session)
        return token

    def add_image(
        self,
        name: str = "debian",
        owner: str = "admin",
        size_mib: int = 2048,
        public: bool | None = None,
        actual: ImageActual = ImageActual.READY,
    ) -> str:
        """An image, public if it is the admin's; returns its uuid. An owner without an account gets one."""
        image = ImageRequest(
            uuid=str(uuid.uuid4()),
            owner=owner,
            name=name,
            file="d.qcow2",
            public=owner == "admin" if public is None else public,
            created_at=datetime.now(UTC),
        )
        if self.store.get(admission.holder_key(owner)) is None:
            self.add_account(owner, is_admin=owner == "admin")
        holder = self.store.get(admission.holder_key(owner))
        assert holder
        step = admission.admit_image(image, holder.mod_revision)
        self.store.commit(step.compares, step.operations)
        self.set_image(image.uuid, actual, size_mib=size_mib)
        return image.uuid

    def set_image(self, image_uuid: str, actual: ImageActual, reason: str = "", size_mib: int = 2048) -> None:
        """What the image daemon says."""
        status = ImageStatus(
            generation=1, actual=actual, reason=reason, since=datetime.now(UTC), virtual_size_mib=size_mib
        )
        self.put(keys.image_status(image_uuid), status)

    def add_host(self, name: str = "h1") -> None:
        """A host that is registered and alive."""
        ssd = StoreCapacity(store_id=f"store-of-{name}", total_mib=100 * 1024)
        self.put(keys.host_status(name), HostStatus(name=name, cpu=8, ram_mib=16384, ssd=ssd, addresses=("fd00::1",)))
        self.put(keys.alive(name), Alive(name=name, boot_id="1"))

    def place(self, vm_uuid: str, host: str = "h1", epoch: int = 1) -> None:
        """The scheduler orders a VM from a host, as the request stands now."""
        request = self.request_of(vm_uuid)
        order = Placement(epoch=epoch, generation=request.generation, request=request, placed_at=datetime.now(UTC))
        self.put(keys.placement(host, vm_uuid), order)

    def report(
        self,
        vm_uuid: str,
        actual: Actual,
        host: str = "h1",
        epoch: int = 1,
        reason: str = "",
        console: Console | None = None,
        specs: Specs | None = None,
        *,
        snapshots: tuple[SnapshotReport, ...] = (),
    ) -> None:
        """A host says what a VM is."""
        status = VmStatus(
            epoch=epoch,
            generation=self.request_of(vm_uuid).generation,
            actual=actual,
            reason=reason,
            since=datetime.now(UTC),
            addresses=("2001:db8::1",) if actual is Actual.RUNNING else (),
            console=console,
            specs=specs,
            snapshots=snapshots,
        )
        self.put(keys.vm_status(host, vm_uuid), status)

    def run(self, vm_uuid: str, actual: Actual = Actual.RUNNING, host: str = "h1") -> None:
        """Order a VM and report its state."""
        self.place(vm_uuid, host)
        self.report(vm_uuid, actual, host)

    def forget(self, vm_uuid: str) -> None:
        """The scheduler removes a VM of which nothing is left."""
        for listing in (self.store.list(keys.PLACEMENT), self.store.list(keys.STATUS_VM)):
            for entry in listing.entries:
                if keys.last_part(entry.key) == vm_uuid:
                    self.remove(entry.key)
        request = self.store.get(keys.vm(vm_uuid))
        assert request
        step = admission.release_vm(VmRequest.read(request.key, request.value), request.mod_revision)
        self.store.commit(step.compares, step.operations)
