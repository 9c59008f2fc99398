"""Where a guest goes, as one text and back."""

from dataclasses import replace

import pytest

from common.errors import PermanentError
from ucloud_vm.destination import Destination, Files, Streams, check

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
FILES = Files(
    {"root": "/store/a b/root.qcow2", "5e1f00d5": "/x=1"},
    "/run/s&1.sock",
    "/log/%41#",
    "/run/vnc.sock",
    "/run/seed 1.img",
)


@pytest.mark.parametrize("hypervisor", ["qemu+tls://h2.example/system", "qemu+unix:///system?socket=/run/h2/sock"])
def test_it_comes_back_as_it_was(hypervisor: str) -> None:
    destination = Destination(hypervisor, FILES)
    assert Destination.read(destination.to_uri()) == destination


def test_only_who_has_a_seed_disk_says_anything_of_it() -> None:
    destination = Destination("qemu+tls://h2.example/system", replace(FILES, seed=""))
    assert "seed" not in destination.to_uri()
    assert Destination.read(destination.to_uri()) == destination


@pytest.mark.parametrize(
    ("hypervisor", "streams"),
    [
        ("qemu+tls://h2.example/system", Streams("tcp://h2.example", "", tls=True)),
        ("qemu+tls://[fd00::2]:16514/system", Streams("tcp://[fd00::2]", "", tls=True)),
        (
            "qemu+unix:///system?socket=/run/h2/libvirt-sock",
            Streams(f"unix:///run/h2/{VM}.memory", f"unix:///run/h2/{VM}.disks", tls=False),
        ),
    ],
)
def test_memory_and_disks_go_the_way_of_the_hypervisor(hypervisor: str, streams: Streams) -> None:
    assert Destination(hypervisor, FILES).streams(VM) == streams


@pytest.mark.parametrize(
    "hypervisor",
    ["", "qemu:///system", "qemu+tcp://h2/system", "qemu+ssh://h2/system", "qemu+tls:///system", "qemu+unix:///system"],
)
def test_no_guest_goes_where_anybody_could_read_it(hypervisor: str) -> None:
    with pytest.raises(PermanentError, match=r"qemu\+tls://HOST/system and .* are allowed"):
        check(hypervisor)
    with pytest.raises(PermanentError):
        Destination.read(Destination(hypervisor, FILES).to_uri())


@pytest.mark.parametrize("uri", ["qemu+tls://h2/system", "qemu+tls://h2/system#root=/r", "cold"])
def test_without_files_it_is_none(uri: str) -> None:
    with pytest.raises(PermanentError, match="does not tell the files"):
        Destination.read(uri)
