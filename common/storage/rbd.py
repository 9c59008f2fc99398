"""The store in a Ceph: images of RBD, which each host of the cluster reaches (docs/design/0016-ceph.md).

    <ssd pool>  template-<image>-<random>   a template or a draft of one; its clones are made from its snapshot
                vm-<vm>-root                a clone
                ucloud                      an object of RADOS: the ledger, with these entries:
                  template.<image>            the template's name; "removing <name>" as it is about to go
                  draft.<image>.<name>        an import is under way, or was interrupted
                  vm.<vm>.<root|hdd>          "making <image>", "removing ": it is not whole; "arriving": it is to be
                                              copied into
    <hdd pool>  vm-<vm>-hdd

What is under way is noted before it is begun, so a process that is ended at any point leaves nothing that looks whole
and is not. A disk of which the ledger says nothing is whole.
"""

import logging
import re
import secrets
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from common.ceph import images, ledger
from common.ceph.access import Access
from common.ceph.hands import Hands
from common.errors import PermanentError, TemporaryError
from common.schemas.host import StoreCapacity
from common.settings import StorageSettings
from common.storage import Capacities, CephSecret, Disk, RbdDisk, VmDisks, capacity_of
from common.storage.qcow2 import read_header

_log = logging.getLogger(__name__)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DISK_NAME = re.compile(rf"vm-({_UUID.pattern})-(root|hdd)")
_SECRETS = uuid.UUID("0b5d6f5e-1d53-4a0c-9df1-6a3a1d0e7c55")
_MIB = 1024 * 1024
_MAKING, _ARRIVING, _STAGED, _REMOVING = "making ", "arriving", "staged", "removing "
_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.1
_STALL_S = 120
"""An import waits so long for one operation: an OSD that restarts is no reason to begin anew."""
_SLOWEST_BYTES_PER_S = 2 * _MIB
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

    def close(self) -> None:
        """End the processes that wait for calls."""
        self._hands.close()

    # --- templates ----------------------------------------------------------------------------------------------------

    def stage(self, image_uuid: str, prepared: Path) -> str:
        """See ImageStore."""
        header = read_header(prepared)
        if header.backing_file:
            raise PermanentError(f"image {image_uuid} has a backing file: a template must be whole")
        draft = f"template-{_checked(image_uuid)}-{secrets.token_hex(4)}"
        self._note({f"draft.{image_uuid}.{draft}": _STAGED})
        self._hands.call(images.create, self._ssd, draft, header.virtual_size_bytes)
        self._convert(prepared, draft, header.virtual_size_bytes)
        self._hands.call(images.seal, self._ssd, draft)
        return draft

    def publish(self, image_uuid: str, draft: str) -> None:
        """See ImageStore."""
        key, noted = f"template.{_checked(image_uuid)}", f"draft.{image_uuid}.{draft}"
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
        for entry in self._read(f"draft.{_checked(image_uuid)}."):
            self._hands.call(images.remove, self._ssd, entry.rpartition(".")[2])
            self._strike(entry)

    def has_template(self, image_uuid: str) -> bool:
        """See ImageStore."""
        return bool(self._template(image_uuid))

    def remove_template(self, image_uuid: str) -> None:
        """See ImageStore. Once it is said to be removed, no disk is begun on it that is not seen here."""
        key = f"template.{_checked(image_uuid)}"
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
        return self._read(f"template.{_checked(image_uuid)}").get(f"template.{image_uuid}", "")

    def _users(self, image_uuid: str, template: str) -> list[str]:
        """The VMs with disks on a template, or about to have them."""
        found = {_vm_of(name) or name for name in self._hands.call(images.children, self._ssd, template)}
        found |= {
            entry.split(".")[1] for entry, state in self._read("vm.").items() if state == f"{_MAKING}{image_uuid}"
        }
        return sorted(found)

    def _convert(self, prepared: Path, draft: str, size_bytes: int) -> None:
        options = {"id": self._access.client, "conf": self._access.conf, **self._access.options(_STALL_S)}
        target = f"rbd:{self._ssd}/{draft}" + "".join(f":{name}={_escaped(value)}" for name, value in options.items())
        command = ["qemu-img", "convert", "-n", "--target-is-zero", "-W", "-m", "16", "-t", "none", "-f", "qcow2"]
        limit_s = 2 * _STALL_S + size_bytes / _SLOWEST_BYTES_PER_S
        try:
            subprocess.run(
                [*command, "-O", "raw", str(prepared), target],
                check=True,
                capture_output=True,
                text=True,
                timeout=limit_s,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise TemporaryError("qemu-img is not installed on this host") from error
        except subprocess.TimeoutExpired as error:
            raise TemporaryError(f"the Ceph cluster took longer than {limit_s:.0f} s to take the image") from error
        except subprocess.CalledProcessError as error:
            why = self._hands.call(images.why_stuck, self._ssd)
            said = error.stderr.strip().splitlines()[-1:] or ["qemu-img failed"]
            raise TemporaryError(why or f"the image can't be written to the Ceph cluster: {said[0][-200:]}") from error

    # --- disks --------------------------------------------------------------------------------------------------------

    def create(self, vm_uuid: str, image_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore."""
        present = self.disks(vm_uuid)
        if present.root is None:
            self._create_root(vm_uuid, image_uuid, ssd_mib)
        if hdd_mib and present.hdd is None:
            key = f"vm.{vm_uuid}.hdd"
            self._note({key: _MAKING})
            self._make_anew(self._hdd_pool(), f"vm-{vm_uuid}-hdd", hdd_mib)
            self._strike(key)

    def _create_root(self, vm_uuid: str, image_uuid: str, ssd_mib: int) -> None:
        key, name = f"vm.{vm_uuid}.root", f"vm-{vm_uuid}-root"
        template = self._begin_on(image_uuid, key, ssd_mib)
        # Of an earlier try, which nobody has used.
        self._hands.call(images.remove, self._ssd, name)
        self._hands.call(images.clone, self._ssd, template, name, ssd_mib * _MIB)
        self._strike(key)

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

    def prepare_arrival(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore."""
        noted, sizes = self._look(vm_uuid)
        if any(size is not None and noted.get(disk) != _ARRIVING for disk, size in sizes.items()):
            raise PermanentError("there are disks of this VM in the store of the host that it is to be copied to")
        wanted = {"root": (self._ssd, ssd_mib)} | ({"hdd": (self._hdd_pool(), hdd_mib)} if hdd_mib else {})
        self._note({f"vm.{vm_uuid}.{disk}": _ARRIVING for disk in wanted})
        for disk, (pool, size_mib) in wanted.items():
            if sizes[disk] is None:
                self._make_anew(pool, f"vm-{vm_uuid}-{disk}", size_mib)

    def keep_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        noted, _ = self._look(vm_uuid)
        self._strike(*(f"vm.{vm_uuid}.{disk}" for disk, state in noted.items() if state == _ARRIVING))

    def drop_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        noted, _ = self._look(vm_uuid)
        for disk, state in noted.items():
            if state == _ARRIVING:
                self._remove_disk(vm_uuid, disk)

    def disks(self, vm_uuid: str) -> VmDisks:
        """See DiskStore."""
        noted, sizes = self._look(vm_uuid)
        found: dict[str, Disk] = {
            disk: RbdDisk(
                self._pools()[disk],
                f"vm-{vm_uuid}-{disk}",
                size_mib=size // _MIB,
                client=self._access.client,
                conf=Path(self._access.conf),
                secret_uuid=self._secret_uuid,
            )
            for disk, size in sizes.items()
            if size is not None and not noted.get(disk, "").startswith((_MAKING, _REMOVING))
        }
        return VmDisks(
            root=found.get("root"),
            hdd=found.get("hdd"),
            leftovers=bool(noted) or any(size is not None for size in sizes.values()),
            arriving=_ARRIVING in noted.values(),
        )

    def is_in_use(self, vm_uuid: str) -> bool | None:
        """See DiskStore. A client that has died without giving its lock back counts until it is expelled."""
        try:
            return any(self._hands.call(images.users, pool, name) for pool, name in self._images(vm_uuid).values())
        except TemporaryError as error:
            _log.warning("can't tell whether the disks of VM %s are in use: %s", vm_uuid, error)
            return None

    def expel(self, vm_uuid: str) -> None:
        """See DiskStore. They are on the cluster's blocklist, each by the nonce that no later client has."""
        for pool, name in self._images(vm_uuid).values():
            if expelled := self._hands.call(images.expel, pool, name):
                _log.warning("cut off from the disk %s/%s: %s", pool, name, ", ".join(expelled))

    def grow(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore."""
        for pool, name, _, size_mib in self._growths(vm_uuid, ssd_mib, hdd_mib, check=True):
            self._hands.call(images.resize, pool, name, size_mib * _MIB)

    def check_growth(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore. Disks are sparse; still, what a pool has no room for now must not be promised."""
        self._growths(vm_uuid, ssd_mib, hdd_mib, check=True)

    def _growths(self, vm_uuid: str, ssd_mib: int, hdd_mib: int, *, check: bool) -> list[tuple[str, str, int, int]]:
        """The disks that are too small: pool, name, size and the size that each is to have."""
        _, sizes = self._look(vm_uuid)
        wanted = {"root": ssd_mib, "hdd": hdd_mib}
        found = [
            (*self._images(vm_uuid)[disk], size // _MIB, wanted[disk])
            for disk, size in sizes.items()
            if size is not None and size // _MIB < wanted[disk]
        ]
        for pool, name, size_mib, wanted_mib in found if check else ():
            if self._hands.call(images.room, pool).free_bytes // _MIB < wanted_mib - size_mib:
                disk = name.rpartition("-")[2]
                raise TemporaryError(
                    f"can't grow the {disk} disk to {wanted_mib} MiB: its host's store has not that much room"
                )
        return found

    def remove(self, vm_uuid: str) -> None:
        """See DiskStore."""
        noted, sizes = self._look(vm_uuid)
        for disk, size in sizes.items():
            if size is not None or disk in noted:
                self._remove_disk(vm_uuid, disk)

    def _remove_disk(self, vm_uuid: str, disk: str) -> None:
        pool, name = self._images(vm_uuid)[disk]
        key = f"vm.{vm_uuid}.{disk}"
        # On its way it has no name.
        self._note({key: _REMOVING})
        self._hands.call(images.remove, pool, name)
        self._strike(key)

    def vms(self) -> frozenset[str]:
        """See DiskStore."""
        found = {_vm_of(name) for pool in set(self._pools().values()) for name in self._hands.call(images.names, pool)}
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

    def _pools(self) -> dict[str, str]:
        return {"root": self._ssd} | ({"hdd": self._hdd} if self._hdd else {})

    def _hdd_pool(self) -> str:
        if not self._hdd:
            raise PermanentError("this host has no store for HDDs")
        return self._hdd

    def _images(self, vm_uuid: str) -> dict[str, tuple[str, str]]:
        return {disk: (pool, f"vm-{_checked(vm_uuid)}-{disk}") for disk, pool in self._pools().items()}

    def _look(self, vm_uuid: str) -> tuple[dict[str, str], dict[str, int | None]]:
        """What the ledger says of each disk of a VM, and how large each is in bytes; None where there is none."""
        named = self._images(vm_uuid)
        prefix = f"vm.{vm_uuid}."
        # In this order: what is said to be whole after it was looked at may not have been whole then.
        sizes = dict(zip(named, self._hands.call(images.sizes, tuple(named.values())), strict=True))
        noted = {entry.removeprefix(prefix): state for entry, state in self._read(prefix).items()}
        return noted, sizes

    def _make_anew(self, pool: str, name: str, size_mib: int) -> None:
        """An empty image, whatever there is of an earlier try."""
        self._hands.call(images.remove, pool, name)
        self._hands.call(images.create, pool, name, size_mib * _MIB)

    def _read(self, prefix: str) -> dict[str, str]:
        return self._hands.call(ledger.read, self._ssd, prefix)

    def _note(self, entries: Mapping[str, str]) -> None:
        self._hands.call(ledger.write, self._ssd, {}, entries)

    def _strike(self, *entries: str) -> None:
        self._hands.call(ledger.write, self._ssd, {}, {}, entries)


def _checked(name: str) -> str:
    """`name`, which becomes a part of a name in the cluster, if it is a uuid."""
    if not _UUID.fullmatch(name):
        raise PermanentError(f"{name!r} is not a uuid in lower case")
    return name


def _escaped(value: str) -> str:
    """`value` as a part of QEMU's name of an image. Source: QEMU, block/rbd.c, qemu_rbd_parse_filename."""
    return re.sub(r"([\\:@=])", r"\\\1", value)


def _vm_of(image: str) -> str:
    """The VM that an image is a disk of; empty when it is none."""
    match = _DISK_NAME.fullmatch(image)
    return match[1] if match else ""
