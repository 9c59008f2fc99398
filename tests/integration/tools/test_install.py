"""`make install` into a folder that stands for a machine: its programs run there, systemd accepts its units."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
UNITS = Path("usr/lib/systemd/system")
SERVICES = sorted(unit.name for unit in (PROJECT / "systemd").glob("ucloud-*.service"))

EXPOSURE = {
    # Users of their own, no capabilities: 10 times what `systemd-analyze security` gives.
    "ucloud-api.service": 15,
    "ucloud-scheduler.service": 15,
    "ucloud-otp.service": 15,
    # A user of its own that opens raw sockets, as it answers guests out of their taps.
    "ucloud-ipam.service": 20,
    # A user of its own that may take port 80.
    "ucloud-meta.service": 20,
    # root, without capabilities: the store is root's.
    "ucloud-host.service": 20,
    # root, without capabilities: it shares memory with the guard.
    "ucloud-host-alive.service": 20,
    # root: it kills the processes of others, and comes before all.
    "ucloud-host-guard.service": 30,
    # root: it changes uploads' owners, and makes namespaces for the sandbox of qemu-img.
    "ucloud-image.service": 40,
    # root: disks change their owners.
    "ucloud-vm.service": 30,
    # root, to change the rules of the kernel's packet filter, and nothing else.
    "ucloud-firewall.service": 30,
    # root: it changes the machine's network.
    "ucloud-net.service": 30,
}


def _make(goal: str, root: Path) -> str:
    """What `make GOAL DESTDIR=root` says, with the machine's own Python, as an administrator calls it."""
    command = ["make", "--no-print-directory", "-C", str(PROJECT), goal, f"DESTDIR={root}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ucloud installed and the machine's own targets, which units refer to."""
    root = tmp_path_factory.mktemp("root")
    _make("install", root)
    for target in Path("/", UNITS).glob("*.target"):
        shutil.copy(target, root / UNITS, follow_symlinks=True)
    yield root
    shutil.rmtree(root)


def _run(root: Path, *command: str) -> str:
    """What a command prints where `root`/opt is /opt."""
    script = f'mkdir -p /opt && mount --bind "{root}/opt" /opt && exec "$@"'
    arguments = ["unshare", "--mount", "sh", "-eu", "-c", script, "sh", *command]
    return subprocess.run(arguments, check=True, capture_output=True, text=True, cwd="/").stdout


def test_the_client_says_its_version_and_completes(root: Path) -> None:
    link = str((root / "usr/bin/ucloud").readlink())
    assert re.fullmatch(r"ucloud, version \d+\.\d+\.\d+\n", _run(root, link, "--version"))
    completion = root / "usr/share/bash-completion/completions/ucloud"
    subprocess.run(["bash", "-n", completion], check=True)
    assert "complete" in completion.read_text()


def test_every_program_is_there_and_nothing_of_the_folder_it_was_made_in(root: Path) -> None:
    wanted = subprocess.run([PROJECT / "tools/programs", PROJECT / "pyproject.toml"], capture_output=True, text=True,
                            check=True).stdout.split()  # fmt: skip
    assert sorted(program.name for program in (root / "usr/bin").iterdir()) == sorted(wanted)
    for program in (root / "usr/bin").iterdir():
        inside = root / str(program.readlink()).lstrip("/")
        assert inside.read_text().startswith("#!/opt/ucloud/bin/python")
        assert str(root) not in inside.read_text()


def test_what_is_installed_is_what_was_locked(root: Path) -> None:
    frozen = _run(root, "/opt/ucloud/bin/python", "-m", "pip", "list", "--local", "--format=freeze").split()
    locked = subprocess.run([PROJECT / "tools/requirements", PROJECT / "Pipfile.lock"], capture_output=True, text=True,
                            check=True).stdout.splitlines()  # fmt: skip
    for line in locked:
        pinned = re.split(r"[; ]", line)[0].lower().replace("_", "-")
        assert pinned in {each.lower().replace("_", "-") for each in frozen}


def test_systemd_accepts_the_units(root: Path) -> None:
    units = [*SERVICES, "ucloud.target", "ucloud-control.target", "ucloud-host.target"]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", f"--root={root}", *units], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_each_service_has_a_unit_that_notifies_restarts_and_is_pulled_in_by_a_target(root: Path) -> None:
    daemons = {f"{program.name}.service" for program in (root / "usr/bin").iterdir()}
    tools = {"ucloud", "ucloud-cli", "ucloud-admin", "ucloud-otp-admin", "ucloud-libvirt-prepare"}
    assert daemons - {f"{tool}.service" for tool in tools} == set(SERVICES)
    also = " ".join(re.findall(r"^Also=(.*)$", "".join(p.read_text() for p in (root / UNITS).glob("ucloud*.target")),
                               re.MULTILINE))  # fmt: skip
    assert set(SERVICES) < set(also.split())
    common = (root / UNITS / "ucloud-.service.d/sandbox.conf").read_text()
    assert {"Type=notify", "Restart=always", "ProtectSystem=strict", "NoNewPrivileges=yes"} < set(common.splitlines())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_exposed_no_more_than_it_must_be(root: Path, service: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--root={root}", f"--threshold={EXPOSURE[service]}",
         "--no-pager", service], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_installing_again_keeps_settings_and_removing_keeps_them_too(root: Path, tmp_path: Path) -> None:
    # The units and links alone: what takes its time was tried above.
    settings = root / "etc/ucloud/ucloud.conf"
    settings.write_text("[log]\nlevel = DEBUG\n")
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns("site-packages"))
    _make("uninstall", copy)
    left = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file() or path.is_symlink()}
    assert {path for path in left if path.suffix != ".target"} == {Path("etc/ucloud/ucloud.conf")}
    assert (copy / "etc/ucloud/ucloud.conf").read_text() == settings.read_text()
