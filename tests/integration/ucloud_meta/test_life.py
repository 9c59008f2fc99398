"""Bridges, networks and the daemon itself come and go."""

import subprocess

from devcloud.waiting import wait_for
from tests.integration.ucloud_meta.world import DEADLINE_S, HOST, World, port, request


def test_a_bridge_that_comes_later_is_served_and_one_that_goes_is_given_up(world: World) -> None:
    world.networks(1, 2)
    world.bridge(1)
    world.daemon.start()
    first, second = port(1, 1), port(2, 2)
    world.place(request("first", first))
    world.place(request("second", second))
    world.answered(world.guest(first), "first")
    assert world.daemon.metric("ucloud_meta_networks") == 1
    world.bridge(2)
    guest = world.guest(second)
    world.answered(guest, "second")
    world.unbridge(2)
    wait_for("given up", lambda: world.daemon.metric("ucloud_meta_networks") == 1, DEADLINE_S)
    assert world.daemon.is_healthy()
    world.bridge(2)
    guest.plug()
    world.answered(guest, "second")


def test_a_network_is_served_while_vms_of_it_are_here(world: World) -> None:
    world.networks(1)
    world.bridge(1)
    world.daemon.start()
    assert world.daemon.metric("ucloud_meta_networks") == 0
    its = port(1, 1)
    for _ in range(2):
        world.place(request("a", its))
        wait_for("served", lambda: world.daemon.metric("ucloud_meta_networks") == 1, DEADLINE_S)
        world.unplace("a")
        wait_for("given up", lambda: world.daemon.metric("ucloud_meta_networks") == 0, DEADLINE_S)


def test_a_daemon_that_was_killed_answers_again(world: World) -> None:
    world.networks(1)
    world.bridge(1)
    world.daemon.start()
    its = port(1, 1)
    world.place(request("a", its))
    guest = world.guest(its)
    world.answered(guest, "a")
    for _ in range(2):
        world.daemon.kill()
        assert guest.who() == "0"
        world.daemon.start()
        world.answered(guest, "a")


def test_it_ends_when_it_is_told_to_with_connections_open(world: World) -> None:
    world.networks(1)
    world.bridge(1)
    world.daemon.start()
    its = port(1, 1)
    world.place(request("a", its))
    guest = world.guest(its)
    world.answered(guest, "a")
    script = "import socket; s = socket.create_connection(('fd00:ec2::254', 80)); print('open', flush=True); s.recv(1)"
    with guest.python(script) as client:
        assert client.stdout
        assert client.stdout.readline() == "open\n"
        assert world.daemon.end() == 0
        assert client.wait(DEADLINE_S) == 0


def test_a_network_that_is_not_there_yet_is_tried_again(world: World) -> None:
    world.bridge(1)
    world.daemon.start()
    its = port(1, 1)
    world.place(request("a", its))
    wait_for("told", lambda: not world.daemon.is_healthy(), DEADLINE_S)
    world.networks(1)
    world.answered(world.guest(its), "a")
    wait_for("well", world.daemon.is_healthy, DEADLINE_S)


def test_only_what_comes_over_the_bridge_is_answered(world: World) -> None:
    world.networks(1)
    world.bridge(1)
    world.daemon.start()
    its = port(1, 1)
    world.place(request("a", its))
    guest = world.guest(its)
    world.answered(guest, "a")
    curl = ["curl", "-sg", "--noproxy", "*", "-m", "2"]
    # Other machines find nobody at the host's own address, and the host itself is no port.
    command = [*curl, f"http://[{world.host.host_address(1)}]/"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 7
    command = ["ip", "netns", "exec", world.host.namespace(HOST), *curl, "http://[fd00:ec2::254]/"]
    assert subprocess.run(command, capture_output=True, check=False).stdout in (b"", b"403 Forbidden\n")
    # A guest that knows the host's own address gets nothing there.
    own = world.host.host_address(1)
    subprocess.run(guest.command("ip", "route", "add", own, "via", "fe80::a9fe:a9fe", "dev", "eth0"), check=True)
    assert guest.get("/", "-HHost: metadata", address=f"[{own}]").status == 0
