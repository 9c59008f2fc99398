"""One VM host: a namespace of its own, its settings, its libvirtd, and the programs that run on it."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from devcloud.network import Network

_ENTER = Path(__file__).resolve().parent / "enter"
_QEMU_CAPABILITIES = Path(__file__).resolve().parent.parent / ".cache/libvirt"

_LIBVIRTD_CONF = """\
listen_tls = 0
auth_unix_rw = "none"
host_uuid = "{host_uuid}"
"""

# QEMU runs as root, without the guards that need a machine of its own (cgroups, security labels, mount namespaces);
# files instead of virtlogd take its output.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""


@dataclass(frozen=True)
class VmHost:
    """Host `number` of a cloud; its files are under `data` and, what must not outlive a reboot, `run`."""

    number: int
    network: Network
    data: Path
    run: Path

    @property
    def name(self) -> str:
        """Its hostname, and its name in the cloud."""
        return f"h{self.number}"

    @property
    def address(self) -> str:
        """Its IPv6 address in the cloud's network."""
        return self.network.host_address(self.number)

    @property
    def settings_file(self) -> Path:
        """Its ucloud.conf."""
        return self.data / "ucloud.conf"

    @property
    def settings(self) -> dict[str, dict[str, str]]:
        """What its ucloud.conf says besides what all machines of the cloud are told."""
        return {
            "health": {"address": self.address},
            "host": {"name": self.name},
            "vm": {
                "run_directory": str(self.run / "vm"),
                "log_directory": str(self.data / "log"),
                "state_directory": str(self.data / "state"),
            },
        }

    def create(self) -> None:
        """Make its namespace and write libvirt's settings."""
        self.network.create_host(self.name, self.number)
        etc = self.data / "libvirt/etc"
        for directory in (etc, self.run / "libvirt", self.run / "vm", self.data / "log", self.data / "state"):
            directory.mkdir(parents=True, exist_ok=True)
        cache = self.data / "libvirt/var/cache"
        if not cache.exists():
            # What libvirtd finds out about QEMU, in some seconds, is the same for every host of this machine.
            _QEMU_CAPABILITIES.mkdir(parents=True, exist_ok=True)
            cache.parent.mkdir(parents=True, exist_ok=True)
            cache.symlink_to(_QEMU_CAPABILITIES)
        host_uuid = uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{self.network.identity}")
        (etc / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(host_uuid=host_uuid), encoding="ascii")
        (etc / "qemu.conf").write_text(_QEMU_CONF, encoding="ascii")

    def enter(self, *command: str) -> list[str]:
        """The command that runs `command` on this host; its process id stays that of the command."""
        namespace = self.network.namespace(self.name)
        return [str(_ENTER), namespace, self.name, str(self.data / "libvirt"), str(self.run / "libvirt"), *command]
