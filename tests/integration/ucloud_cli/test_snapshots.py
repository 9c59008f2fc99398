"""Snapshots as a user types them: waited for until they are there, listed, rolled back to, made images of."""

import json

from common.schemas.snapshot import SnapshotActual, SnapshotReport
from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import DEADLINE_S, Program, meanwhile


def take(world: World, uuid: str, actual: Actual = Actual.RUNNING) -> None:
    """Its host takes all that are wanted."""
    wait_for("the request", lambda: world.request_of(uuid).snapshots, DEADLINE_S)
    reports = tuple(
        SnapshotReport(id=each.id, actual=SnapshotActual.READY) for each in world.request_of(uuid).snapshots
    )
    world.place(uuid)
    world.report(uuid, actual, snapshots=reports)


def test_a_snapshot_from_its_wish_to_its_end(ucloud: Program, world: World, vm: str) -> None:
    host = meanwhile(lambda: take(world, vm))
    said = ucloud("vm", "snapshot", "create", "web", "before")
    host.join()
    assert said.status == 0, said
    listed = ucloud("vm", "snapshot", "list", "web")
    assert listed.out.split()[:5] == ["NAME", "STATUS", "TAKEN", "DISKS", "REASON"]
    assert "before  READY" in listed.out
    assert "root=4GiB" in listed.out
    assert "before  READY" in ucloud("vm", "show", "web").out

    twice = ucloud("vm", "snapshot", "create", "web", "before", "--no-wait")
    assert (twice.status, 'the name "before" is taken' in twice.err) == (5, True), twice
    none = ucloud("vm", "snapshot", "rollback", "web", "after")
    assert 'web has no snapshot "after"; there are: before' in none.err
    on = ucloud("vm", "snapshot", "rollback", "web", "before")
    assert (on.status, "stop it first" in on.err) == (5, True), on

    assert ucloud("vm", "stop", "web", "--no-wait").status == 0
    take(world, vm, Actual.STOPPED)
    wait_for("it to stop", lambda: "STOPPED" in ucloud("vm", "list").out, DEADLINE_S)
    assert ucloud("vm", "snapshot", "rollback", "web", "before", "--no-wait").status == 0
    assert "to before, yet to be done" in ucloud("vm", "show", "web").out
    kept = ucloud("vm", "snapshot", "delete", "web", "before", "--no-wait")
    assert (kept.status, "yet to be rolled back" in kept.err) == (5, True), kept


def test_an_image_is_made_of_a_file_or_of_a_snapshot(ucloud: Program, world: World, vm: str) -> None:
    assert ucloud("vm", "snapshot", "create", "web", "before", "--no-wait").status == 0
    take(world, vm)
    wait_for("it", lambda: "READY" in ucloud("vm", "snapshot", "list", "web").out, DEADLINE_S)
    made = ucloud("image", "create", "copy", "--from-vm", "web", "--snapshot", "before", "--no-wait", "-o", "json")
    assert made.status == 0, made
    assert json.loads(made.out)["source"]["vm"] == vm
    assert "web@before" in ucloud("image", "list").out
    for options in ((), ("--from-vm", "web"), ("--snapshot", "before"), ("--file", "f", "--from-vm", "web")):
        refused = ucloud("image", "create", "x", *options)
        assert refused.status == 2, refused
        assert "say what to make it from" in refused.err
