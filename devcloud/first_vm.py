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

_GUEST = Path(__file__).resolve().parent.parent / "tests/guest/build"
IMAGE = "guest"
VM = "first"


def build_image() -> Path:
    """The disk image of the test guest, built if its sources are newer."""
    done = subprocess.run([_GUEST], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevcloudError(f"{_GUEST}: {done.stderr.strip()}")
    return _GUEST.parents[2] / ".cache/guest/ucguest.qcow2"


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


def import_image(cloud: Cloud) -> str:
    """Have the admin's public image "guest"; returns its name."""
    image = build_image()
    shutil.copyfile(image, cloud.upload_directory(ADMIN) / image.name)
    ucloud(cloud, "image", "create", "--name", IMAGE, "--file", image.name, "--public")
    return IMAGE


def boot(cloud: Cloud, say: Callable[[str], None]) -> None:
    """Have the admin's public image "guest", and the user's VM "first" with a login prompt on its serial console."""
    say("guest image")
    image = build_image()
    if IMAGE not in _names(cloud, "image"):
        upload = cloud.upload_directory(ADMIN) / image.name
        shutil.copyfile(image, upload)
        options = ["--name", IMAGE, "--file", image.name, "--public"]
        say(f"ucloud image create {' '.join(options)}     (as {ADMIN})")
        ucloud(cloud, "image", "create", *options)
    if VM not in _names(cloud, "vm"):
        options = ["--name", VM, "--image", IMAGE, "--cpu", "1", "--ram", "128MiB", "--ssd", "1"]
        say(f"ucloud vm create {' '.join(options)}     (as {USER})")
        ucloud(cloud, "vm", "create", *options, user=USER)
    started = time.monotonic()
    say(f"ucloud vm log {VM}, until it asks for a login")
    prompt = wait_for(f"a login prompt of VM {VM!r}", lambda: _login_prompt(cloud), timeout_s=120, interval_s=0.5)
    say(f"the guest says {prompt!r}, after {time.monotonic() - started:.1f} s")


def _login_prompt(cloud: Cloud) -> str | None:
    log = ucloud(cloud, "vm", "log", VM, user=USER)
    return next((line.strip() for line in log.splitlines() if "login:" in line), None)


def _names(cloud: Cloud, kind: str) -> list[str]:
    return [each["name"] for each in json.loads(ucloud(cloud, kind, "list", "-o", "json", user=USER))]
