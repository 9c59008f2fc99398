"""etcd behind TLS, where each daemon may do what it has to and nothing else: made by the tools that administrators use.

The user of a daemon is the common name of its certificate; hosts have one each, for all of their daemons.
"""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcloud.errors import DevcloudError
from devcloud.etcd import Member, find_binary

_TOOLS = Path(__file__).resolve().parent.parent / "tools"
_CONTROL = ("root", "ucloud-api", "ucloud-scheduler", "ucloud-image", "ucloud-image-sftp", "ucloud-otp")


@dataclass(frozen=True)
class EtcdUsers:
    """The certificates in `folder`, and the users that they stand for."""

    folder: Path

    def certify(self, members: Iterable[Member], hosts: Iterable[str]) -> None:
        """Have a certificate for each member, each daemon of the control plane, and each host."""
        for member in members:
            _run("etcd-pki", str(self.folder), "member", member.name, member.address)
        for client in (*_CONTROL, *hosts):
            _run("etcd-pki", str(self.folder), "client", client)

    def grant(self, endpoint: str, hosts: Iterable[str]) -> None:
        """Give each user its role, and let nobody else in any more."""
        environment = {
            "PATH": f"{find_binary().parent}:{os.environ['PATH']}",
            "ETCDCTL_ENDPOINTS": f"https://{endpoint}",
            "ETCDCTL_CACERT": str(self.folder / "ca.pem"),
            "ETCDCTL_CERT": str(self.folder / "root.pem"),
            "ETCDCTL_KEY": str(self.folder / "root.key"),
        }
        _run("etcd-roles", "control", environment=environment)
        _run("etcd-roles", "host", *hosts, environment=environment)

    def environment(self, user: str) -> dict[str, str]:
        """The settings of a program that comes to etcd as `user`."""
        files = {"CA": "ca.pem", "CERT": f"{user}.pem", "KEY": f"{user}.key"}
        return {f"UCLOUD_ETCD_{name}_FILE": str(self.folder / file) for name, file in files.items()}

    def user_of(self, program: str) -> str:
        """The user of a program: "h1" of "ucloud-vm@h1", "ucloud-scheduler" of "ucloud-scheduler2"."""
        daemon, _, host = program.partition("@")
        return host or daemon.rstrip("0123456789")


def _run(tool: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [_TOOLS / tool, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise DevcloudError(f"tools/{tool} {' '.join(arguments)}: {done.stderr.strip()}")
