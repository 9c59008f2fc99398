"""Who may use a VM's consoles, and where they are."""

from pathlib import Path

import pytest

from ucloud_vm.console.access import Access, base_url, read_or_make_secret

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
OTHER = "6f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"


def test_a_token_opens_one_vm_of_one_host() -> None:
    access = Access(b"secret", "http://[fd00::1]:9703")
    console = access.console(VM)
    assert console.url == f"http://[fd00::1]:9703/vm/{VM}"
    assert access.opens(console.token, VM)
    assert not access.opens(console.token, OTHER)
    assert not access.opens("", VM)
    assert not access.opens("ü", VM)
    assert not Access(b"another host", "").opens(console.token, VM)


def test_the_secret_is_made_once_and_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "console.key"
    (tmp_path / "console.key.new").write_bytes(b"half")
    secret = read_or_make_secret(path)
    assert len(secret) == 32
    assert read_or_make_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("::1", "http://[::1]:9703"),
        ("192.0.2.1", "http://192.0.2.1:9703"),
        ("::", "http://h1:9703"),
        ("0.0.0.0", "http://h1:9703"),  # noqa: S104 - no binding, a name
        ("host.example", "http://host.example:9703"),
    ],
)
def test_the_url_is_one_that_others_can_reach(address: str, url: str) -> None:
    assert base_url(address, 9703, "h1") == url
