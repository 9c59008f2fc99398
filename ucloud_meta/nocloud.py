"""A seed of cloud-init's datasource NoCloud: what a guest is told of itself that can't ask http://metadata for it.

Addresses are static ones, for such guests may know no DHCP; they are those that DHCP would give. The way out is told by
router advertisements.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.errors import TemporaryError
from common.schemas.network import DNS_V6
from ucloud_meta.instance import Instance, Nic

LABEL = "cidata"
"""The label of the file system by which cloud-init knows a seed."""
_SECTOR_BYTES = 512
_SPARE_BYTES = 512 * 1024
"""What FAT12 takes for itself, and the ends of clusters, with room to spare."""
_TOOL_TIMEOUT_S = 30


@dataclass(frozen=True)
class Seed:
    """The texts of the files of a seed."""

    meta_data: str
    user_data: str
    network_config: str

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The files by name. All are there, also what is empty: cloud-init insists."""
        yield "meta-data", self.meta_data.encode()
        yield "user-data", self.user_data.encode()
        yield "network-config", self.network_config.encode()


def seed(instance: Instance) -> Seed:
    """The seed of a VM. Pure."""
    meta_data: dict[str, object] = {
        "instance-id": instance.uuid,
        "local-hostname": instance.hostname,
        "availability-zone": instance.zone,
    }
    if instance.ssh_keys:
        meta_data["public-keys"] = list(instance.ssh_keys)
    ethernets = {f"eth{number}": _ethernet(f"eth{number}", nic) for number, nic in enumerate(instance.nics)}
    return Seed(
        meta_data=_yaml(meta_data),
        user_data=instance.user_data,
        network_config=_yaml({"version": 2, "ethernets": ethernets}),
    )


def write_image(seed: Seed, path: Path) -> None:
    """Write the seed as an image of a vfat file system to `path`, which appears, or is replaced, as a whole.

    Only its owner may read it. TemporaryError when it can't be written.
    """
    files = dict(seed.files())
    sectors = (sum(map(len, files.values())) + _SPARE_BYTES) // _SECTOR_BYTES
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
    except OSError as error:
        raise TemporaryError(f"can't write {path}: {error.strerror}") from error
    try:
        _run(["mformat", "-i", name, "-C", "-T", str(sectors), "-h", "16", "-s", "32", "-v", LABEL, "::"])
        for file_name, content in files.items():
            _run(["mcopy", "-i", name, "-", f"::{file_name}"], content)
        Path(name).replace(path)
    except OSError as error:
        raise TemporaryError(f"can't write {path}: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _ethernet(name: str, nic: Nic) -> dict[str, object]:
    port, network = nic.port, nic.network
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
    except subprocess.CalledProcessError as error:
        problem = error.stderr.decode(errors="replace").strip()
        raise TemporaryError(f"{command[0]} failed: {problem}") from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"{command[0]} did not end in {_TOOL_TIMEOUT_S} s") from error
