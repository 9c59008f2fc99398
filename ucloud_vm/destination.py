"""Where a guest that moves is to go: the other host's hypervisor, and the files that are the VM's there. Pure.

It travels as one text, a URI: the hypervisor's own, with the files in its fragment, since hosts may keep them in
different places. Two kinds of URIs are understood:

    qemu+tls://h2.example/system            between machines; memory and disks go by TLS as well
    qemu+unix:///system?socket=PATH         between hosts that see the same files, so on one machine; memory and disks
                                            go through sockets beside PATH
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from common.errors import PermanentError
from common.schemas.disk import HDD, ROOT

_DISK = "disk."


@dataclass(frozen=True)
class Files:
    """The files of a VM on a host. `seed` is empty where it has no seed disk.

    Its disks, by their serials, are paths, or "rbd:<conf>:<pool>/<image>".
    """

    disks: Mapping[str, str]
    serial_socket: str
    serial_log: str
    vnc_socket: str
    seed: str = ""


@dataclass(frozen=True)
class RbdPlace:
    """An image of RBD, "<pool>/<image>", of the cluster that the file `conf` tells of on that host."""

    conf: str
    name: str

    def __str__(self) -> str:
        return f"rbd:{self.conf}:{self.name}"


def read_locator(disk: str) -> RbdPlace | str:
    """What a disk in `Files` is: an image of RBD, or a path."""
    if not disk.startswith("rbd:"):
        return disk
    conf, _, name = disk.removeprefix("rbd:").rpartition(":")
    return RbdPlace(conf, name)


@dataclass(frozen=True)
class Streams:
    """By which way a guest's memory and its disks go, in libvirt's words; `disks` is empty where it chooses."""

    memory: str
    disks: str
    tls: bool


@dataclass(frozen=True)
class Destination:
    """A hypervisor, by its URI, and the files of one VM there."""

    hypervisor: str
    files: Files

    def to_uri(self) -> str:
        """As one text."""
        # A host that is yet to be upgraded wants a root and an hdd, and need not know more to send a VM without more.
        said = {name: path for name, path in vars(self.files).items() if name != "disks" and (path or name != "seed")}
        named = {name: self.files.disks.get(name, "") for name in (ROOT, HDD)}
        more = {f"{_DISK}{serial}": path for serial, path in self.files.disks.items() if serial not in named}
        return f"{self.hypervisor}#{urlencode(named | said | more)}"

    @classmethod
    def read(cls, uri: str) -> "Destination":
        """What `to_uri` wrote; PermanentError when `uri` is no such text."""
        hypervisor, _, fragment = uri.partition("#")
        try:
            said = dict(parse_qsl(fragment, keep_blank_values=True))
            disks = {name: path for name in (ROOT, HDD) if (path := said.pop(name))}
            disks |= {name.removeprefix(_DISK): said.pop(name) for name in tuple(said) if name.startswith(_DISK)}
            files = Files(disks, **said)
        except (KeyError, TypeError) as error:
            raise PermanentError(f"{uri!r} does not tell the files of the VM on its new host") from error
        check(hypervisor)
        return cls(hypervisor, files)

    def streams(self, vm_uuid: str) -> Streams:
        """By which way the VM goes there."""
        if socket := _socket(self.hypervisor):
            beside = str(PurePosixPath(socket).parent / vm_uuid)
            return Streams(f"unix://{beside}.memory", f"unix://{beside}.disks", tls=False)
        host = urlsplit(self.hypervisor).hostname or ""
        return Streams(f"tcp://[{host}]" if ":" in host else f"tcp://{host}", "", tls=True)


def check(hypervisor_uri: str) -> None:
    """PermanentError unless guests can be sent to this URI."""
    parts = urlsplit(hypervisor_uri)
    if not _socket(hypervisor_uri) and not (parts.scheme == "qemu+tls" and parts.hostname):
        raise PermanentError(
            f"guests can't be sent to {hypervisor_uri!r}: qemu+tls://HOST/system and qemu+unix:///system?socket=PATH"
            " are allowed"
        )


def _socket(hypervisor_uri: str) -> str:
    parts = urlsplit(hypervisor_uri)
    return parse_qs(parts.query).get("socket", [""])[0] if parts.scheme == "qemu+unix" else ""
