"""Who may use the consoles of a VM, and where they are: the token of a VM is an HMAC (RFC 2104) of its uuid, keyed with
a secret of this host.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
from pathlib import Path

from common.errors import ConfigurationError
from common.schemas.inventory import InventoryDoor
from common.schemas.vm import Console

_INVENTORY = "inventory"
"""Stands for a VM's uuid, which it is none of, in the token of the host's inventory."""


class Access:
    """The consoles that this host answers for at `url`, and the tokens that open them."""

    def __init__(self, secret: bytes, url: str) -> None:
        self._secret = secret
        self._url = url

    def console(self, vm_uuid: str) -> Console:
        """Where the consoles of a VM are, and the token that opens them."""
        return Console(url=f"{self._url}/vm/{vm_uuid}", token=self._token(vm_uuid))

    def opens(self, token: str, vm_uuid: str) -> bool:
        """Whether `token` is that of the VM."""
        return hmac.compare_digest(token.encode(), self._token(vm_uuid).encode())

    def inventory(self) -> InventoryDoor:
        """Where this host tells what there is on it, and the token for that."""
        return InventoryDoor(url=f"{self._url}/{_INVENTORY}", token=self._token(_INVENTORY))

    def opens_inventory(self, token: str) -> bool:
        """Whether `token` is that of the inventory."""
        return self.opens(token, _INVENTORY)

    def _token(self, vm_uuid: str) -> str:
        return hmac.new(self._secret, vm_uuid.encode(), hashlib.sha256).hexdigest()


def read_or_make_secret(path: Path) -> bytes:
    """The secret of this host, made when there is none; ConfigurationError when neither works."""
    try:
        if not path.exists():
            draft = path.with_name(f"{path.name}.new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                os.fsync(file.fileno())
            draft.rename(path)
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"vm.state_directory: {path}: {error.strerror}") from error


def base_url(address: str, port: int, host_name: str) -> str:
    """The URL under which others reach `address`:`port`; by the host's name when it listens on all addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return f"http://{address}:{port}"
    if ip.is_unspecified:
        return f"http://{host_name}:{port}"
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"
