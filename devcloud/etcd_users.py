"""etcd behind TLS, where each daemon may do what it has to and nothing else: made by the tools that administrators use.

The user of a daemon is the common name of its certificate, with the host's: "ucloud-vm@h1" (common.rights).
"""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import rights
from devcloud.errors import DevcloudError
from devcloud.etcd import Member
from devcloud.programs import PATH, SCRIPTS

_PKI = Path(__file__).resolve().parent.parent / "tools/etcd-pki"


@dataclass(frozen=True)
class EtcdUsers:
    """The certificates in `folder`, and the users that they stand for."""

    folder: Path

    def certify(self, members: Iterable[Member], hosts: Iterable[str]) -> None:
        """Have a certificate for each member, each daemon of the control plane, and each host."""
        for member in members:
            _run(str(_PKI), str(self.folder), "member", member.name, member.address)
        of_hosts = (user for host in hosts for user in rights.users_of_host(host))
        for user in (*rights.users_of_control(), *of_hosts):
            _run(str(_PKI), str(self.folder), "client", user.name)
        _run(str(_PKI), str(self.folder), "client", "root")

    def grant(self, endpoint: str, hosts: Iterable[str]) -> None:
        """Give each user its role, and let nobody else in any more."""
        environment = {"UCLOUD_CONFIG": os.devnull, "UCLOUD_ETCD_ENDPOINTS": endpoint, **self.environment("root")}
        _run(str(SCRIPTS / "ucloud-admin"), "etcd-roles", "apply", *hosts, environment={**environment, "PATH": PATH})

    def environment(self, user: str) -> dict[str, str]:
        """The settings of a program that comes to etcd as `user`."""
        files = {"CA": "ca.pem", "CERT": f"{user}.pem", "KEY": f"{user}.key"}
        return {f"UCLOUD_ETCD_{name}_FILE": str(self.folder / file) for name, file in files.items()}

    def user_of(self, program: str) -> str:
        """The user of a program: "ucloud-scheduler" of "ucloud-scheduler2", "ucloud-vm@h1" of itself; or none: ""."""
        daemon, _, host = program.partition("@")
        if host:
            return program if daemon in rights.OF_HOSTS else ""
        return daemon.rstrip("0123456789")


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise DevcloudError(f"{' '.join(command)}: {done.stderr.strip()}")
