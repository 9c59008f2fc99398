"""What is in the Ceph of a cloud, as its admin sees it by the programs of Ceph."""

import subprocess

from devcloud.ceph import ADMIN
from devcloud.cloud import Cloud

POOLS = ("ssd", "hdd")


def rbd(cloud: Cloud, *arguments: str) -> str:
    """What the program rbd says."""
    return _run(cloud, "rbd", *arguments)


def ceph(cloud: Cloud, *arguments: str) -> str:
    """What the program ceph says."""
    return _run(cloud, "ceph", *arguments)


def in_pools(cloud: Cloud) -> set[str]:
    """All images of RBD, those in the trash too."""
    found = {f"{pool}/{image}" for pool in POOLS for image in rbd(cloud, "ls", pool).split()}
    thrown = {
        f"{pool}/trash/{each}" for pool in POOLS for each in rbd(cloud, "trash", "ls", "--all", pool).splitlines()
    }
    return found | thrown


def noted(cloud: Cloud) -> set[str]:
    """What the ledger says is under way, and which templates there are."""
    try:
        return set(_run(cloud, "rados", "--pool", POOLS[0], "listomapkeys", "ucloud").split())
    except subprocess.CalledProcessError as error:
        if "No such file" not in error.stderr:
            raise
        return set()


def _run(cloud: Cloud, program: str, *arguments: str) -> str:
    command = [program, "--conf", str(cloud.ceph.conf), "--id", ADMIN, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
