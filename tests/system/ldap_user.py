"""A user of a cloud who is in LDAP alone: its password and its ssh key are there, and nobody has added any here."""

import json
import subprocess
from pathlib import Path

from devcloud import first_vm
from devcloud.cloud import Cloud
from devcloud.waiting import wait_for
from tests.integration.slapd import Slapd


class LdapUser:
    """A user who is logged in; `directory` has the private key."""

    def __init__(self, cloud: Cloud, slapd: Slapd, name: str, directory: Path) -> None:
        self.cloud, self.name = cloud, name
        self._key = directory / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name} of LDAP", "-f", str(self._key)]
        subprocess.run(command, check=True, capture_output=True)
        slapd.add_user(name, f"{name}'s", sshPublicKey=self._key.with_suffix(".pub").read_text().strip())
        password = directory / f"{name}.password"
        password.touch(0o600)
        password.write_text(f"{name}'s\n")
        self.ucloud("--url", cloud.url, "login", "--name", name, "--password-file", str(password))

    def ucloud(self, *arguments: str) -> str:
        """What the command line client prints to the user."""
        return first_vm.ucloud(self.cloud, *arguments, user=self.name)

    def sftp(self, *batch: str) -> None:
        """Have the client of OpenSSH do so, by the key of LDAP."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes")
        flags = [word for option in options for word in ("-o", option)]
        command = ["sftp", "-F", "none", *flags, "-i", str(self._key), "-b", "-", "-P", "2222"]
        subprocess.run(
            [*command, f"{self.name}@[{self.cloud.network.control_address}]"],
            input="\n".join(batch),
            text=True,
            check=True,
            timeout=120,
        )

    def import_guest(self, image: str) -> str:
        """Upload the test guest, and have it an image called so; returns its uuid."""
        local = first_vm.build_image()
        self.sftp(f"put {local} {image}.qcow2")
        wait_for("the file", lambda: f"{image}.qcow2" in self.files(), 30)
        options = ("--name", image, "--file", f"{image}.qcow2", "--min-ram", "64MiB")
        made = json.loads(self.ucloud("image", "create", *options, "-o", "json"))
        assert (made["status"], made["file_size_bytes"]) == ("READY", local.stat().st_size)
        return str(made["uuid"])

    def remove_file(self, name: str) -> None:
        """Remove an uploaded file; returns when nothing knows it any more."""
        self.sftp(f"rm {name}")
        wait_for("no record of it", lambda: name not in self.files(), 30)
        assert list(self.cloud.upload_directory(self.name).iterdir()) == []

    def files(self) -> list[str]:
        """The names of its files, as the API knows them."""
        return [each["name"] for each in json.loads(self.ucloud("file", "list", "-o", "json"))]
