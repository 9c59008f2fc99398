"""The key by which users know the server: made once, and kept."""

import os
from pathlib import Path

import asyncssh

from common.errors import ConfigurationError


def read_or_make_host_key(path: Path) -> asyncssh.SSHKey:
    """The host key in a file, made when there is none; ConfigurationError when neither works."""
    try:
        if not path.exists():
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.new")
            draft.unlink(missing_ok=True)
            key = asyncssh.generate_private_key("ssh-ed25519")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(key.export_private_key())
                os.fsync(file.fileno())
            path.with_name(f"{path.name}.pub").write_bytes(key.export_public_key())
            draft.rename(path)
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as error:
        raise ConfigurationError(f"sftp.host_key_file: {path}: {error}") from error
