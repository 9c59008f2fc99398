"""Projects by the program `ucloud`, and how commands mean a project's things."""

import json
from collections.abc import Callable

import pytest
import yaml

from common.schemas.user import Quota
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import SPECS, Program

VM = ("--image", "debian", *SPECS, "--no-wait")


@pytest.fixture
def web(ucloud: Program, world: World) -> None:
    """The project "web" of ann, in which bob reads."""
    world.add_image()
    for name in ("ann", "bob"):
        world.add_account(name, quota=Quota(vms=5, cpu=5, ram_mib=10_000, ssd_mib=100_000))
    assert ucloud("project", "create", "web", "--owner", "ann", "--vms", "3").status == 0
    assert ucloud("project", "member", "add", "web", "bob", "--role", "reader").status == 0


@pytest.mark.usefixtures("web")
def test_a_project_from_creation_to_deletion(ucloud: Program) -> None:
    listed = ucloud("project", "list").out.splitlines()
    assert listed[0].split() == ["NAME", "ROLE", "MEMBERS", "VMS", "CPU", "RAM", "SSD", "HDD"]
    assert listed[1].split()[:3] == ["web", "2", "0/3"]
    assert "ann: owner" in ucloud("project", "show", "web").out
    assert json.loads(ucloud("project", "show", "web", "-o", "json").out)["quota"]["vms"] == 3
    assert "0/5" in ucloud("project", "set", "web", "--vms", "5").out
    assert ucloud("project", "member", "set", "web", "bob", "--role", "member").status == 0
    assert [line.split() for line in ucloud("project", "member", "list", "web", "--no-header").out.splitlines()] == [
        ["ann", "owner"],
        ["bob", "member"],
    ]
    assert ucloud("project", "member", "remove", "web", "ann").one_line() == (
        'ucloud: the project "web" has no other owner: make another one first'
    )
    assert ucloud("project", "member", "remove", "web", "bob").out == "bob is no member of web any more\n"
    assert "bob is no member now" in ucloud("project", "events", "web").out
    assert ucloud("project", "delete", "web").out == "web is deleted\n"
    assert ucloud("project", "show", "web").status == 4


@pytest.mark.usefixtures("web")
def test_things_of_a_project_are_made_found_and_listed(as_user: Callable[[str], Program]) -> None:
    ann, bob = as_user("ann"), as_user("bob")
    for project in ("web", ""):
        assert ann("vm", "create", "www", *VM, "--project", project).status == 0
    assert ann("vm", "show", "www").one_line() == (
        'ucloud: "www" is the name of 2 VMs, say which: project:web/www, ann/www'
    )
    assert "project:web" in ann("--project", "web", "vm", "show", "www").out
    assert "project:web" in bob("vm", "show", "project:web/www").out
    assert bob("vm", "stop", "www", "--no-wait").status == 3
    assert ann("network", "create", "lan", "--project", "web").status == 0
    assert ann("security-group", "create", "in", "--project", "web").status == 0
    listed = [line.split()[0] for line in ann("image", "list", "--project", "web", "--no-header").out.splitlines()]
    assert listed == ["debian"], "a public one is everybody's"
    assert [line.split()[1] for line in ann("vm", "list", "--project", "web", "--no-header").out.splitlines()] == [
        "project:web"
    ]
    assert ann("vm", "delete", "www", "--project", "web", "--no-wait").status == 0
    missing = ann("vm", "show", "mine", "--project", "web")
    assert (missing.status, "www" in missing.err) == (4, True)


@pytest.mark.usefixtures("web")
def test_a_project_is_used_until_something_else_is_said(
    as_user: Callable[[str], Program], api_url: str, world: World
) -> None:
    ann = as_user("ann")
    token = ann.environment.pop("UCLOUD_TOKEN")
    del ann.environment["UCLOUD_URL"]
    content = {"current": "a", "contexts": {"a": {"url": api_url, "user": "ann", "token": token}}}
    ann.contexts_path.touch(0o600)
    ann.contexts_path.write_text(yaml.safe_dump(content))
    assert ann("project", "use", "web").out == "a: the project web\n"
    assert json.loads(ann("network", "create", "lan", "-o", "json").out)["owner"] == "project:web"
    assert ann("context", "list", "--columns", "name,project", "--no-header").out.split() == ["a", "web"]
    assert json.loads(ann("network", "create", "own", "--project", "", "-o", "json").out)["owner"] == "ann"
    assert [line.split()[0] for line in ann("network", "list", "--no-header").out.splitlines()] == ["lan"]
    assert ann("network", "delete", "own").status == 4
    assert ann("network", "list", "--no-header", "--project", "").out.count("\n") == 2
    assert ann("project", "use", "nonesuch").status == 4
    assert ann("project", "use", "--none").out == "a: no project\n"
    assert ann("network", "delete", "own").status == 0
    assert world.store
