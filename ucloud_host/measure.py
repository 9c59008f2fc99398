"""What this machine has: processors, memory, disk space, addresses, versions. Reads the machine, changes nothing."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version

from pyroute2 import IPRoute

from common.process import boot_id
from common.schemas.host import HostStatus
from common.settings import HostSettings
from common.storage import DiskStore

_VERSION_TIMEOUT_S = 10
_RT_SCOPE_UNIVERSE = 0  # rtnetlink(7): reachable from everywhere
_PROGRAMS = {"qemu": "qemu-system-x86_64", "libvirt": "libvirtd"}


def measure(settings: HostSettings, store: DiskStore, *, image_store: str, moves_live: bool) -> HostStatus:
    """This machine as a VM host. Memory is what the machine has, less what the settings keep for the host itself.

    `image_store` is what the settings call the store, `moves_live` what the hypervisor's say.
    """
    ram_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024)
    disks = store.capacity()
    return HostStatus(
        name=settings.name,
        cpu=len(os.sched_getaffinity(0)),
        ram_mib=max(0, ram_mib - settings.reserved_ram_mib),
        ssd=disks.ssd,
        hdd=disks.hdd,
        image_store=image_store,
        addresses=_addresses(),
        hypervisor="qemu",
        versions={"ucloud": version("ucloud"), "linux": platform.release(), **_program_versions()},
        boot_id=boot_id(),
        moves_live=moves_live,
    )


def _addresses() -> tuple[str, ...]:
    """The addresses of this machine that others can reach, IPv6 first."""
    with IPRoute() as netlink:
        found = [
            (message["family"], message.get_attr("IFA_ADDRESS"))
            for message in netlink.get_addr()
            if message["scope"] == _RT_SCOPE_UNIVERSE
        ]
    return tuple(address for _, address in sorted(found, reverse=True))


def _program_versions() -> dict[str, str]:
    """The first line that each program of the hypervisor says of its version."""
    versions = {}
    for name, program in _PROGRAMS.items():
        if shutil.which(program) is None:
            continue
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
        if answer.returncode == 0:
            versions[name] = answer.stdout.splitlines()[0]
    return versions
