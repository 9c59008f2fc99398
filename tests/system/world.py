"""What a system test looks at: not what the cloud says of itself, but what is there."""

import re
import select
import subprocess
from pathlib import Path

from common import keys
from common.store import EtcdOptions, Store
from devcloud.cloud import Cloud

_BOOT_ID = re.compile(r"boot-id ([0-9a-f-]{36})")


def boot_ids(log: str) -> list[str]:
    """The id of each boot that a guest reported on its serial console."""
    return _BOOT_ID.findall(log)


def reports(log: str, what: str) -> list[str]:
    """What a guest reported of `what`, boot by boot: "disks" gives "vda=1024MiB"."""
    return re.findall(rf"^UCGUEST {what} (.*?) *t=[0-9.]+\s*$", log, re.MULTILINE)


def virsh(cloud: Cloud, host: str, *arguments: str) -> str:
    """What virsh prints on a host."""
    (found,) = (each for each in cloud.hosts if each.name == host)
    command = cloud.enter(host, *found.virsh(*arguments))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def qemu_pids(cloud: Cloud, vm_uuid: str = "") -> set[int]:
    """The guests' QEMU processes on the hosts of `cloud`; of one VM, if it is named."""
    return {pid for pid in cloud.network.pids() if _is_qemu(pid, vm_uuid)}


def _is_qemu(pid: int, vm_uuid: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended since
        return False
    program = command.split(b"\0")[0]
    # libvirtd starts some without a guest, to ask what they can.
    return program.endswith(b"qemu-system-x86_64") and f"guest=ucloud-{vm_uuid}".encode() in command


def domains(cloud: Cloud) -> dict[str, list[str]]:
    """Every domain that libvirt knows, defined or running, by host."""
    return {host.name: virsh(cloud, host.name, "list", "--all", "--uuid").split() for host in cloud.hosts}


def vm_files(cloud: Cloud) -> list[Path]:
    """All disks, sockets and logs of VMs, on all hosts."""
    folders = [cloud.store_directory / "vms"]
    for host in cloud.hosts:
        folders += [host.run / "vm", host.data / "log"]
    return [path for folder in folders if folder.exists() for path in folder.rglob("*") if _is_of_a_vm(path)]


def _is_of_a_vm(path: Path) -> bool:
    return bool(re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", str(path)))


def vm_keys(cloud: Cloud) -> list[str]:
    """Everything in etcd that speaks of a VM."""
    store = Store(EtcdOptions(cloud.etcd_endpoints))
    try:
        prefixes = (keys.VM, keys.PLACEMENT, keys.STATUS_VM, keys.IMAGE_USE)
        found = [entry.key for prefix in prefixes for entry in store.list(prefix).entries]
        return found + [entry.key for entry in store.list(keys.USER).entries if "/name/vm/" in entry.key]
    finally:
        store.close()


def placements(cloud: Cloud) -> dict[str, list[str]]:
    """The hosts that each VM is placed on."""
    store = Store(EtcdOptions(cloud.etcd_endpoints))
    try:
        found: dict[str, list[str]] = {}
        for entry in store.list(keys.PLACEMENT).entries:
            host, vm = keys.host_and_vm(entry.key)
            found.setdefault(vm, []).append(host)
        return found
    finally:
        store.close()


def can_be_read(descriptor: int) -> bool:
    """Whether there is something to read. By poll(2): select(2) ends at descriptor 1023."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
