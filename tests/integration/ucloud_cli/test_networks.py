"""Networks, security groups, ports and ssh keys by the program `ucloud`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import keys
from common.schemas.network import NetworkActual, NetworkStatus
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import CREATE, Program
from tests.unit.common.schemas.test_ssh_key import ED25519, MADE


@pytest.fixture
def ann(as_user: Callable[[str], Program], world: World) -> Program:
    world.add_image()
    world.add_account("ann")
    return as_user("ann")


def test_a_network_from_creation_to_deletion(ann: Program) -> None:
    made = ann("network", "create", "lan", "--ipv4", "10.0.0.0/24", "-o", "json")
    network = json.loads(made.out)
    assert made.status == 0
    assert json.loads(ann("network-show", "lan", "-o", "json").out) == network
    listed = ann("network", "list").out.splitlines()
    assert listed[0].split() == ["NAME", "OWNER", "STATUS", "PREFIX", "IPV4", "ISOLATED", "PUBLIC"]
    assert listed[1].split() == ["lan", "ann", "UNUSED", network["prefix"], "10.0.0.0/24"]
    assert str(network["vni"]) in ann("network-list", "-o", "wide").out
    assert "office" in ann("network", "rename", "lan", "office").out
    assert ann("network", "set", "office", "--public").status == 3
    refused = ann("network", "create", "x", "--prefix", "fd00::/48")
    assert (refused.status, refused.one_line()[:38]) == (2, "ucloud: --prefix is not a /64 (allowed")
    assert "renamed from lan to office" in ann("network", "events", "office").out
    assert ann("network", "delete", "office").out == "office is deleted\n"
    assert ann("network", "show", "office").status == 4


def test_how_a_network_is_and_how_many_there_may_be(
    as_user: Callable[[str], Program], ann: Program, world: World
) -> None:
    admin = as_user("admin")
    assert admin("user", "set", "ann", "--networks", "1", "--security-groups", "0").status == 0
    made = json.loads(ann("network", "create", "lan", "-o", "json").out)
    refused = ann("network", "create", "other")
    assert (refused.status, "networks: 1 more asked for, 1 of 1 in use" in refused.one_line()) == (5, True)
    assert "security groups: 1 more asked for, 0 of 0 in use" in ann("security-group", "create", "web").one_line()
    whoami = ann("whoami").out.splitlines()
    assert [line.split()[-1] for line in whoami if line.startswith(("networks", "security groups"))] == ["1/1", "0/0"]
    world.add_host()
    for host, actual, reason in (("h1", NetworkActual.ACTIVE, ""), ("h2", NetworkActual.ERROR, "no room")):
        status = NetworkStatus(actual=actual, reason=reason, since=datetime.now(UTC), mtu=1430)
        world.put(keys.network_status(host, made["uuid"]), status)
    shown = admin("network", "show", "lan").out
    assert "h1  ACTIVE  mtu 1430" in shown
    assert "h2  UNKNOWN  host h2 is silent, it last said ERROR" in shown
    shown = ann("network", "show", "lan").out
    assert "ACTIVE" in shown
    assert "h1" not in shown


def test_vms_are_plugged_in_from_the_first_or_later(ann: Program, world: World, tmp_path: Path) -> None:
    for name in ("lan", "other"):
        assert ann("network", "create", name, "--ipv4", "10.0.0.0/24").status == 0
    assert ann("security-group", "create", "web").status == 0
    (tmp_path / "id.pub").write_text(ED25519)
    (tmp_path / "data").write_text("#!/bin/sh\n")
    assert ann("user", "ssh-key", "add", "laptop", str(tmp_path / "id.pub")).status == 0
    said = ann(
        *(*CREATE, "web", "--no-wait", "--network", "lan,ipv4=10.0.0.9,group=web", "--network", "other"),
        *("--ssh-key", "laptop", "--user-data", str(tmp_path / "data"), "--hostname", "www.example.org", "--seed-disk"),
        *("-o", "json"),
    )
    assert said.status == 0, said.err
    vm = json.loads(said.out)
    request = world.request_of(vm["uuid"])
    assert (request.ssh_keys, request.user_data, request.hostname) == ((ED25519,), "#!/bin/sh\n", "www.example.org")
    assert request.seed_disk
    first, second = vm["ports"]
    shown = ann("vm", "show", "web").out
    for text in ("10.0.0.9", first["ipv6"], first["mac"], second["id"], "groups web", "www.example.org", "SHA256:"):
        assert text in shown
    wide = ann("vm", "list", "-o", "wide").out
    assert all(text in wide for text in ("10.0.0.9", first["ipv6"], "lan other"))
    taken = ann(*CREATE, "db", "--no-wait", "--network", "lan,ipv4=10.0.0.9")
    assert (taken.status, taken.one_line()) == (5, "ucloud: networks.0.ipv4 is taken")
    wrong = ann(*CREATE, "db", "--no-wait", "--network", "lan,ipv4=10.1.0.9")
    assert wrong.one_line().startswith("ucloud: --network ipv4 is not one of the network's for VMs (allowed")
    assert "ucloud network list shows them" in ann(*CREATE, "db", "--no-wait", "--network", "lann").one_line()
    assert ann("vm", "attach", "web", "lan,ipv4", "--no-wait").status == 0
    several = ann("vm", "detach", "web", "lan", "--no-wait")
    assert (several.status, first["id"] in several.one_line()) == (1, True)
    assert ann("vm", "detach", "web", first["id"], "--no-wait").status == 0
    assert ann("vm", "detach", "web", "other", "--no-wait").status == 0
    (left,) = world.request_of(vm["uuid"]).ports
    assert left.network == first["network"]["uuid"]
    busy = ann("network", "delete", "lan")
    assert (busy.status, vm["uuid"] in busy.one_line()) == (5, True)
    assert ann("security-group", "delete", "web").status == 0


def test_rules_are_added_and_removed(ann: Program) -> None:
    for name in ("web", "db"):
        assert ann("security-group", "create", name).status == 0
    https = ("web", "--protocol", "tcp", "--port", "443")
    for _ in range(2):
        assert "in tcp 443 from anywhere" in ann("security-group", "rule", "add", *https).out
    assert ann("security-group-rule-add", "web", "--direction", "out", "--group", "db").status == 0
    shown = ann("security-group", "show", "web").out
    assert "out any to group db" in shown
    assert shown.count("in tcp 443") == 1
    assert ann("security-group", "delete", "db").status == 5
    unknown = ann("security-group", "rule", "remove", "web", "--protocol", "udp")
    assert (unknown.status, "there are: in tcp 443 from anywhere;" in unknown.one_line()) == (4, True)
    wrong = ann("security-group", "rule", "add", "web", "--protocol", "tcp", "--port", "0")
    assert wrong.one_line().startswith("ucloud: the rule first port is too small")
    assert ann("security-group", "rule", "remove", *https).status == 0
    assert ann("security-group", "rule", "remove", "web", "--direction", "out", "--group", "db").status == 0
    assert json.loads(ann("security-group", "show", "web", "-o", "json").out)["rules"] == []
    assert ann("security-group", "rename", "web", "www").status == 0
    assert ann("security-group-delete", "db").status == 0


def test_ssh_keys_are_added_listed_and_removed(
    as_user: Callable[[str], Program], ann: Program, world: World, tmp_path: Path
) -> None:
    assert ann("user", "ssh-key", "list").err == "ucloud: there are no ssh keys\n"
    file = tmp_path / "id.pub"
    file.write_text(MADE[0] + "\n")
    added = ann("user", "ssh-key", "add", "laptop", str(file))
    assert (added.status, MADE[1] in added.out) == (0, True)
    assert ann("user-ssh-key-add", "phone", "-", typed=ED25519).status == 0
    listed = ann("user", "ssh-key", "list").out.splitlines()
    assert listed[0].split() == ["NAME", "TYPE", "FINGERPRINT", "COMMENT"]
    assert listed[1].split() == ["laptop", "ssh-ed25519", MADE[1], "ann", "at", "home"]
    weak = ann("user", "ssh-key", "add", "x", "-", typed="-----BEGIN OPENSSH PRIVATE KEY-----")
    assert (weak.status, weak.one_line()[:30]) == (2, "ucloud: the key is a private k")
    assert [each["name"] for each in json.loads(ann("user-ssh-key-list", "-o", "json").out)] == ["laptop", "phone"]
    admin = as_user("admin")
    assert "phone" in admin("user", "ssh-key", "list", "--user", "ann").out
    assert admin("user", "ssh-key", "remove", "phone", "--user", "ann").status == 0
    assert ann("user", "ssh-key", "remove", "laptop").out == "laptop is removed\n"
    assert ann("user", "ssh-key", "remove", "laptop").status == 4
    assert not world.store.list(keys.SSH_KEY).entries
