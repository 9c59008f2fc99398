"""An etcd of three members behind TLS, where each daemon may do what it has to and nothing else, and its backup."""

import configparser
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.errors import DevcloudError
from devcloud.etcd import find_binary
from devcloud.host import VmHost
from devcloud.people import USER
from devcloud.waiting import wait_for
from tests.system import world
from tests.system.conftest import running_cloud

SPECS = ("--image", "guest", "--cpu", "1", "--ram", "96MiB", "--ssd", "1")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """Two hosts without guests, all of their daemons, and the image "guest"."""
    shape = Shape(hosts=2, etcd_members=3, secure_etcd=True, hypervisor="test", networks=True)
    with running_cloud("secure", shape) as cloud:
        for host in cloud.hosts:
            _forget_orphans_soon(cloud, host)
        image = first_vm.build_image()
        shutil.copyfile(image, cloud.upload_directory("admin") / image.name)
        first_vm.ucloud(cloud, "image", "create", "guest", "--file", image.name, "--public")
        yield cloud


def _forget_orphans_soon(cloud: Cloud, host: VmHost) -> None:
    """Have a host end what nothing orders to it after seconds, not after a minute."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(host.settings_file)
    settings["vm"]["orphan_grace_s"] = "5"
    with host.settings_file.open("w", encoding="utf-8") as file:
        settings.write(file)
    program = f"ucloud-vm@{host.name}"
    cloud.wait_restarted(program, cloud.kill(program))


def _ucloud(cloud: Cloud, *arguments: str) -> str:
    return first_vm.ucloud(cloud, *arguments, user=USER)


def _what_is_wrong(cloud: Cloud) -> set[str]:
    """What the doctor finds, but for the release of etcd."""
    try:
        findings = json.loads(first_vm.ucloud(cloud, "doctor", "-o", "json"))
    except DevcloudError as error:
        return {str(error)}
    return {each["sentence"] for each in findings if each["code"] != "etcd-version"}


def _etcdctl(cloud: Cloud, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    pki = cloud.etcd_users.folder
    options = ["--cacert", f"{pki}/ca.pem", *(["--cert", f"{pki}/{user}.pem", "--key", f"{pki}/{user}.key"])]
    command = [str(find_binary().parent / "etcdctl"), "--endpoints", f"https://{cloud.etcd_endpoints[0]}", *options]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_a_vm_lives_its_life_and_no_daemon_is_refused_anything(cloud: Cloud) -> None:
    _ucloud(cloud, "network", "create", "blue")
    _ucloud(cloud, "security-group", "create", "web")
    _ucloud(cloud, "security-group", "rule", "add", "web", "--group", "web")
    _ucloud(cloud, "vm", "create", "one", *SPECS, "--network", "blue,group=web")
    for verb in ("suspend", "resume", "reboot", "stop", "start"):
        _ucloud(cloud, "vm", verb, "one")
    _ucloud(cloud, "vm", "rename", "one", "two")
    _ucloud(cloud, "vm", "resize", "two", "--cpu", "2")
    _ucloud(cloud, "vm", "delete", "two")
    _ucloud(cloud, "security-group", "delete", "web")
    _ucloud(cloud, "network", "delete", "blue")
    first_vm.ucloud(cloud, "user", "create", "carol", "--vms", "1")
    first_vm.ucloud(cloud, "user", "delete", "carol")
    first_vm.ucloud(cloud, "host", "set", "h1", "--state", "disabled")
    first_vm.ucloud(cloud, "host", "set", "h1", "--state", "enabled")
    _check_nobody_was_refused(cloud)


def _check_nobody_was_refused(cloud: Cloud) -> None:
    for program in cloud.programs():
        assert "permission denied" not in cloud.services.log(program).read_text(encoding="utf-8"), program


def test_a_silent_host_is_judged_and_takes_the_verdict_back_itself(cloud: Cloud) -> None:
    def verdict() -> str:
        return _etcdctl(cloud, "root", "get", "/v1/verdict/h2").stdout

    cloud.pause("ucloud-host-alive@h2")
    try:
        wait_for("a verdict on h2", verdict, 60)
    finally:
        cloud.resume("ucloud-host-alive@h2")
    wait_for("no verdict any more", lambda: not verdict(), 60)
    assert json.loads(first_vm.ucloud(cloud, "host", "show", "h2", "-o", "json"))["status"] == "ALIVE"
    _check_nobody_was_refused(cloud)


def test_the_doctor_finds_nothing_wrong(cloud: Cloud) -> None:
    for name in ("left", "right"):
        _ucloud(cloud, "vm", "create", name, *SPECS)
    wait_for("nothing wrong", lambda: _what_is_wrong(cloud) == set(), 60)
    assert "It is to be RUNNING, which it is." in _ucloud(cloud, "vm", "why", "left")
    told = [event["what"] for event in json.loads(_ucloud(cloud, "vm", "events", "left", "-o", "json"))]
    assert told[0].startswith("created: left")
    assert "RUNNING" in told
    for name in ("left", "right"):
        _ucloud(cloud, "vm", "delete", name)


def test_nobody_gets_in_without_a_certificate_of_this_authority(cloud: Cloud, tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[2] / "tools/etcd-pki"
    subprocess.run([tool, tmp_path, "client", "root"], check=True)
    stranger = ["--cert", f"{tmp_path}/root.pem", "--key", f"{tmp_path}/root.key"]
    command = [str(find_binary().parent / "etcdctl"), "--endpoints", f"https://{cloud.etcd_endpoints[0]}"]
    options = ["--cacert", f"{cloud.etcd_users.folder}/ca.pem", "--command-timeout=2s"]
    for certificate in ([], stranger):
        done = subprocess.run(
            [*command, *options, *certificate, "get", "/"], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0
        assert done.stdout == ""


def test_only_their_owner_reads_the_keys(cloud: Cloud) -> None:
    keys = list(cloud.etcd_users.folder.glob("*.key"))
    assert len(keys) >= 10
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}


@pytest.mark.timeout(300)
def test_a_backup_that_is_restored_is_taken_up_where_it_was(cloud: Cloud, tmp_path: Path) -> None:
    _ucloud(cloud, "vm", "create", "kept", *SPECS, "--stopped")
    snapshot = tmp_path / "snapshot.db"
    saved = _etcdctl(cloud, "root", "snapshot", "save", str(snapshot))
    assert saved.returncode == 0, saved.stderr
    later = json.loads(_ucloud(cloud, "vm", "create", "later", *SPECS, "-o", "json"))["uuid"]

    members = [program for program in cloud.programs() if program.startswith("etcd")]
    control = [program for program in cloud.programs() if program.startswith("ucloud-") and "@" not in program]
    for program in (*control, *members):
        cloud.services.stop(program)
    _restore(cloud, snapshot, members)
    for program in (*members, *control):
        cloud.services.start(program)
    cloud.wait_ready()

    assert [vm["name"] for vm in json.loads(_ucloud(cloud, "vm", "list", "-o", "json"))] == ["kept"]
    _ucloud(cloud, "vm", "start", "kept")
    _ucloud(cloud, "vm", "delete", "kept")

    def is_off() -> bool:
        return all(later not in world.virsh(cloud, host.name, "list", "--uuid") for host in cloud.hosts)

    wait_for("the VM that the backup does not know, off", is_off, 120, interval_s=1)


def _restore(cloud: Cloud, snapshot: Path, members: list[str]) -> None:
    """As the manual says."""
    address = cloud.network.control_address
    peers = {member: f"https://[{address}]:{2380 + 10 * number}" for number, member in enumerate(members)}
    for member, peer in peers.items():
        directory = cloud.data / member
        shutil.rmtree(directory)
        options = {
            "name": member,
            "data-dir": str(directory),
            "initial-cluster": ",".join(f"{name}={url}" for name, url in peers.items()),
            "initial-cluster-token": cloud.identity,
            "initial-advertise-peer-urls": peer,
            "bump-revision": "1000000000",
        }
        command = [str(find_binary().parent / "etcdutl"), "snapshot", "restore", str(snapshot), "--mark-compacted"]
        arguments = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run([*command, *arguments], check=True, capture_output=True)
