"""Which user of etcd a program of a cloud is."""

from pathlib import Path

import pytest

from devcloud.etcd_users import EtcdUsers


@pytest.mark.parametrize(
    ("program", "user"),
    [
        ("ucloud-api", "ucloud-api"),
        ("ucloud-scheduler2", "ucloud-scheduler"),
        ("ucloud-vm@h1", "ucloud-vm@h1"),
        ("ucloud-host-alive@h10", "ucloud-host-alive@h10"),
        ("ucloud-host-guard@h1", ""),
        ("libvirtd@h1", ""),
    ],
)
def test_programs_are_users_of_their_own(program: str, user: str) -> None:
    assert EtcdUsers(Path("/none")).user_of(program) == user
