"""Seed disks: who has one, who may read it, and that it goes with the folder of its VM."""

import os
import stat
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from common import keys
from common.cache import Cached
from common.errors import TemporaryError
from common.schemas.network import NetworkRequest
from common.schemas.vm import Placement
from tests.unit.ucloud_meta.vms import INNER, KEYS, NETWORKS, NOW, port, request
from ucloud_vm.run_directory import RunDirectory
from ucloud_vm.seeds import Seeds

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
OWNER = (os.getuid(), os.getgid())
PLAIN = request(port(1, INNER), ssh_keys=KEYS, user_data="first").model_copy(update={"uuid": VM})
WITH_SEED = PLAIN.model_copy(update={"seed_disk": True})


class World:
    """A placement, networks, and a folder for the VM."""

    prefix = keys.placements("h1")

    def __init__(self, path: Path) -> None:
        self.request = WITH_SEED
        self.run_directory = RunDirectory(path)
        self.run_directory.make(VM, OWNER)
        self.seeds = Seeds(cast(Any, self), cast(Any, self), self.run_directory)

    def get(self, key: str) -> Cached[Placement] | NetworkRequest | None:
        """A placement by its key, or a network by its uuid."""
        if key == self.prefix + VM:
            return Cached(Placement(epoch=1, generation=1, request=self.request, placed_at=NOW), 1, 1)
        if key.startswith(self.prefix):
            return None
        if key not in NETWORKS:
            raise TemporaryError(f"there is no network {key}")
        return NETWORKS[key]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def user_data(image: Path | None) -> str:
    assert image
    return subprocess.run(["mtype", "-i", image, "::user-data"], check=True, capture_output=True, text=True).stdout


def test_who_asks_for_one_has_one_anew_each_time(world: World, tmp_path: Path) -> None:
    image = world.seeds.of(VM)
    assert image == tmp_path / VM / "seed.img"
    for text in ("first", "second"):
        world.request = WITH_SEED.model_copy(update={"user_data": text})
        world.seeds.write(VM, OWNER)
        assert user_data(image) == text
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / VM]
    world.run_directory.remove(VM)
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_has_none(world: World, tmp_path: Path) -> None:
    world.request = PLAIN
    assert world.seeds.of(VM) is None
    assert world.seeds.of("6f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10") is None
    world.seeds.write(VM, OWNER)
    assert list((tmp_path / VM).iterdir()) == []


def test_what_an_earlier_life_left_half_written_is_in_nobodys_way_and_goes_with_the_vm(
    world: World, tmp_path: Path
) -> None:
    for _ in range(2):
        world.run_directory.scratch(VM).write_text("half")
        world.seeds.write(VM, OWNER)
        assert user_data(world.seeds.of(VM)) == "first"
    world.run_directory.scratch(VM).write_text("half")
    assert world.run_directory.vms() == {VM}
    world.run_directory.remove(VM)
    assert list(tmp_path.iterdir()) == []


def test_a_guest_that_owns_its_folder_can_not_have_root_write_elsewhere(world: World, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (tmp_path / VM / "seed.img").symlink_to(victim)
    world.seeds.write(VM, OWNER)
    assert victim.read_text() == "as it was"
    assert user_data(world.seeds.of(VM)) == "first"


def test_a_network_that_nobody_knows_leaves_the_last_one(world: World) -> None:
    world.seeds.write(VM, OWNER)
    unknown = INNER.model_copy(update={"uuid": "net-9"})
    world.request = WITH_SEED.model_copy(update={"ports": (port(1, unknown),), "user_data": "second"})
    with pytest.raises(TemporaryError, match="no network net-9"):
        world.seeds.write(VM, OWNER)
    assert user_data(world.seeds.of(VM)) == "first"
