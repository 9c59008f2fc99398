"""Settings: `/etc/ucloud/ucloud.conf` (INI), overridden by `UCLOUD_<SECTION>_<FIELD>` in the environment.

`UCLOUD_CONFIG` names another file. Every setting has a default that suits one machine; docs/operate.md explains them.
"""

import configparser
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from common.errors import ConfigurationError
from common.schemas.record import describe
from common.schemas.vm import HostName, OwnerName

DEFAULT_FILE = "/etc/ucloud/ucloud.conf"


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EtcdSettings(_Section):
    """How etcd is reached."""

    endpoints: Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)] = ("127.0.0.1:2379",)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    user: str = ""
    password_file: str = ""


class LogSettings(_Section):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class HealthSettings(_Section):
    """Where a daemon answers /healthz and /metrics; port 0 is the daemon's own default."""

    address: str = "::1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0


class ApiSettings(_Section):
    """The HTTP API."""

    address: str = "::1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    threads: Annotated[int, Field(ge=4, le=1000)] = 64
    default_owner: OwnerName = "admin"


class HostSettings(_Section):
    """This machine as a VM host."""

    name: HostName = Field(default_factory=lambda: platform.node().split(".")[0].lower() or "localhost")
    reserved_ram_mib: Annotated[int, Field(ge=0)] = 1024
    alive_ttl_s: Annotated[int, Field(ge=2, le=60)] = 3


class StorageSettings(_Section):
    """The directory store. Hosts that share a store mount it at the same path."""

    ssd_directory: Path = Path("/var/lib/ucloud/store")
    hdd_directory: Path | None = None


class VmSettings(_Section):
    """The hypervisor of this host."""

    libvirt_uri: str = "qemu:///system"
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    run_directory: Path = Path("/run/ucloud/vm")
    log_directory: Path = Path("/var/log/ucloud/vm")
    state_directory: Path = Path("/var/lib/ucloud/vm")
    stop_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 60


class ImageSettings(_Section):
    """Where uploads are looked for, and how large an image may be."""

    upload_directory: Path = Path("/var/www")
    max_virtual_gib: Annotated[int, Field(ge=1, le=65536)] = 2048


class Settings(_Section):
    """All settings of a daemon."""

    etcd: EtcdSettings = EtcdSettings()
    log: LogSettings = LogSettings()
    health: HealthSettings = HealthSettings()
    api: ApiSettings = ApiSettings()
    host: HostSettings = Field(default_factory=HostSettings)
    storage: StorageSettings = StorageSettings()
    vm: VmSettings = VmSettings()
    image: ImageSettings = ImageSettings()


def load(environment: Mapping[str, str]) -> Settings:
    """The settings from the file and `environment`; ConfigurationError names what is wrong with them."""
    path = Path(environment.get("UCLOUD_CONFIG", DEFAULT_FILE))
    values = _read_file(path, required="UCLOUD_CONFIG" in environment)
    for section, info in Settings.model_fields.items():
        for field in cast(type[BaseModel], info.annotation).model_fields:
            variable = f"UCLOUD_{section}_{field}".upper()
            if variable in environment:
                values.setdefault(section, {})[field] = environment[variable]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{path} and UCLOUD_* variables: {describe(error)}") from error


def _read_file(path: Path, required: bool) -> dict[str, dict[str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError as error:
        if required:
            raise ConfigurationError(f"UCLOUD_CONFIG: {path} does not exist") from error
    except (OSError, configparser.Error) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    # An empty value is as good as none: the default holds.
    return {name: {field: value for field, value in parser[name].items() if value} for name in parser.sections()}


def read_secret(setting: str, path: str) -> str:
    """The secret in the file that `setting` names, without the newline at its end; empty when no file is named."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path}: {error.strerror}") from error
