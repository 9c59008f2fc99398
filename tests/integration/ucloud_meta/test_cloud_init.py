"""Debian's cloud-init reads what VMs are told."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.schemas.network import NOCLOUD
from common.schemas.port import Port
from tests.integration.ucloud_meta.world import PREFIX, Guest, World, network, port, request
from tests.needs import need
from ucloud_vm.nocloud import seed, write_image

PROJECT = Path(__file__).resolve().parents[3]
UNPACKED = Path(os.environ.get("UCLOUD_CLOUD_INIT", PROJECT / ".cache/cloud-init"))
SCRIPT = Path(__file__).with_name("cloud_init.py")
KEYS = ("ssh-ed25519 AAAAC3Nza ann@laptop", "ssh-rsa AAAAB3Nza")
USER_DATA = "#cloud-config\npackages: [htop]\n# ü\n"
FIRST, SECOND = port(1, 1), port(2, 2)
URLS = ("http://169.254.169.254", "http://[fd00:ec2::254]")
VM = request("web", FIRST, SECOND, user_data=USER_DATA, ssh_keys=KEYS).model_copy(update={"hostname": "www"})
BARE = request("bare", port(3, 1))


@pytest.fixture(autouse=True)
def _cloud_init() -> None:
    need(UNPACKED.exists(), "there is no cloud-init here: tools/cloud-init-download")


def _read(kind: str, folder: Path, url: str, *ports: Port, enter: Guest | None = None) -> dict[str, Any]:
    command = ["/usr/bin/python3", str(SCRIPT), kind, str(folder), url, *(each.mac for each in ports)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(UNPACKED / "usr/lib/python3/dist-packages")}
    done = subprocess.run(
        enter.command(*command) if enter else command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@pytest.fixture
def guests(world: World) -> tuple[Guest, Guest]:
    """A guest with everything, on the first of its networks, and one with nothing."""
    world.networks(1, 2)
    world.bridge(1, 2)
    world.daemon.start()
    world.place(VM)
    world.place(BARE)
    guests = world.guest(FIRST), world.guest(BARE.ports[0])
    world.answered(guests[0], "web")
    world.answered(guests[1], "bare")
    return guests


@pytest.mark.parametrize("url", URLS)
def test_as_ec2(guests: tuple[Guest, Guest], tmp_path: Path, url: str) -> None:
    read = _read("ec2", tmp_path, url, FIRST, SECOND, enter=guests[0])
    assert (read["instance_id"], read["hostname"], read["zone"]) == ("web", "www", "cloud-1")
    assert read["keys"] == list(KEYS)
    assert read["user_data"] == USER_DATA
    assert read["insists"]
    assert [(each["name"], each["mac_address"]) for each in read["interfaces"]] == [
        ("nic0", FIRST.mac), ("nic1", SECOND.mac),
    ]  # fmt: skip
    for each in read["interfaces"]:
        assert [subnet["type"] for subnet in each["subnets"]] == ["dhcp4", "dhcp6"]


@pytest.mark.parametrize("url", URLS)
def test_as_openstack(guests: tuple[Guest, Guest], tmp_path: Path, url: str) -> None:
    read = _read("openstack", tmp_path, url, FIRST, SECOND, enter=guests[0])
    assert (read["instance_id"], read["hostname"], read["zone"]) == ("web", "www", "cloud-1")
    assert sorted(read["keys"]) == sorted(KEYS)
    assert read["user_data"] == USER_DATA
    assert read["vendor_data"] is None
    assert read["ec2"]["instance-id"] == "web"
    assert [(each["name"], each["mac_address"]) for each in read["interfaces"]] == [
        ("nic0", FIRST.mac), ("nic1", SECOND.mac),
    ]  # fmt: skip
    for each in read["interfaces"]:
        assert sorted(subnet["type"] for subnet in each["subnets"]) == ["dhcp4", "dhcp6"]


@pytest.mark.parametrize("url", URLS)
def test_as_a_seed_by_http(guests: tuple[Guest, Guest], tmp_path: Path, url: str) -> None:
    read = _read("nocloud", tmp_path, f"{url}/{NOCLOUD}/", enter=guests[0])
    assert (read["instance_id"], read["hostname"]) == ("web", "www")
    assert read["keys"] == list(KEYS)
    assert read["user_data"] == USER_DATA
    assert not read["network"]


@pytest.mark.parametrize("kind", ["ec2", "openstack"])
def test_a_vm_without_anything(guests: tuple[Guest, Guest], tmp_path: Path, kind: str) -> None:
    read = _read(kind, tmp_path, URLS[0], BARE.ports[0], enter=guests[1])
    assert (read["instance_id"], read["hostname"], read["keys"]) == ("bare", "bare", [])
    assert not read["user_data"]


def test_as_a_seed(tmp_path: Path) -> None:
    made = seed(VM, {"net-1": network(1), "net-2": network(2, ipv4=False)})
    image, folder = tmp_path / "seed.img", tmp_path / "seed/nocloud"
    write_image(made, image)
    folder.mkdir(parents=True)
    subprocess.run(["mcopy", "-i", image, "::*", folder], check=True)
    read = _read("nocloud", tmp_path, "")
    assert (read["instance_id"], read["hostname"]) == ("web", "www")
    assert read["keys"] == list(KEYS)
    assert read["user_data"] == USER_DATA
    assert read["network"] == yaml.safe_load(made.network_config)
    first, second = read["interfaces"]
    assert (first["name"], first["mac_address"]) == ("eth0", FIRST.mac)
    wanted = [f"{FIRST.ipv6}/{PREFIX.prefixlen}", f"{FIRST.ipv4}/24"]
    assert [f"{each['address']}/{each.get('prefix')}" for each in first["subnets"]] == wanted
    assert [each["address"] for each in second["subnets"]] == [str(SECOND.ipv6)]
