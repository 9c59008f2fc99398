"""Settings: defaults, the file, the environment, and errors that name what is wrong."""

from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import load


def test_the_environment_goes_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "ucloud.conf"
    file.write_text(
        "[etcd]\nendpoints = [fd00::1]:2379, [fd00::2]:2379\n[api]\nport = 81\n[storage]\nhdd_directory =\n"
    )
    settings = load({"UCLOUD_CONFIG": str(file), "UCLOUD_API_PORT": "82", "UCLOUD_HOST_NAME": "h1", "HOME": "/root"})
    assert settings.etcd.endpoints == ("[fd00::1]:2379", "[fd00::2]:2379")
    assert settings.api.port == 82
    assert settings.api.address == "::1"
    assert settings.storage.hdd_directory is None
    assert settings.host.name == "h1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[api]\nport = http\n", "api.port"),
        ("[api]\nport = 0\n", "api.port"),
        ("[api]\nports = 80\n", "api.ports"),
        ("[apis]\nport = 80\n", "apis"),
        ("[vm]\naccelerator = xen\n", "'auto', 'kvm' or 'tcg'"),
        ("[dns]\ndomain = vms..example\n", "dns.domain"),
        ("[dns]\ndns64_prefix = 64:ff9b::/64\n", "96 bits"),
        ("port = 80\n", "no section headers"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "ucloud.conf"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load({"UCLOUD_CONFIG": str(file)})
    assert expected in str(error.value)
    assert str(file) in str(error.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"UCLOUD_CONFIG: .*does not exist"):
        load({"UCLOUD_CONFIG": str(tmp_path / "none.conf")})


@pytest.mark.parametrize(
    ("uri", "libvirt", "moves"),
    [
        ("", "qemu:///system", False),
        ("qemu+tls://h1/system", "qemu:///system", True),
        ("qemu+tls://h1/system", "test:///default", False),
    ],
)
def test_guests_move_while_they_run_where_the_settings_say_how(uri: str, libvirt: str, moves: bool) -> None:
    settings = load({"UCLOUD_VM_MIGRATION_URI": uri, "UCLOUD_VM_LIBVIRT_URI": libvirt, "UCLOUD_CONFIG": "/dev/null"})
    assert settings.vm.moves_live is moves
