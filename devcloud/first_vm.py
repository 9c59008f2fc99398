"""The first image and the first VM of a new cloud, made as a user makes them: with the command line client."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError
from devcloud.people import ADMIN, USER
from devcloud.programs import SCRIPTS
from devcloud.waiting import wait_for

_PROJECT = Path(__file__).resolve().parent.parent
_GUEST = _PROJECT / "tests/guest/build"
IMAGE = "guest"
NETWORK = "home"
SSH_KEY = "make-up"
USER_DATA = Path(__file__).with_suffix(".user-data")
VM = "first"


def build_image(builder: Path = _GUEST, image: str = "guest/ucguest.qcow2") -> Path:
    """The disk image of the test guest, or what another builder leaves below .cache; built if its sources are newer."""
    done = subprocess.run([builder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevcloudError(f"{builder}: {done.stderr.strip()}")
    return _PROJECT / ".cache" / image


def ucloud(cloud: Cloud, *arguments: str, user: str = ADMIN, timeout_s: float = 180.0) -> str:
    """What `ucloud ARGUMENTS` prints to `user`; DevcloudError with its complaint when it fails."""
    command = ["ucloud", *arguments]
    try:
        done = subprocess.run(
            [SCRIPTS / "ucloud", *arguments],
            env=cloud.env(user=user),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise DevcloudError(f"{' '.join(command)}: no end within {timeout_s:g} s") from error
    if done.returncode:
        raise DevcloudError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def import_image(cloud: Cloud, name: str = IMAGE, image: Path | None = None) -> str:
    """Have the admin's public image "guest", or another one, of another file; returns its name."""
    image = image or build_image()
    shutil.copyfile(image, cloud.upload_directory(ADMIN) / image.name)
    ucloud(cloud, "image", "create", "--name", name, "--file", image.name, "--public")
    return name


def boot(cloud: Cloud, say: Callable[[str], None]) -> None:
    """Have the admin's public image "guest", and the user's VM "first" on the network "home", which lets them in."""
    say("guest image")
    image = build_image()
    if IMAGE not in _names(cloud, "image"):
        upload = cloud.upload_directory(ADMIN) / image.name
        shutil.copyfile(image, upload)
        options = ["--name", IMAGE, "--file", image.name, "--public"]
        say(f"ucloud image create {' '.join(options)}     (as {ADMIN})")
        ucloud(cloud, "image", "create", *options)
    if NETWORK not in _names(cloud, "network"):
        say(f"ucloud network create {NETWORK}     (as {USER})")
        ucloud(cloud, "network", "create", NETWORK, user=USER)
    add_ssh_key(cloud, say)
    if VM not in _names(cloud, "vm"):
        specs = ["--cpu", "1", "--ram", "128MiB", "--ssd", "1"]
        options = ["--name", VM, "--image", IMAGE, "--network", NETWORK, *specs, "--user-data", str(USER_DATA)]
        say(f"ucloud vm create {' '.join(options)}     (as {USER})")
        ucloud(cloud, "vm", "create", *options, user=USER)
    _log_in(cloud, say)


def add_ssh_key(cloud: Cloud, say: Callable[[str], None]) -> None:
    """Have a key pair, whose public half guests of the user's new VMs let in."""
    key = cloud.people.ssh_key
    if not key.exists():
        comment = f"{USER} of cloud {cloud.name}"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]
        subprocess.run(command, check=True, capture_output=True)
    if SSH_KEY not in _names(cloud, "user", "ssh-key"):
        public = f"{key}.pub"
        say(f"ucloud user ssh-key add {SSH_KEY} {public}     (as {USER})")
        ucloud(cloud, "user", "ssh-key", "add", SSH_KEY, public, user=USER)


def address(cloud: Cloud) -> str:
    """Where the user's VM "first" is reached."""
    vm = json.loads(ucloud(cloud, "vm", "show", VM, "-o", "json", user=USER))
    return str(vm["ports"][0]["ipv6"])


def _log_in(cloud: Cloud, say: Callable[[str], None]) -> None:
    """Be let in by ssh."""
    command = ssh(cloud, address(cloud))
    say(" ".join(command))
    began = time.monotonic()

    def hostname() -> str | None:
        done = subprocess.run([*command, "hostname"], capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip() or None

    name = wait_for(f"VM {VM!r} letting {USER} in", hostname, timeout_s=120, interval_s=0.5)
    say(f"{name!r} answers, after {time.monotonic() - began:.1f} s")


def ssh(cloud: Cloud, address: str, name: str = "root") -> list[str]:
    """The command that logs the user in at a VM, as `name`.

    What names the VM is the cloud, so its host key is asked for by nobody.
    """
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10")
    written = [word for option in options for word in ("-o", option)]
    return ["ssh", "-i", str(cloud.people.ssh_key), *written, f"{name}@{address}"]


def _names(cloud: Cloud, *kind: str) -> list[str]:
    return [each["name"] for each in json.loads(ucloud(cloud, *kind, "list", "-o", "json", user=USER))]
