"""The seed disks of the VMs that are to have one: written beside their sockets, and removed with these.

A seed holds user data, which may be a secret: root and the hypervisor alone get at it. A guest that runs keeps the one
that it was started with; each start has it written anew.
"""

from pathlib import Path

from common.cache import Cache
from common.local_ports import NetworkBook
from common.schemas.vm import Placement, VmRequest
from ucloud_vm.nocloud import seed, write_image
from ucloud_vm.run_directory import RunDirectory


class Seeds:
    """What the placements of this host say of it."""

    def __init__(self, placements: Cache[Placement], networks: NetworkBook, run_directory: RunDirectory) -> None:
        self._placements = placements
        self._networks = networks
        self._run_directory = run_directory

    def of(self, vm_uuid: str) -> Path | None:
        """Where the seed disk of a VM is, or is to be; None: it is to have none."""
        return self._run_directory.seed_disk(vm_uuid) if self._request(vm_uuid) else None

    def write(self, vm_uuid: str, owner: tuple[int, int]) -> None:
        """Write the seed disk of a VM, if it is to have one, for a user and a group, into its folder, which is there.

        TemporaryError or Unavailable if it can't be written, or nobody knows of a network.
        """
        if request := self._request(vm_uuid):
            networks = {port.network: self._networks.get(port.network) for port in request.ports}
            scratch = self._run_directory.scratch(vm_uuid)
            write_image(seed(request, networks), scratch)
            self._run_directory.keep_seed_disk(vm_uuid, scratch, owner)

    def _request(self, vm_uuid: str) -> VmRequest | None:
        cached = self._placements.get(self._placements.prefix + vm_uuid)
        return cached.record.request if cached and cached.record.request.seed_disk else None
