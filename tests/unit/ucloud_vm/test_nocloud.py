"""The seed for guests without a network: its texts parsed back, and the image read as a file system."""

import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TemporaryError
from tests.unit.ucloud_meta.vms import BARE, HOSTNAMES, INNER, KEYS, NETWORKS, TEXTS, USER_DATA, WEB, port, request
from ucloud_vm.nocloud import Seed, seed, write_image


def test_the_texts_of_a_seed() -> None:
    made = seed(WEB, NETWORKS)
    assert yaml.safe_load(made.meta_data) == {
        "instance-id": "uuid-of-web",
        "local-hostname": "www",
        "public-keys": list(KEYS),
    }
    assert made.user_data == USER_DATA
    common = {"dhcp4": False, "dhcp6": False, "accept-ra": True, "nameservers": {"addresses": ["fd00:ec2::253"]}}
    assert yaml.safe_load(made.network_config) == {
        "version": 2,
        "ethernets": {
            "eth0": {
                **common,
                "match": {"macaddress": "02:00:00:00:00:01"},
                "set-name": "eth0",
                "addresses": ["2001:db8:7::ff:fe00:1/64", "10.7.0.5/24"],
                "mtu": 1430,
            },
            "eth1": {
                **common,
                "match": {"macaddress": "02:00:00:00:00:02"},
                "set-name": "eth1",
                "addresses": ["2001:db8:8::ff:fe00:2/64"],
            },
        },
    }


def test_a_vm_without_anything_has_a_seed_too() -> None:
    made = seed(BARE, NETWORKS)
    assert "public-keys" not in yaml.safe_load(made.meta_data)
    assert made.user_data == ""
    assert yaml.safe_load(made.network_config) == {"version": 2, "ethernets": {}}


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=3), TEXTS, st.none() | HOSTNAMES)
def test_whatever_owners_write_is_parsed_back(keys: list[str], user_data: str, hostname: str | None) -> None:
    vm = request(port(1, INNER), ssh_keys=tuple(keys), user_data=user_data, hostname=hostname)
    made = seed(vm, NETWORKS)
    meta_data = yaml.safe_load(made.meta_data)
    assert meta_data["local-hostname"] == (hostname or "web")
    assert meta_data.get("public-keys", []) == [key.strip() for key in keys if key.strip()]
    assert made.user_data == user_data


def _read(image: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", str(image), f"::{name}"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("user_data", ["", USER_DATA, "#!/bin/sh\n# ü\n" + "x" * 3_000_000])
def test_an_image_has_the_files_and_the_label(tmp_path: Path, user_data: str) -> None:
    image = tmp_path / "seed.img"
    image.write_bytes(b"an older one")
    made = seed(request(port(1, INNER), ssh_keys=KEYS, user_data=user_data), NETWORKS)
    write_image(made, image)
    label = subprocess.run(["mlabel", "-s", "-i", image, "::"], check=True, capture_output=True, text=True).stdout
    assert "cidata" in label.lower()
    for name, content in made.files():
        assert _read(image, name) == content
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert image.stat().st_size % 2**20 == 0
    assert list(tmp_path.iterdir()) == [image]


def test_the_kernel_and_blkid_know_the_file_system(tmp_path: Path) -> None:
    image = tmp_path / "seed.img"
    write_image(seed(WEB, NETWORKS), image)
    found = subprocess.run(["blkid", "-p", "-o", "export", image], check=True, capture_output=True, text=True).stdout
    assert {"TYPE=vfat", "LABEL=cidata"} <= set(found.splitlines()) or "LABEL=CIDATA" in found


def test_an_image_that_can_not_be_written_says_why_and_tells_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Seed("", "secret", "")
    assert "secret" not in repr(secret)
    with pytest.raises(TemporaryError, match="can't write the VM's seed disk: No such file"):
        write_image(secret, tmp_path / "missing/seed.img")
    with Path("/dev/full").open() as full, pytest.raises(TemporaryError) as raised:
        write_image(secret, Path(f"/proc/self/fd/{full.fileno()}"))
    assert "secret" not in str(raised.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TemporaryError, match="needs mformat on its host: apt install mtools"):
        write_image(secret, tmp_path / "seed.img")
