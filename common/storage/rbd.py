"""The store in a Ceph: images of RBD, which each host of the cluster reaches (docs/design/0016-ceph.md).

    <ssd pool>  template-<image>-<random>   a template or a draft of one; its clones are made from its snapshot
                vm-<vm>-root                a clone
                vm-<vm>-<serial>            another disk
                ucloud                      an object of RADOS: the ledger, with these entries:
                  template.<image>            the template's name; "removing <name>" as it is about to go
                  draft.<image>.<name>        an import is under way, or was interrupted
                  vm.<vm>.<root|hdd>          "making <image>", "removing ": it is not whole; "arriving": it is to be
                                              copied into; none: it is whole, if it is there
                  vm.<vm>.<serial>            "making ssd", "removing ssd", "arriving ssd"; "ssd": it is whole
    <hdd pool>  vm-<vm>-<hdd|serial>        a disk of which the ledger says "hdd" where it says "ssd" above

What is under way is noted before it is begun, so a process that is ended at any point leaves nothing that looks whole
and is not. Of the serials root and hdd, whose kinds are known, whole disks have no entry; other disks are found by it.
"""

import logging
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.ceph import images, ledger, snapshots
from common.ceph.access import Access
from common.ceph.hands import Hands
from common.errors import PermanentError, TemporaryError
from common.schemas.disk import HDD, ROOT, SERIAL_PATTERN, DiskKind, DiskSpec
from common.schemas.host import StoreCapacity
from common.settings import StorageSettings
from common.storage import (
    SNAPSHOT_GONE,
    Capacities,
    CephSecret,
    Convert,
    Disk,
    NbdServer,
    RbdDisk,
    Staged,
    Target,
    VmDisks,
    capacity_of,
    nbd,
)
from common.storage.growth import check_room
from common.storage.names import UUID, checked
from common.storage.rbd_snapshots import RbdSnapshots, ours

_log = logging.getLogger(__name__)
_DISK_NAME = re.compile(rf"vm-({UUID.pattern})-{SERIAL_PATTERN}")
_SECRETS = uuid.UUID("0b5d6f5e-1d53-4a0c-9df1-6a3a1d0e7c55")
_MIB = 1024 * 1024
_MAKING, _ARRIVING, _STAGED, _REMOVING = "making ", "arriving", "staged", "removing "
_KNOWN = {ROOT: DiskKind.SSD, HDD: DiskKind.HDD}
"""The disks that the ledger need not name, as there was a time when it named none."""
_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.1
_STALL_S = 120
"""An import waits so long for one operation: an OSD that restarts is no reason to begin anew."""
_STEPS = 128


class RbdStore:
    """An ImageStore and a DiskStore in one pool, or two."""

    def __init__(self, settings: StorageSettings) -> None:
        """Reaches for nothing yet: a cluster that is away when this begins may come back."""
        client = settings.rbd_client
        keyring = settings.rbd_keyring or Path(f"/etc/ceph/ceph.client.{client}.keyring")
        self._access = Access(str(settings.rbd_conf), client, str(keyring), settings.rbd_timeout_s)
        self._hands = Hands(self._access)
        self._ssd = settings.rbd_ssd_pool
        self._hdd = settings.rbd_hdd_pool
        self._identities: dict[str, str] = {}
        self._snapshots = RbdSnapshots(self._hands, self._ssd)

    def close(self) -> None:
        """End the processes that wait for calls."""
        self._hands.close()

    # --- templates ----------------------------------------------------------------------------------------------------

    def stage(self, image_uuid: str, size_bytes: int, write: Callable[[Target], None]) -> str:
        """See ImageStore."""
        draft = self._begin_draft(image_uuid)
        self._hands.call(images.create, self._ssd, draft, size_bytes)
        try:
            with nbd.serve(self._for_qemu(draft)) as server:
                write(NbdServer(server))
        except TemporaryError as error:
            why = self._hands.call(images.why_stuck, self._ssd)
            raise TemporaryError(why or f"the image can't be written to the Ceph cluster: {error}") from error
        self._hands.call(images.seal, self._ssd, draft)
        return draft

    def stage_snapshot(
        self, image_uuid: str, vm_uuid: str, snapshot: str, convert: Convert, tell: Callable[[int], None]
    ) -> Staged:
        """See ImageStore."""
        root = self.disks(vm_uuid).root
        if not isinstance(root, RbdDisk) or snapshot not in root.snapshots:
            raise PermanentError(SNAPSHOT_GONE)
        return self._snapshots.stage(root.image, snapshot, self._begin_draft(image_uuid), tell)

    def _begin_draft(self, image_uuid: str) -> str:
        draft = f"template-{checked(image_uuid)}-{secrets.token_hex(4)}"
        self._note({f"draft.{image_uuid}.{draft}": _STAGED})
        return draft

    def publish(self, image_uuid: str, draft: str) -> None:
        """See ImageStore."""
        key, noted = f"template.{checked(image_uuid)}", f"draft.{image_uuid}.{draft}"
        if not self._hands.call(ledger.write, self._ssd, {key: "", noted: _STAGED}, {key: draft}, (noted,)):
            raise TemporaryError(f"there is a template of image {image_uuid} already, or its draft is gone")

    def drafts(self) -> Mapping[str, frozenset[str]]:
        """See ImageStore."""
        found: dict[str, frozenset[str]] = {}
        for entry in self._read("draft."):
            _, image, draft = entry.split(".")
            found[image] = found.get(image, frozenset()) | {draft}
        return found

    def drop_drafts(self, image_uuid: str) -> None:
        """See ImageStore."""
        for entry in self._read(f"draft.{checked(image_uuid)}."):
            self._hands.call(images.remove, self._ssd, entry.rpartition(".")[2])
            self._strike(entry)

    def has_template(self, image_uuid: str) -> bool:
        """See ImageStore."""
        return bool(self._template(image_uuid))

    def remove_template(self, image_uuid: str) -> None:
        """See ImageStore. Once it is said to be removed, no disk is begun on it that is not seen here."""
        key = f"template.{checked(image_uuid)}"
        if noted := self._template(image_uuid):
            name = noted.removeprefix(_REMOVING)
            if not self._hands.call(ledger.write, self._ssd, {key: noted}, {key: f"{_REMOVING}{name}"}):
                raise TemporaryError(f"the template of image {image_uuid} has just changed")
            if users := self._users(image_uuid, name):
                self._note({key: name})
                raise PermanentError(f"image {image_uuid} is in use by VM {', '.join(users)}")
            self._hands.call(images.remove, self._ssd, name)
            self._strike(key)
        self.drop_drafts(image_uuid)

    def templates(self) -> frozenset[str]:
        """See ImageStore."""
        return frozenset(entry.removeprefix("template.") for entry in self._read("template."))

    def _template(self, image_uuid: str) -> str:
        return self._read(f"template.{checked(image_uuid)}").get(f"template.{image_uuid}", "")

    def _users(self, image_uuid: str, template: str) -> list[str]:
        """The VMs with disks on a template, or about to have them."""
        found = {_vm_of(name) or name for name in self._hands.call(images.children, self._ssd, template)}
        found |= {
            entry.split(".")[1] for entry, state in self._read("vm.").items() if state == f"{_MAKING}{image_uuid}"
        }
        return sorted(found)

    def _for_qemu(self, image: str) -> str:
        """An image of the SSDs' pool as QEMU's programs are told of it. It has no secret in it."""
        options = {"id": self._access.client, "conf": self._access.conf, **self._access.options(_STALL_S)}
        return f"rbd:{self._ssd}/{image}" + "".join(f":{name}={_escaped(value)}" for name, value in options.items())

    # --- disks --------------------------------------------------------------------------------------------------------

    def create(self, vm_uuid: str, image_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore."""
        present = self.disks(vm_uuid)
        for disk in disks:
            if disk.serial in present.whole:
                continue
            place = self._place(vm_uuid, disk.serial, disk.kind)
            if disk.serial in present.unfinished:
                self._clear(place)
            if disk.serial == ROOT:
                template = self._begin_on(image_uuid, place.key, disk.size_mib)
                self._hands.call(images.clone, self._ssd, template, place.image, disk.size_mib * _MIB)
            else:
                self._note({place.key: place.noted(_MAKING)})
                self._make_empty(place, disk.size_mib)
            self._settle(place)

    def _begin_on(self, image_uuid: str, key: str, ssd_mib: int) -> str:
        """Note at `key` that a disk is being made from a template; returns that one's name."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            template = self._template(image_uuid)
            if not template:
                raise PermanentError(f"image {image_uuid} is not in the store of this host")
            if not template.startswith(_REMOVING):
                (size_bytes,) = self._hands.call(images.sizes, ((self._ssd, template),))
                size_mib = -(-(size_bytes or 0) // _MIB)
                if size_mib > ssd_mib:
                    raise PermanentError(
                        f"image {image_uuid} takes {size_mib} MiB, the VM's SSD has only {ssd_mib} MiB"
                    )
                is_same = {f"template.{image_uuid}": template}
                if self._hands.call(ledger.write, self._ssd, is_same, {key: f"{_MAKING}{image_uuid}"}):
                    return template
            if time.monotonic() > deadline_s:
                raise TemporaryError(f"image {image_uuid} is being removed")
            threading.Event().wait(_LOOK_EVERY_S)

    def prepare_arrival(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore."""
        wanted = {disk.serial: (self._place(vm_uuid, disk.serial, disk.kind), disk) for disk in disks}
        found = self._look(vm_uuid)
        if any(seen.size_bytes is not None and not seen.state.startswith(_ARRIVING) for seen in found.values()):
            raise PermanentError("there are disks of this VM in the store of the host that it is to be copied to")
        self._note({place.key: place.noted(_ARRIVING) for place, _ in wanted.values()})
        for serial, (place, disk) in wanted.items():
            if serial in found and found[serial].size_bytes is None:
                self._clear(place)
            self._make_empty(place, disk.size_mib)

    def keep_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for seen in self._look(vm_uuid).values():
            if seen.state.startswith(_ARRIVING):
                self._settle(seen.place)

    def drop_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for seen in self._look(vm_uuid).values():
            if seen.state.startswith(_ARRIVING):
                self._remove(seen.place)

    def disks(self, vm_uuid: str) -> VmDisks:
        """See DiskStore."""
        found = self._look(vm_uuid)
        whole: dict[str, Disk] = {
            serial: RbdDisk(
                seen.place.pool,
                seen.place.image,
                size_mib=seen.size_bytes // _MIB,
                client=self._access.client,
                conf=Path(self._access.conf),
                secret_uuid=self._secret_uuid,
                snapshots=seen.snapshots,
            )
            for serial, seen in found.items()
            if seen.size_bytes is not None and not seen.state.startswith((_MAKING, _REMOVING))
        }
        rolled_back = self._snapshots.rolled_back(vm_uuid)
        return VmDisks(
            whole,
            unfinished=frozenset(found) - whole.keys(),
            leftovers=bool(found) or rolled_back is not None,
            arriving=any(seen.state.startswith(_ARRIVING) for seen in found.values()),
            rolled_back=rolled_back or 0,
        )

    def take_snapshot(self, vm_uuid: str, snapshot: str, disks: Collection[str]) -> None:
        """See SnapshotStore."""
        self._snapshots.take(self.disks(vm_uuid), disks, snapshot)

    def remove_snapshot(self, vm_uuid: str, snapshot: str) -> None:
        """See SnapshotStore."""
        self._snapshots.remove(self.disks(vm_uuid), snapshot)

    def roll_back(self, vm_uuid: str, snapshot: str, disks: Collection[str], number: int) -> None:
        """See SnapshotStore."""
        self._snapshots.roll_back(vm_uuid, self.disks(vm_uuid), disks, snapshot, number)

    def is_in_use(self, vm_uuid: str) -> bool | None:
        """See DiskStore. A client that has died without giving its lock back counts until it is expelled."""
        try:
            places = [seen.place for seen in self._look(vm_uuid).values()]
            return any(self._hands.call(images.users, place.pool, place.image) for place in places)
        except TemporaryError as error:
            _log.warning("can't tell whether the disks of VM %s are in use: %s", vm_uuid, error)
            return None

    def expel(self, vm_uuid: str) -> None:
        """See DiskStore. They are on the cluster's blocklist, each by the nonce that no later client has."""
        for place in (seen.place for seen in self._look(vm_uuid).values()):
            if expelled := self._hands.call(images.expel, place.pool, place.image):
                _log.warning("cut off from the disk %s/%s: %s", place.pool, place.image, ", ".join(expelled))

    def grow(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore."""
        growths = self._growths(vm_uuid, disks)
        self._check_room(growths)
        for place, _, wanted in growths:
            self._hands.call(images.resize, place.pool, place.image, wanted.size_mib * _MIB)

    def check_growth(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore. Disks are sparse; still, what a pool has no room for now must not be promised."""
        self._check_room(self._growths(vm_uuid, disks))

    def _growths(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> list[tuple["_Place", int, DiskSpec]]:
        """The disks that are too small: where each is, by how many MiB, and as it is to be."""
        found = self._look(vm_uuid)
        return [
            (seen.place, wanted.size_mib - seen.size_bytes // _MIB, wanted)
            for wanted in disks
            if (seen := found.get(wanted.serial))
            and seen.size_bytes is not None
            and seen.size_bytes // _MIB < wanted.size_mib
        ]

    def _check_room(self, growths: Iterable[tuple["_Place", int, DiskSpec]]) -> None:
        check_room(
            ((place.pool, more_mib, wanted) for place, more_mib, wanted in growths),
            lambda pool: self._hands.call(images.room, pool).free_bytes // _MIB,
        )

    def remove_disk(self, vm_uuid: str, serial: str) -> None:
        """See DiskStore."""
        if seen := self._look(vm_uuid).get(serial):
            self._remove(seen.place)

    def remove(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for seen in self._look(vm_uuid).values():
            self._remove(seen.place)
        self._snapshots.forget(vm_uuid)

    def _remove(self, place: "_Place") -> None:
        # On its way it has no name.
        self._note({place.key: place.noted(_REMOVING)})
        self._clear(place)
        self._strike(place.key)

    def vms(self) -> frozenset[str]:
        """See DiskStore."""
        found = {_vm_of(name) for pool in self._pools() for name in self._hands.call(images.names, pool)}
        noted = {entry.split(".")[1] for entry in self._read("vm.")}
        return frozenset(vm for vm in found | noted if vm)

    def capacity(self) -> Capacities:
        """See DiskStore. One pool for both classes, or two on the same devices, would be counted twice."""
        return Capacities(self._capacity(self._ssd), self._capacity(self._hdd) if self._hdd else None)

    def _capacity(self, pool: str) -> StoreCapacity:
        room = self._hands.call(images.room, pool)
        # What the cluster takes for its total changes with each write.
        whole_mib = (room.stored_bytes + room.free_bytes) // _MIB
        step_mib = 2 ** (whole_mib // _STEPS).bit_length()
        return capacity_of(self._identity(pool), whole_mib // step_mib * step_mib, room.free_bytes // _MIB)

    def store_ids(self) -> tuple[str, str | None]:
        """See DiskStore. Needs no manager, and once they are known no cluster."""
        return self._identity(self._ssd), self._identity(self._hdd) if self._hdd else None

    def _identity(self, pool: str) -> str:
        if pool not in self._identities:
            self._identities[pool] = self._hands.call(images.identity, pool)
        return self._identities[pool]

    def secrets(self) -> tuple[CephSecret, ...]:
        """See DiskStore."""
        return (CephSecret(self._secret_uuid, f"client.{self._access.client}", self._access.key()),)

    # --- within -------------------------------------------------------------------------------------------------------

    @property
    def _secret_uuid(self) -> str:
        """The same on each host, so that a guest finds the secret where it moves to."""
        return str(uuid.uuid5(_SECRETS, self._access.client))

    def _pools(self) -> frozenset[str]:
        return frozenset(filter(None, (self._ssd, self._hdd)))

    def _place(self, vm_uuid: str, serial: str, kind: DiskKind) -> "_Place":
        pool = self._ssd if kind is DiskKind.SSD else self._hdd
        if not pool:
            raise PermanentError("this host has no store for HDDs")
        return _Place(pool, checked(vm_uuid), serial, kind)

    def _look(self, vm_uuid: str) -> dict[str, "_Seen"]:
        """What there is of a VM, by the serials of its disks."""
        prefix = f"vm.{checked(vm_uuid)}."
        # Which there may be, then which there are, then what they are: what is said to be whole after it was looked at
        # may not have been whole then.
        named = self._noted(prefix)
        kinds = _KNOWN | {serial: _kind_of(serial, state) for serial, state in named.items()}
        places = [
            self._place(vm_uuid, serial, kind) for serial, kind in kinds.items() if self._hdd or kind is DiskKind.SSD
        ]
        looks = self._hands.call(snapshots.look, tuple((place.pool, place.image) for place in places))
        noted = self._noted(prefix)
        return {
            place.serial: _Seen(place, noted.get(place.serial, ""), look)
            for place, look in zip(places, looks, strict=True)
            if place.serial in noted or (place.serial in _KNOWN and look is not None)
        }

    def _noted(self, prefix: str) -> dict[str, str]:
        return {entry.removeprefix(prefix): state for entry, state in self._read(prefix).items()}

    def _clear(self, place: "_Place") -> None:
        """Have no image at a place, not even one of an earlier try that is on its way."""
        self._hands.call(images.remove, place.pool, place.image)

    def _make_empty(self, place: "_Place", size_mib: int) -> None:
        """An empty disk; one that is there stays."""
        self._hands.call(images.create, place.pool, place.image, size_mib * _MIB)

    def _settle(self, place: "_Place") -> None:
        """Say that a disk is whole."""
        if place.serial in _KNOWN:
            self._strike(place.key)
        else:
            self._note({place.key: place.kind})

    def _read(self, prefix: str) -> dict[str, str]:
        return self._hands.call(ledger.read, self._ssd, prefix)

    def _note(self, entries: Mapping[str, str]) -> None:
        self._hands.call(ledger.write, self._ssd, {}, entries)

    def _strike(self, *entries: str) -> None:
        self._hands.call(ledger.write, self._ssd, {}, {}, entries)


@dataclass(frozen=True)
class _Place:
    """Where a disk is, or is to be."""

    pool: str
    vm_uuid: str
    serial: str
    kind: DiskKind

    @property
    def image(self) -> str:
        """Its name in the pool."""
        return f"vm-{self.vm_uuid}-{self.serial}"

    @property
    def key(self) -> str:
        """Its entry in the ledger."""
        return f"vm.{self.vm_uuid}.{self.serial}"

    def noted(self, state: str) -> str:
        """What the ledger says of it in a state."""
        return state if self.serial in _KNOWN else f"{state.rstrip()} {self.kind}"


@dataclass(frozen=True)
class _Seen:
    """A disk of which there is something: what the ledger says, and how it looks, None where there is no image."""

    place: _Place
    state: str
    look: snapshots.Look | None

    @property
    def size_bytes(self) -> int | None:
        """How large it is."""
        return self.look.size_bytes if self.look else None

    @property
    def snapshots(self) -> dict[str, datetime]:
        """Those of ucloud, each with when it was taken."""
        return ours(self.look.taken_at_s) if self.look else {}


def _kind_of(serial: str, state: str) -> DiskKind:
    return _KNOWN.get(serial) or DiskKind(state.rpartition(" ")[2])


def _escaped(value: str) -> str:
    """`value` as a part of QEMU's name of an image. Source: QEMU, block/rbd.c, qemu_rbd_parse_filename."""
    return re.sub(r"([\\:@=])", r"\\\1", value)


def _vm_of(image: str) -> str:
    """The VM that an image is a disk of; empty when it is none."""
    match = _DISK_NAME.fullmatch(image)
    return match[1] if match else ""
