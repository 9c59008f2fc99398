"""A guest's image comes by SFTP with a user's key, and a VM boots from it; all of it can be deleted again."""

import json
import subprocess
from collections.abc import Callable

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud
from devcloud.people import USER
from devcloud.waiting import wait_for

SPECS = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1")


def _sftp(cloud: Cloud, *batch: str) -> None:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes")
    flags = [word for option in options for word in ("-o", option)]
    command = ["sftp", "-F", "none", *flags, "-i", str(cloud.people.ssh_key), "-b", "-", "-P", "2222"]
    subprocess.run(
        [*command, f"{USER}@[{cloud.network.control_address}]"],
        input="\n".join(batch),
        text=True,
        check=True,
        timeout=120,
    )


@pytest.mark.timeout(600)
def test_a_guest_that_came_by_sftp_boots(cloud: Cloud, ucloud: Callable[..., str]) -> None:
    first_vm.add_ssh_key(cloud, lambda _: None)
    image = first_vm.build_image()
    _sftp(cloud, f"put {image} uploaded.qcow2")

    def listed() -> list[str]:
        return [each["name"] for each in json.loads(ucloud("file", "list", "-o", "json", user=USER))]

    wait_for("the file", lambda: "uploaded.qcow2" in listed(), 30)
    made = json.loads(
        ucloud("image", "create", "uploaded", "--file", "uploaded.qcow2", "--min-ram", "64MiB", "-o", "json", user=USER)
    )
    assert (made["status"], made["file_size_bytes"]) == ("READY", image.stat().st_size)
    vm = json.loads(ucloud("vm", "create", "from-upload", "--image", "uploaded", *SPECS, "-o", "json", user=USER))
    assert vm["status"] == "RUNNING"
    ucloud("vm", "delete", "from-upload", user=USER)
    ucloud("image", "delete", "uploaded", user=USER)
    _sftp(cloud, "rm uploaded.qcow2")
    wait_for("no record of it", lambda: "uploaded.qcow2" not in listed(), 30)
    assert not (cloud.store_directory / "templates" / f"{made['uuid']}.qcow2").exists()
    assert list(cloud.upload_directory(USER).iterdir()) == []
