"""Debian as it is, with its own cloud-init, becomes what its owner wants; who is installed anew keeps the address."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.people import USER
from devcloud.waiting import wait_for
from tests.system.conftest import running_cloud

pytestmark = pytest.mark.timeout(900)  # without KVM Debian boots for two minutes, and may have to be built first
BUILDER = Path(__file__).resolve().parents[1] / "debian-guest/build"
BOOT_S = 420.0
SOON_S = 60.0
USER_DATA = """\
#cloud-config
ssh_genkeytypes: [ed25519]
write_files:
  - path: /etc/told
    content: |
      by user data
runcmd:
  - [sh, -c, "echo and ran >> /etc/told"]
"""
_FORGET_INSTALLATION = (
    "cloud-init clean; tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id; "
    "rm -rf /etc/told /etc/ssh/ssh_host_* /home/debian/.ssh"
)


@dataclass
class Guest:
    """A VM of the user's, and whom it lets in."""

    cloud: Cloud
    name: str
    login: str

    def ucloud(self, *arguments: str) -> str:
        """What the user's command prints."""
        return first_vm.ucloud(self.cloud, *arguments, user=USER)

    def show(self) -> dict[str, Any]:
        """As the API shows it."""
        shown: dict[str, Any] = json.loads(self.ucloud("vm", "show", self.name, "-o", "json"))
        return shown

    def port(self, number: int = 0) -> dict[str, Any]:
        """One of its ports."""
        found: dict[str, Any] = self.show()["ports"][number]
        return found

    def run(self, command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Have it run a command, by ssh at the address that the API tells."""
        ssh = first_vm.ssh(self.cloud, self.port()["ipv6"], self.login)
        return subprocess.run([*ssh, command], capture_output=True, text=True, check=False, timeout=timeout_s)

    def output(self, command: str) -> str:
        """What a command prints in it; it must end well."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout.strip()

    def wait_in(self) -> None:
        """Wait until it lets its owner in."""
        try:
            wait_for(f"{self.name} to let its owner in", lambda: self.run("true").returncode == 0, BOOT_S, 1)
        except Exception:
            print(self.ucloud("vm", "log", self.name)[-20000:])
            raise

    def addresses(self, mac: str) -> set[str]:
        """What others reach the card with a MAC address by."""
        told = json.loads(self.output("ip -j address"))
        return {f"{each['local']}/{each['prefixlen']}" for card in told if card["address"] == mac
                for each in card["addr_info"] if each["scope"] == "global"}  # fmt: skip

    def install_anew(self) -> None:
        """Put a new disk, made from its image, in the place of the one it has."""
        self.ucloud("vm", "stop", self.name)
        disk = self.cloud.store_directory / "vms" / self.show()["uuid"] / "root.qcow2"
        told = json.loads(
            subprocess.run(["qemu-img", "info", "--output=json", disk], check=True, capture_output=True).stdout
        )
        template = ["-b", told["backing-filename"], "-F", "qcow2"]
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", *template, disk, str(told["virtual-size"])], check=True
        )
        self.ucloud("vm", "start", self.name)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running_cloud("debian", Shape(networks=True)) as cloud:
        first_vm.add_ssh_key(cloud, lambda _: None)
        first_vm.ucloud(cloud, "network", "create", "six", user=USER)
        first_vm.ucloud(cloud, "network", "create", "four", "--isolated", "--ipv4", "10.4.0.0/24", user=USER)
        yield cloud


@pytest.fixture(scope="module")
def debian(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """On a network that has no IPv4."""
    image = first_vm.import_image(cloud, "debian", first_vm.build_image(BUILDER, "debian-guest/debian12.qcow2"))
    user_data = tmp_path_factory.mktemp("debian") / "user-data"
    user_data.write_text(USER_DATA)
    guest = Guest(cloud, "web", "debian")
    specs = ("--cpu", "2", "--ram", "512MiB", "--ssd", "2", "--network", "six")
    told = ("--hostname", "www", "--user-data", str(user_data))
    guest.ucloud("vm", "create", guest.name, "--image", image, *specs, *told)
    guest.wait_in()
    return guest


def _assert_as_told(guest: Guest) -> None:
    assert guest.output("cloud-init status --wait; true").endswith("status: done"), guest.output(
        "cloud-init status -l; true"
    )
    result = json.loads(guest.output("cat /run/cloud-init/result.json"))["v1"]
    assert result["errors"] == []
    assert "http://[fd00:ec2::254]/nocloud/" in result["datasource"]
    assert guest.output("hostname") == "www"
    assert guest.output("cat /etc/told") == "by user data\nand ran"
    assert guest.output("cloud-init query instance_id") == guest.show()["uuid"]
    assert guest.addresses(guest.port()["mac"]) == {f"{guest.port()['ipv6']}/128"}


def test_debian_is_what_its_owner_asked_for(debian: Guest) -> None:
    _assert_as_told(debian)
    # Its disk is as large as was asked for, and no unit of it failed.
    assert int(debian.output("df --output=size -m / | tail -n 1")) > 1700
    assert debian.output("systemctl list-units --failed --plain --no-legend") == ""


def test_a_card_that_is_plugged_in_gets_its_ipv4_address(debian: Guest) -> None:
    debian.ucloud("vm", "attach", debian.name, "four,ipv4")
    port = debian.port(1)
    wanted = {f"{port['ipv4']}/24", f"{port['ipv6']}/128"}
    wait_for("both addresses", lambda: debian.addresses(port["mac"]) == wanted, SOON_S, 0.5)
    debian.ucloud("vm", "detach", debian.name, port["id"])


def test_debian_installed_anew_has_the_address_that_it_had(debian: Guest) -> None:
    """Another disk would not do: systemd takes a virtual machine's UUID for its id, and makes the DUID from that."""
    look_at_duid = "networkctl status --no-pager 'en*' | sed -n 's/.*DHCP6 Client DUID: *//p'"
    duid, address = debian.output(look_at_duid), debian.port()["ipv6"]
    debian.output(f"sudo sh -c '{_FORGET_INSTALLATION}'")
    debian.ucloud("vm", "stop", debian.name)
    debian.ucloud("vm", "start", debian.name)
    debian.wait_in()
    assert debian.port()["ipv6"] == address
    assert duid
    assert duid != debian.output(look_at_duid)
    _assert_as_told(debian)


def test_the_small_guest_installed_anew_has_the_address_that_it_had(cloud: Cloud) -> None:
    guest = Guest(cloud, "small", "root")
    specs = ("--cpu", "1", "--ram", "128MiB", "--ssd", "1", "--network", "six")
    guest.ucloud("vm", "create", guest.name, "--image", first_vm.import_image(cloud), *specs)
    guest.wait_in()
    look_at_duid = "grep -h default-duid /run/dhclient6.eth0.leases | sort -u"
    duid, address = guest.output(look_at_duid), guest.port()["ipv6"]
    guest.install_anew()
    guest.wait_in()
    assert guest.port()["ipv6"] == address
    assert duid
    assert duid != guest.output(look_at_duid)
