"""What daemons of a host must know alike of its guests: how their domains are called, and which end with the host."""

from pathlib import Path

from common.errors import TemporaryError

DOMAIN_PREFIX = "ucloud-"
"""The uuid of its VM follows."""

_SUFFIX = ".not-ha"


class HaMarks:
    """Which VMs of this host are to run on when it loses touch with the cloud: those that have a mark in `directory`.

    It belongs to root, so no guest can take itself out. A mark that is missing is an error on the safe side: a guest is
    ended that need not be, instead of run on while it is started elsewhere.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def is_ha(self, vm_uuid: str) -> bool:
        """Whether the guest of a VM ends with its host."""
        return not self._mark(vm_uuid).exists()

    def set(self, vm_uuid: str, *, ha: bool) -> None:
        """Say so, or say that it does not; TemporaryError if that can't be written down."""
        try:
            if ha:
                self._mark(vm_uuid).unlink(missing_ok=True)
            else:
                self._mark(vm_uuid).touch(0o644)
        except OSError as error:
            raise TemporaryError(f"can't note whether the VM is highly available: {error.strerror}") from error

    def vms(self) -> frozenset[str]:
        """The VMs that have a mark."""
        return frozenset(path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}"))

    def _mark(self, vm_uuid: str) -> Path:
        return self._directory / f"{vm_uuid}{_SUFFIX}"
