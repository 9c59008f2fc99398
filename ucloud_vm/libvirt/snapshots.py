"""Snapshots within the qcow2 files of a guest that is on, which only its QEMU may change.

libvirt knows internal snapshots of a guest that is on with its memory only, and keeps records of them that stand in the
way of a move. So QEMU is asked itself, through libvirt: by its transaction, which is done for all disks or for none.

Source: QEMU, QMP Reference Manual: query-block, transaction, blockdev-snapshot-internal-sync,
blockdev-snapshot-delete-internal-sync.
"""

import json
from collections.abc import Collection
from typing import Any

import libvirt_qemu

from common.errors import TemporaryError


def take(domain: Any, snapshot: str, aliases: Collection[str]) -> None:
    """Make a snapshot of disks of a guest, by libvirt's aliases of them; TemporaryError when QEMU can't."""
    actions = [
        {"type": "blockdev-snapshot-internal-sync", "data": {"device": node, "name": snapshot}}
        for node in _nodes(domain, aliases)
    ]
    _ask(domain, "transaction", {"actions": actions})


def remove(domain: Any, snapshot: str, aliases: Collection[str]) -> None:
    """Remove a snapshot of each of these disks."""
    for node in _nodes(domain, aliases):
        _ask(domain, "blockdev-snapshot-delete-internal-sync", {"device": node, "name": snapshot})


def _nodes(domain: Any, aliases: Collection[str]) -> list[str]:
    """What QEMU calls the contents of disks: of each the topmost node of its graph of block devices."""
    opened = [device for device in _ask(domain, "query-block", {}) if "inserted" in device]
    # A device is called as in "/machine/peripheral/virtio-disk0/virtio-backend".
    nodes = {part: str(each["inserted"]["node-name"]) for each in opened for part in each.get("qdev", "").split("/")}
    if missing := [alias for alias in aliases if alias not in nodes]:
        raise TemporaryError(f"its QEMU has no disk {', '.join(missing)}")
    return [nodes[alias] for alias in aliases]


def _ask(domain: Any, command: str, arguments: dict[str, Any]) -> Any:
    asked = json.dumps({"execute": command, "arguments": arguments})
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, asked, 0))
    if "error" in answer:
        raise TemporaryError(f"QEMU can't do it ({command}): {answer['error'].get('desc', '')[:300]}")
    return answer["return"]
