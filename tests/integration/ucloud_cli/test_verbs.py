"""Each verb of a VM's life, as a user types it: what is requested, when it is done, what is said if it can't be."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from common import keys
from common.schemas.user import Quota
from common.schemas.vm import Actual, Specs, VmRequest, VmStatus
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import CREATE, DEADLINE_S, Program, Said, await_status, meanwhile


def while_host_does(
    world: World, uuid: str, wanted: Callable[[VmRequest], bool], act: Callable[[], None], run: Callable[[], Said]
) -> Said:
    """What the program says while the host does something as soon as it is wanted."""

    def host() -> None:
        wait_for("the request", lambda: wanted(world.request_of(uuid)), DEADLINE_S)
        act()

    thread = meanwhile(host)
    said = run()
    thread.join()
    return said


def test_verbs_request_a_state_and_wait_for_it(ucloud: Program, world: World, vm: str) -> None:
    for verb, requested, actual in (
        ("suspend", "SUSPENDED", Actual.SUSPENDED),
        ("resume", "RUNNING", Actual.RUNNING),
        ("stop", "STOPPED", Actual.STOPPED),
        ("start", "RUNNING", Actual.RUNNING),
    ):
        generation = world.request_of(vm).generation

        def wanted(request: VmRequest, generation: int = generation, requested: str = requested) -> bool:
            return request.generation > generation and request.requested == requested

        said = while_host_does(world, vm, wanted, partial(world.run, vm, actual), partial(ucloud, "vm", verb, "web"))
        assert (said.status, said.out.splitlines()[1].split()[2]) == (0, actual), said


def test_a_verb_that_the_state_does_not_allow_names_the_state_and_what_is_allowed(
    ucloud: Program, world: World, vm: str
) -> None:
    world.run(vm, Actual.STOPPED)
    await_status(ucloud, "STOPPED")
    said = ucloud("vm", "suspend", "web")
    assert said.status == 5
    line = said.one_line()
    assert "STOPPED" in line
    assert "start" in line
    assert world.request_of(vm).generation == 1


def test_a_reboot_is_done_when_the_guest_runs_again(ucloud: Program, world: World, vm: str) -> None:
    process = ucloud.start("vm", "reboot", "web")
    assert process.stderr
    wait_for("the reboot to be asked for", lambda: world.request_of(vm).reboots == 1, DEADLINE_S)
    for state in (Actual.STOPPING, Actual.STARTING):
        world.run(vm, state)
        # The line of progress comes before the next step, and the program waits on.
        assert any(line.startswith(f"web: {state}") for line in iter(process.stderr.readline, ""))
        assert process.poll() is None
    world.run(vm, Actual.RUNNING)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "RUNNING" in out


def test_the_power_is_cut_by_force_alone(ucloud: Program, world: World, vm: str) -> None:
    assert ucloud("vm", "reboot", "web", "--no-wait").status == 0
    assert not world.request_of(vm).force
    assert ucloud("vm", "stop", "web", "--force", "--no-wait").status == 0
    request = world.request_of(vm)
    assert (request.force, request.requested) == (True, "STOPPED")


def test_a_stop_that_somebody_overtakes_says_so(ucloud: Program, world: World, vm: str) -> None:
    def somebody() -> None:
        assert ucloud("vm", "start", "web", "--no-wait").status == 0

    said = while_host_does(
        world, vm, lambda request: request.requested == "STOPPED", somebody, lambda: ucloud("vm", "stop", "web")
    )
    assert said.status == 1
    assert said.err.splitlines()[-1] == "ucloud: web: no longer waited for: somebody requested RUNNING meanwhile"


def test_a_vm_is_renamed(ucloud: Program, world: World, vm: str) -> None:
    said = ucloud("vm", "rename", "web", "shop", "--no-wait")
    assert (said.status, said.out.splitlines()[1].split()[0]) == (0, "shop")
    assert world.request_of(vm).name == "shop"
    assert ucloud("vm", "show", "web").status == 4
    assert "the name is not of the allowed form" in ucloud("vm", "rename", "shop", "No Name").one_line()


def test_a_resize_says_that_it_needs_a_restart(ucloud: Program, world: World, vm: str) -> None:
    old = Specs.of(cpu=1, ram_mib=512, ssd_mib=4096)

    def host() -> None:
        world.place(vm)
        status = VmStatus(epoch=1, generation=2, actual=Actual.RUNNING, since=datetime.now(UTC), specs=old)
        world.put(keys.vm_status("h1", vm), status)

    said = while_host_does(
        world, vm, lambda request: request.specs.cpu == 2, host, lambda: ucloud("vm", "resize", "web", "--cpu", "2")
    )
    assert said.status == 0, said
    assert said.err.splitlines()[-1] == ("ucloud: web: takes effect at the next start or reboot: ucloud vm reboot web")
    specs = world.request_of(vm).specs
    assert (specs.cpu, specs.ram_mib, specs.ssd_mib) == (2, 512, 4096)


def test_a_disk_does_not_shrink(ucloud: Program, world: World, vm: str) -> None:
    said = ucloud("vm", "resize", "web", "--ssd", "3")
    assert said.status in (2, 5)
    assert "--ssd" in said.one_line() or "ssd" in said.one_line()


def test_disks_are_said_shown_added_grown_and_removed(ucloud: Program, world: World, vm: str) -> None:
    many = ("--ssd", "2", "--hdd", "512MiB", "--hdd", "3", "--no-wait")
    said = ucloud(*CREATE, "many", *many)
    assert said.status == 0, said
    shown = json.loads(ucloud("vm", "show", "many", "-o", "json").out)
    assert [(disk["kind"], disk["size"]) for disk in shown["disks"]] == [
        ("ssd", 4), ("ssd", 2), ("hdd", "512MiB"), ("hdd", 3),
    ]  # fmt: skip
    assert shown["disks"][1]["serial"] in ucloud("vm", "show", "many").out

    assert ucloud("vm", "disk", "add", "web", "--ssd", "1", "--no-wait").status == 0
    assert ucloud("vm", "disk", "add", "web", "--hdd", "8", "--no-wait").status == 0
    listed = [line.split() for line in ucloud("vm", "disk", "list", "web").out.splitlines()]
    assert [(line[0], line[1]) for line in listed[:2]] == [("SERIAL", "KIND"), ("root", "ssd")]
    serial = listed[2][0]
    assert ucloud("vm", "disk", "grow", "web", serial, "2GiB", "--no-wait").status == 0
    assert [disk.size_mib for disk in world.request_of(vm).specs.disks] == [4096, 2048, 8192]
    assert ucloud("vm", "disk", "grow", "web", serial, "1").one_line() == (
        "ucloud: the size is smaller than the disk, and disks only grow (allowed: at least 2 GiB)"
    )
    assert "only with its VM" in ucloud("vm", "disk", "remove", "web", "root").one_line()
    assert "--ssd or --hdd" in ucloud("vm", "disk", "add", "web").err
    assert ucloud("vm", "disk", "remove", "web", serial, "--no-wait").status == 0
    assert [disk.size_mib for disk in world.request_of(vm).specs.disks] == [4096, 8192]


def test_what_is_protected_is_not_deleted(ucloud: Program, world: World, vm: str) -> None:
    assert ucloud("vm", "protect", "web", "--no-wait").status == 0
    said = ucloud("vm", "delete", "web")
    assert said.status == 5
    assert "ucloud vm unprotect" in said.one_line()
    assert ucloud("vm", "unprotect", "web", "--no-wait").status == 0
    assert ucloud("vm", "rm", "web", "--no-wait").status == 0
    assert world.request_of(vm).requested == "DELETED"


def test_events_are_listed(ucloud: Program, vm: str) -> None:
    assert ucloud("vm", "events", "web").out.split()[:2] == ["AT", "WHAT"]
    events = json.loads(ucloud("vm", "events", "web", "-o", "json").out)
    assert [event["what"].split(":")[0] for event in events] == ["created"]


def test_a_vm_that_is_off_has_no_console_log_or_screen(ucloud: Program, vm: str) -> None:
    for arguments in (("console",), ("log",), ("screenshot", "-f", "/nonexistent/x.png")):
        said = ucloud("vm", arguments[0], "web", *arguments[1:])
        assert said.status == 5, said
        assert said.one_line()


def test_over_quota_tells_the_figures_and_where_to_see_them(as_user: Callable[[str], Program], world: World) -> None:
    world.add_image()
    world.add_account("ann", quota=Quota(vms=5, cpu=1, ram_mib=65536, ssd_mib=65536, hdd_mib=0))
    ann = as_user("ann")
    admin = as_user("admin")
    assert admin("image", "set", "debian", "--public").status == 0
    assert ann(*CREATE, "--no-wait").status == 0
    said = ann(*CREATE, "--no-wait")
    assert said.status == 5
    assert "CPU" in said.one_line()
    assert "ucloud whoami" in said.one_line()
    assert "1/1" in ann("whoami").out


def test_users_are_made_changed_and_deleted(ucloud: Program, world: World) -> None:
    said = ucloud("user", "create", "ann", "--cpu", "4", "--ram", "8GiB")
    assert said.status == 0, said
    shown = json.loads(ucloud("user", "show", "ann", "-o", "json").out)
    limits = {"vms": 10, "cpu": 4, "ram": 8, "ssd": 500, "hdd": 2000}
    assert shown["quota"] == limits | {"networks": 10, "security_groups": 50}
    assert ucloud("user", "create", "ann").status == 5
    assert ucloud("user", "set", "ann", "--vms", "3", "--admin").status == 0
    shown = json.loads(ucloud("user", "show", "ann", "-o", "json").out)
    assert (shown["quota"]["vms"], shown["quota"]["cpu"], shown["is_admin"], shown["enabled"]) == (3, 4, True, True)
    assert ucloud("user", "set", "ann", "--unlimited", "--no-admin", "--disable").status == 0
    shown = json.loads(ucloud("user", "show", "ann", "-o", "json").out)
    assert (shown["quota"], shown["is_admin"], shown["enabled"]) == (None, False, False)
    assert ucloud("user", "set", "ann", "--hdd", "1TiB").status == 0
    assert json.loads(ucloud("user", "show", "ann", "-o", "json").out)["quota"]["hdd"] == 1024
    assert ucloud("user", "show", "anne").one_line() == (
        'ucloud: there is no user "anne"; did you mean ann? (ucloud user list shows them)'
    )
    assert ucloud("user", "delete", "ann").out == "ann is deleted\n"
    assert ucloud("user-show", "ann").status == 4
