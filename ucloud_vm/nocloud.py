"""A seed of cloud-init's datasource NoCloud: what a guest is told of itself that can't ask http://metadata for it.

Addresses are static ones, for such guests may know no DHCP; they are those that DHCP would give. The way out is told by
router advertisements. Nothing in it is of the host, so that a guest that moves finds there what it had.

Source: cloud-init, "NoCloud" and "Networking config Version 2".
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from common.errors import TemporaryError
from common.schemas.network import DNS_V6, NetworkRequest
from common.schemas.port import Port
from common.schemas.vm import VmRequest

LABEL = "cidata"
"""The label of the file system by which cloud-init knows a seed; in upper case, too, as FAT has it."""
_SECTOR_BYTES = 512
_MIB = 1024 * 1024
_SPARE_BYTES = 512 * 1024
"""What FAT12 takes for itself, and the ends of clusters, with room to spare."""
_TOOL_TIMEOUT_S = 30


@dataclass(frozen=True)
class Seed:
    """The texts of the files of a seed."""

    meta_data: str = field(repr=False)
    user_data: str = field(repr=False)
    network_config: str

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The files by name. All are there, also what is empty: cloud-init insists."""
        yield "meta-data", self.meta_data.encode()
        yield "user-data", self.user_data.encode()
        yield "network-config", self.network_config.encode()


def seed(request: VmRequest, networks: Mapping[str, NetworkRequest]) -> Seed:
    """The seed of a VM, all of whose networks are among `networks`, by uuid. Pure."""
    meta_data: dict[str, object] = {
        "instance-id": request.uuid,
        "local-hostname": request.hostname or request.name,
    }
    if ssh_keys := [line for key in request.ssh_keys if (line := key.strip())]:
        meta_data["public-keys"] = ssh_keys
    ethernets = {
        f"eth{number}": _ethernet(f"eth{number}", port, networks[port.network])
        for number, port in enumerate(request.ports)
    }
    return Seed(
        meta_data=_yaml(meta_data),
        user_data=request.user_data,
        network_config=_yaml({"version": 2, "ethernets": ethernets}),
    )


def write_image(seed: Seed, path: Path) -> None:
    """Write the seed as an image of a vfat file system to `path`, in the place of what is there; its owner may read it.

    Its size is of whole MiB, so that it rarely changes with the texts. TemporaryError when it can't be written.
    """
    files = dict(seed.files())
    mib = -(-(sum(map(len, files.values())) + _SPARE_BYTES) // _MIB)
    try:
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        sectors = str(mib * _MIB // _SECTOR_BYTES)
        _run(["mformat", "-i", str(path), "-C", "-T", sectors, "-h", "16", "-s", "32", "-v", LABEL, "::"])
        for file_name, content in files.items():
            _run(["mcopy", "-i", str(path), "-", f"::{file_name}"], content)
    except OSError as error:
        raise TemporaryError(f"can't write the VM's seed disk: {error.strerror}") from error


def _ethernet(name: str, port: Port, network: NetworkRequest) -> dict[str, object]:
    addresses = [f"{port.ipv6}/{network.prefix.prefixlen}"]
    if port.ipv4 and network.ipv4:
        addresses.append(f"{port.ipv4}/{network.ipv4.prefixlen}")
    ethernet: dict[str, object] = {
        "match": {"macaddress": port.mac},
        "set-name": name,
        "dhcp4": False,
        "dhcp6": False,
        "accept-ra": True,
        "addresses": addresses,
        "nameservers": {"addresses": [str(DNS_V6)]},
    }
    if network.mtu:
        ethernet["mtu"] = network.mtu
    return ethernet


def _yaml(value: object) -> str:
    # Width: a line is never folded, for a key in one line is easier to read, for people and for simple parsers.
    return yaml.safe_dump(value, sort_keys=False, width=1_000_000)


def _run(command: list[str], content: bytes = b"") -> None:
    """Run a tool; what it reads from its standard input is told to nobody."""
    try:
        subprocess.run(command, input=content, capture_output=True, check=True, timeout=_TOOL_TIMEOUT_S)
    except FileNotFoundError as error:
        raise TemporaryError(f"the VM's seed disk needs {command[0]} on its host: apt install mtools") from error
    except subprocess.CalledProcessError as error:
        problem = error.stderr.decode(errors="replace").strip()
        raise TemporaryError(f"{command[0]} failed: {problem}") from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"{command[0]} did not end in {_TOOL_TIMEOUT_S} s") from error
