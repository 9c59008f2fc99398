"""ucloud-libvirt-prepare: forgets, before libvirtd starts, the starts of VMs that its last life did not finish.

libvirt writes a domain's status file as soon as a start begins, with pid 0 until QEMU's process is known. A libvirtd
that is killed in between (seen with 9.0) finds that file in its next life, holds the domain for "starting up" for ever,
and lets nobody stop or start it. With pid 0 no QEMU was executed: the child waits for libvirtd's word before it
executes QEMU, and ends when libvirtd does. So the file can go, and the domain is off, as in truth it is.

It must never run while libvirtd does, nor touch the file of a domain that has a process.
"""

import logging
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from common import log

_log = logging.getLogger(__name__)
DEFAULT_DIRECTORY = Path("/run/libvirt/qemu")


def forget_unfinished_starts(directory: Path) -> list[str]:
    """Remove the status files in `directory` that name no process; returns the names of their domains."""
    forgotten = []
    for file in sorted(directory.glob("*.xml")):
        if _is_unfinished(file):
            file.unlink(missing_ok=True)
            forgotten.append(file.stem)
    return forgotten


def _is_unfinished(file: Path) -> bool:
    try:
        status = ET.parse(file).getroot()  # noqa: S314 - libvirt's own file
    except (ET.ParseError, FileNotFoundError):
        return False
    return status.tag == "domstatus" and status.get("pid") == "0"


def main() -> None:
    """Do it for the directory that the first argument names, by default libvirt's own."""
    log.set_up("INFO", as_json=False)
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DIRECTORY
    for domain in forget_unfinished_starts(directory):
        _log.warning("the start of domain %s was never finished: forgotten", domain)


if __name__ == "__main__":
    main()
