"""The folders of sockets of VMs: one for each that is defined here, which root and the hypervisor alone get into.

A VM's seed disk is there, too, if it has one.

Paths of sockets are short because sun_path has 108 bytes: unix(7).
"""

import os
import shutil
import uuid
from pathlib import Path

from common.errors import TemporaryError


class RunDirectory:
    """The folders in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def serial_socket(self, vm_uuid: str) -> Path:
        """The serial line of a VM, while it is on."""
        return self._path / vm_uuid / "serial.sock"

    def vnc_socket(self, vm_uuid: str) -> Path:
        """The display of a VM, while it is on; it asks for no password."""
        return self._path / vm_uuid / "vnc.sock"

    def seed_disk(self, vm_uuid: str) -> Path:
        """The image of a VM's seed disk."""
        return self._path / vm_uuid / "seed.img"

    def scratch(self, vm_uuid: str) -> Path:
        """Where a file for a VM's folder is made: in that itself, which is not root's, root writes none."""
        return self._path / f".{vm_uuid}.new"

    def keep_seed_disk(self, vm_uuid: str, made: Path, owner: tuple[int, int]) -> None:
        """Let `made` be the seed disk of a VM, for a user and group; TemporaryError if it can't be."""
        try:
            os.chown(made, *owner)
            made.replace(self.seed_disk(vm_uuid))
        except OSError as error:
            raise TemporaryError(f"can't keep the VM's seed disk: {error.strerror}") from error

    def exists(self, vm_uuid: str) -> bool:
        """Whether there is a folder of a VM."""
        return (self._path / vm_uuid).exists()

    def vms(self) -> frozenset[str]:
        """The VMs that have folders here."""
        return frozenset(path.name for path in self._path.iterdir() if is_uuid(path.name))

    def make(self, vm_uuid: str, owner: tuple[int, int]) -> None:
        """Make the folder of a VM for the user and group that the hypervisor runs as; TemporaryError if it can't be."""
        try:
            (self._path / vm_uuid).mkdir(0o700, exist_ok=True)
            os.chown(self._path / vm_uuid, *owner)
        except OSError as error:
            raise TemporaryError(f"can't make a folder for the VM's sockets: {error.strerror}") from error

    def remove(self, vm_uuid: str) -> None:
        """Remove the folder of a VM, if there is one; TemporaryError if it can't be."""
        try:
            self.scratch(vm_uuid).unlink(missing_ok=True)
            if self.exists(vm_uuid):
                shutil.rmtree(self._path / vm_uuid)
        except OSError as error:
            raise TemporaryError(f"can't remove the VM's sockets: {error.strerror}") from error


def is_uuid(name: str) -> bool:
    """Whether `name` is a uuid as ucloud writes it: in lower case, with hyphens."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
