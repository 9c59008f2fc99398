"""Every example of `ucloud` in README and docs does what the text says, from top to bottom, on a cloud of `make up`.

In a block of a document, a line that begins with a command is typed; the lines after it, up to an empty one, are what
it prints, where "..." stands for anything. A comment that says which key ends a command has it run in a terminal, until
that key is pressed.
"""

import os
import pty
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyotp
import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.errors import DevcloudError
from devcloud.people import ADMIN, USER
from devcloud.waiting import wait_for
from tests.system import world
from tests.system.conftest import running_cloud
from ucloud_cli.contexts import ContextsFile
from ucloud_otp.totp import WINDOW_STEPS

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", *sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob("docs/*.md"))]
ADMINS = {"docs/admin-manual.md"}
COMMAND = re.compile(r"(printf .*\| *)?(\.venv/bin/)?(ucloud|ucloud-admin|ucloud-otp-admin) [a-z-]")
KEYS = {"ctrl-c ends it": b"\x03", "ctrl-] ends it": b"\x1d"}
BOOTS = re.compile(r"ucloud vm (?:create|start|reboot) (?!.*(?:--stopped|--no-wait))([a-z]+)")
URLS = ("https://api.example.com", "http://[::1]:8080")
OF_A_SECURE_ETCD = ("ucloud-admin etcd-roles",)
"""What the etcd of `make up`, which asks nobody who they are, is not for: tests/system/test_secure_etcd.py has it."""
MADE_BY_UP = ("ucloud-otp-admin create ucloud-api", "ucloud-otp-admin create admin", "ucloud-admin create admin")
COMMAND_S = 300
BOOT_S = 180


@dataclass
class Example:
    """A command as it stands in a document, the key that ends it, and the lines that it is said to print."""

    line: int
    command: str
    key: bytes = b""
    prints: list[str] = field(default_factory=list)


def _examples(document: str) -> list[Example]:
    found: list[Example] = []
    is_output = False
    for number, line in enumerate((PROJECT / document).read_text().splitlines(), start=1):
        text = line.strip()
        if not line.startswith("    ") or not text:
            is_output = False
        elif COMMAND.match(text):
            command, _, comment = text.partition("  #")
            key = next((key for words, key in KEYS.items() if words in comment), b"")
            found.append(Example(number, command.strip(), key))
            is_output = True
        elif is_output:
            found[-1].prints.append(text)
    return [example for example in found if not example.command.startswith((*MADE_BY_UP, *OF_A_SECURE_ETCD))]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """A cloud as `make up` makes it."""
    with running_cloud("docs", Shape(networks=True)) as cloud:
        first_vm.boot(cloud, lambda _: None)
        yield cloud


def test_readme_logs_in_at_the_first_vm_which_metadata_told_who_it_is(cloud: Cloud, tmp_path: Path) -> None:
    typed = next(line for line in (PROJECT / "README.md").read_text().splitlines() if line.startswith("    ssh "))
    command = typed.replace("/var/lib/ucloud-dev/dev", str(cloud.data)).replace("ADDRESS", first_vm.address(cloud))
    unknown = ("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={tmp_path}/known_hosts")

    def ask(question: str) -> str:
        done = subprocess.run([*command.split(), *unknown, question], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert ask("hostname") == first_vm.VM
    wait_for("its user data to have run", lambda: ask("cat /etc/motd; true").startswith("This is first:"), BOOT_S)
    assert ask("cat /root/.ssh/authorized_keys") == Path(f"{cloud.people.ssh_key}.pub").read_text().strip()


@pytest.fixture(scope="module")
def last_steps() -> dict[str, int]:
    """Of the tokens that were used to log in by hand."""
    return {}


@dataclass
class Reader:
    """Somebody who types what a document says."""

    cloud: Cloud
    home: Path
    name: str
    last_steps: dict[str, int]
    """The step of the last token that each used."""

    def __post_init__(self) -> None:
        (self.home / ".venv").symlink_to(PROJECT / ".venv")
        (self.home / ".local/share/bash-completion/completions").mkdir(parents=True)
        self.cloud.people.lend(self._contexts, "dev")
        if self.name == ADMIN:
            self._contexts.change(lambda contexts: contexts.used("dev-admin"))

    @property
    def _contexts(self) -> ContextsFile:
        return ContextsFile(self.home / "contexts.yaml")

    @property
    def _environment(self) -> dict[str, str]:
        mine = {
            "HOME": str(self.home),
            "UCLOUD_CONTEXT_FILE": str(self._contexts.path),
            "TERM": "xterm",
            "UNGLEICHOTPSERVER": f"http://[{self.cloud.network.control_address}]:9705/ungleichotp/",
        }
        return {name: value for name, value in self.cloud.env().items() if name != "UCLOUD_CONTEXT"} | mine

    def type(self, example: Example) -> str:
        """What a command prints; it must end well."""
        command = example.command
        for url in URLS:
            command = command.replace(url, self.cloud.url)
        for file in re.findall(r"image create .*--file \./(\S+)|file upload (\S+)", command):
            shutil.copyfile(first_vm.build_image(), self.home / "".join(file))
        if example.key or " login " in command:
            return self._in_terminal(command, example.key)
        booting = BOOTS.search(command)
        boots = len(self._boots(booting[1])) if booting else 0
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            env=self._environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.returncode} {done.stdout} {done.stderr}"
        if booting:
            wait_for(f"{booting[1]} up", lambda: self._boots(booting[1])[boots:] == [True], BOOT_S, interval_s=1)
        return done.stdout

    def _in_terminal(self, command: str, key: bytes) -> str:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "-c", f"exec {command}"], stdin=theirs, stdout=theirs, stderr=theirs,
            env=self._environment, cwd=self.home,
        )  # fmt: skip
        os.close(theirs)
        heard = b""

        def hears(what: bytes) -> bool:
            nonlocal heard
            while world.can_be_read(ours):
                try:
                    heard += os.read(ours, 65536)
                except OSError:  # it has ended
                    break
            return what in heard

        try:
            if key:
                wait_for(f"something from {command}", lambda: hears(b"") and len(heard) > 10, 30)
                os.write(ours, key)
            else:
                wait_for("the question for a one-time token", lambda: hears(b"One-time token"), 30)
                os.write(ours, self._next_token().encode() + b"\n")
            status = process.wait(60)
            hears(b"")
            assert status == 0, f"{command}: {status} {heard!r}"
            return heard.decode()
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    def _next_token(self) -> str:
        """A token that nobody has used yet: one of the moments to come, which count already, as clocks differ."""
        seed = self.cloud.people.seed_file(self.name).read_text().strip()
        step = max(_step(), self.last_steps.get(self.name, 0)) + 1
        wait_for("a token that counts", lambda: step <= _step() + WINDOW_STEPS, 60)
        self.last_steps[self.name] = step
        return pyotp.TOTP(seed).generate_otp(step)

    def _boots(self, vm: str) -> list[bool]:
        """Of each boot of a guest, whether it came to ask for a login."""
        try:
            log = first_vm.ucloud(self.cloud, "vm", "log", vm, user=USER)
        except DevcloudError:  # there is no such VM yet
            return []
        return ["login:" in boot for boot in log.split("UCGUEST boot-id")[1:]]


def _step() -> int:
    """The step of time that a token of now belongs to."""
    return int(time.time()) // 30


def _matches(printed: str, said: list[str]) -> bool:
    """Whether each line that is said stands in what was printed, in this order."""
    lines = iter([*printed.splitlines()])
    patterns = [re.escape(" ".join(line.split())).replace(r"\.\.\.", ".*").replace(r"\ ", r"\s+") for line in said]
    return all(any(re.fullmatch(rf"{pattern}\s*", line.strip()) for line in lines) for pattern in patterns)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("document", [document for document in DOCUMENTS if _examples(document)])
def test_each_example_does_what_the_text_says(
    cloud: Cloud, tmp_path: Path, last_steps: dict[str, int], document: str
) -> None:
    reader = Reader(cloud, tmp_path, ADMIN if document in ADMINS else USER, last_steps)
    for example in _examples(document):
        printed = reader.type(example)
        said = [line for line in example.prints if line != "..."]
        assert _matches(printed, said), f"{document}:{example.line}: {example.command} printed\n{printed}"


def test_the_readme_and_both_manuals_have_examples() -> None:
    assert len(_examples("README.md")) > 10
    assert len(_examples("docs/user-manual.md")) > 30
    assert len(_examples("docs/admin-manual.md")) > 10
