"""A guest writes, is rolled back to a snapshot that was taken while it ran, and sees what it had written before.

The same in a directory and in a Ceph, where it moves to another host in between; an image of the snapshot boots as
another VM that has what the first one had written then.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.errors import DevcloudError
from devcloud.waiting import wait_for
from tests.system.ceph import in_pools, rbd
from tests.system.conftest import running_cloud
from tests.system.test_moves import Guest

SPECS = ("--cpu", "1", "--ram", "96MiB")


@pytest.fixture(params=["directory", "ceph"], scope="module")
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """One host with a directory, or two with one Ceph."""
    is_ceph = request.param == "ceph"
    with running_cloud("snap", Shape(hosts=2 if is_ceph else 1, ceph=is_ceph, alive_ttl_s=10)) as cloud:
        yield cloud


class Writer(Guest):
    """A guest with two disks, that one is logged in to."""

    def write(self, word: str) -> None:
        """Have it write a word into a file, and at the beginning of its second disk."""
        self.say(f"echo {word} > /root/word; echo {word} > /dev/vdb; sync; echo w''ritten", "written")

    def read(self, second: str = "/dev/vdb") -> list[str]:
        """What it reads there."""
        command = f"echo w''ords $(cat /root/word) $(head -n 1 {second} 2>/dev/null) e''nd"
        said = self.say(command, " end")
        return said.rpartition("words ")[2].partition(" end")[0].split()

    def log_in(self) -> None:
        """As root, after a boot."""
        self._type("\nroot\n", until="# ")

    def say(self, command: str, until: str) -> str:
        """Type a line, and wait for a word of its answer."""
        return self._type(f"{command}\n", until=until)


def test_a_guest_is_rolled_back_and_an_image_is_made_of_what_it_was(cloud: Cloud) -> None:
    def ucloud(*arguments: str) -> str:
        return first_vm.ucloud(cloud, *arguments)

    def snapshots(name: str = "web") -> dict[str, str]:
        listed = json.loads(ucloud("vm", "snapshot", "list", name, "-o", "json"))
        return {each["name"]: each["status"] for each in listed}

    image = first_vm.import_image(cloud)
    # The directory of these hosts is for SSDs.
    disks = ("--ssd", "1", "--hdd" if len(cloud.hosts) > 1 else "--ssd", "1")
    made = json.loads(ucloud("vm", "create", "web", "--image", image, *SPECS, *disks, "-o", "json"))
    guest = Writer(cloud, ucloud, "web", made["uuid"])
    guest.wait_boot()
    guest.log_in()
    guest.write("old")
    boots = _boots(guest)
    ucloud("vm", "snapshot", "create", "web", "before")
    assert snapshots() == {"before": "READY"}
    guest.write("new")
    assert guest.read() == ["new", "new"]
    assert _boots(guest) == boots, "it went on all the while"

    if len(cloud.hosts) > 1:
        other = next(each.name for each in cloud.hosts if each.name != guest.host)
        ucloud("vm", "migrate", "web", "--to", other)
        assert guest.host == other
        ucloud("vm", "snapshot", "create", "web", "on-the-way")
        ucloud("vm", "snapshot", "delete", "web", "on-the-way")
        assert guest.read() == ["new", "new"]
    ucloud("vm", "disk", "grow", "web", "root", "2")

    # An image of what it was, while it runs.
    ucloud("image", "create", "copy", "--from-vm", "web", "--snapshot", "before")
    shown: dict[str, Any] = json.loads(ucloud("image", "show", "copy", "-o", "json"))
    assert (shown["status"], shown["file"], shown["sha256"]) == ("READY", None, "")
    source = shown["source"]
    assert (shown["virtual_size"], shown["min_disk"], source["vm_name"], source["name"]) == (1, 1, "web", "before")

    with pytest.raises(DevcloudError, match="stop it first"):
        ucloud("vm", "snapshot", "rollback", "web", "before")
    boots = _boots(guest)
    ucloud("vm", "stop", "web")
    ucloud("vm", "snapshot", "rollback", "web", "before")
    ucloud("vm", "start", "web")
    wait_for("another boot", lambda: _boots(guest) > boots, 180, interval_s=0.5)
    guest.wait_boot()
    guest.log_in()
    assert guest.read() == ["old", "old"]
    # The disk that had grown in between is grown again: in sectors of 512 bytes, 2 GiB.
    assert "4194304" in guest.say("cat /sys/block/vda/size; echo d''one", "done")

    # The image rests on nothing of the VM.
    ucloud("vm", "delete", "web")
    made = json.loads(ucloud("vm", "create", "twin", "--image", "copy", *SPECS, "--ssd", "1", "-o", "json"))
    twin = Writer(cloud, ucloud, "twin", made["uuid"])
    twin.wait_boot()
    twin.log_in()
    assert twin.read("/dev/null") == ["old"]
    ucloud("vm", "delete", "twin")
    ucloud("image", "delete", "copy")
    ucloud("image", "delete", image)
    _nothing_is_left(cloud)


def _boots(guest: Guest) -> int:
    return guest.ucloud("vm", "log", guest.name).count("boot-id ")


def _nothing_is_left(cloud: Cloud) -> None:
    if len(cloud.hosts) == 1:
        folders = [path for host in cloud.hosts for path in (cloud.data / host.name).rglob("vms/*")]
        assert folders == []
        return
    wait_for("nothing left", lambda: in_pools(cloud) == set(), 60)
    for pool in ("ssd", "hdd"):
        assert rbd(cloud, "trash", "ls", "--all", pool).split() == []
