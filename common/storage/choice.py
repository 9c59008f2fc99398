"""Which store a host has, by its settings."""

from common.errors import ConfigurationError, TemporaryError
from common.settings import StorageSettings
from common.storage import Store


def open_store(settings: StorageSettings) -> Store:
    """The store that the settings say; ConfigurationError when it can't be used."""
    if settings.kind == "rbd":
        try:
            # Of Debian's python3-rados and python3-rbd, which only hosts with Ceph have.
            from common.storage.rbd import RbdStore  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(f"storage.kind: python3-rados and python3-rbd are required ({error})") from error
        return RbdStore(settings)
    from common.storage.directory import DirectoryStore  # noqa: PLC0415

    try:
        return DirectoryStore(settings)
    except TemporaryError as error:
        raise ConfigurationError(f"storage.ssd_directory, storage.hdd_directory: {error}") from error
