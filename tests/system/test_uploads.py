"""A guest's image comes by SFTP with the key of a user of LDAP, and a VM boots from it; then nothing of it is left."""

import json
from pathlib import Path

import pytest

from devcloud.cloud import Cloud
from devcloud.waiting import wait_for
from tests.integration.slapd import Slapd
from tests.system.ldap_user import LdapUser
from tests.system.test_moves import Guest


def _in_store(cloud: Cloud) -> set[str]:
    """The files of the store; those that are locks stay for ever."""
    files = (path for path in cloud.store_directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(file.relative_to(cloud.store_directory)) for file in files}


@pytest.mark.timeout(600)
def test_a_guest_that_came_by_sftp_boots(cloud: Cloud, slapd: Slapd, tmp_path: Path) -> None:
    bea = LdapUser(cloud, slapd, "bea", tmp_path)
    before = _in_store(cloud)
    image = bea.import_guest("xyz")
    assert f"templates/{image}.qcow2" in _in_store(cloud)
    specs = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1")
    vm = json.loads(bea.ucloud("vm", "create", "--name", "from-upload", "--image", "xyz", *specs, "-o", "json"))
    assert (vm["status"], vm["owner"]) == ("RUNNING", "bea")
    Guest(cloud, bea.ucloud, "from-upload", vm["uuid"]).wait_boot()
    bea.ucloud("vm", "delete", "from-upload")
    bea.ucloud("image", "delete", "xyz")
    bea.remove_file("xyz.qcow2")
    wait_for("a store as it was", lambda: _in_store(cloud) == before, 60)
