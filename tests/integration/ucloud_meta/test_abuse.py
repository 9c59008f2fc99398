"""Guests that are used by others, that want too much, or that are slow on purpose."""

import threading

from devcloud.waiting import wait_for
from tests.integration.ucloud_meta.world import DEADLINE_S, Guest, World, port, request

SECRET = "hunter2-in-user-data"
KEY = "ssh-ed25519 AAAAC3secretkey ann@laptop"
BURST = 200

ASK = """
import re, socket, sys
s = socket.create_connection(("fd00:ec2::254", 80))
s.sendall(b"GET /latest/meta-data/instance-id HTTP/1.1\\r\\nHost: metadata\\r\\n\\r\\n" * int(sys.argv[1]))
s.settimeout(20)
got = b""
try:
    while data := s.recv(65536):
        got += data
except OSError:
    pass
print(*[status.decode() for status in re.findall(rb"HTTP/1.1 (\\d+)", got)])
"""

HOLD = """
import socket, sys
head = sys.argv[1].encode().decode("unicode_escape").encode()
ends = []
for _ in range(int(sys.argv[2])):
    try:
        s = socket.create_connection(("fd00:ec2::254", 80), timeout=1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(head)
        ends.append(s)
    except OSError:
        pass
print("ready", flush=True)
sys.stdin.readline()
for s in ends:
    s.settimeout(30)
    try:
        while sys.argv[3] == "reads" and s.recv(65536):
            pass
    except ConnectionError:
        pass
    s.close()
print("ended", flush=True)
"""


def _pair(world: World, networks: tuple[int, int] = (1, 1)) -> tuple[Guest, Guest]:
    """Two guests that are answered, of which the first has a lot to read."""
    world.networks(*set(networks))
    world.bridge(*set(networks))
    world.daemon.start()
    first, second = port(1, networks[0]), port(2, networks[1])
    world.place(request("first", first, user_data=SECRET * 20_000, ssh_keys=(KEY,)))
    world.place(request("second", second, user_data=SECRET, ssh_keys=(KEY,)))
    guests = world.guest(first), world.guest(second)
    world.answered(guests[0], "first")
    world.answered(guests[1], "second")
    return guests


def test_what_was_handed_on_or_meant_for_another_is_refused(world: World) -> None:
    guest, _ = _pair(world)
    path = "/latest/user-data"
    for field in ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Via: 1.1 proxy", "Host: evil.example"):
        reply = guest.get(path, f"-H{field}")
        assert (reply.status, SECRET in reply.body) == (403, False), field
    assert guest.get(path, "--request-target", "http://169.254.169.254/latest/user-data").status == 400
    assert guest.get(path, "-XPOST").status == guest.get(path, "-XDELETE").status == 405
    assert guest.get(path, "-dbody").status == 413
    assert guest.get(path, "-HX-Big: " + "x" * 20_000).status == 431
    assert guest.get("/latest/../etc/passwd").status == guest.get("/latest/%2e%2e/").status == 404
    assert guest.get(path).status == 200


def test_a_token_as_clients_insist_on_it(world: World) -> None:
    guest, _ = _pair(world)
    token = guest.get("/latest/api/token", "-XPUT", "-HX-aws-ec2-metadata-token-ttl-seconds: 21600")
    assert token.status == 200
    assert "x-aws-ec2-metadata-token-ttl-seconds: 21600" in token.headers.lower()
    reply = guest.get("/latest/meta-data/instance-id", f"-HX-aws-ec2-metadata-token: {token.body}")
    assert reply.body == "first"
    assert guest.get("/latest/api/token", "-XPUT").status == 400


def test_who_asks_too_often_waits_and_nobody_else_does(world: World) -> None:
    guest, other = _pair(world)
    with guest.python(ASK, str(3 * BURST)) as client:
        statuses = client.communicate(timeout=60)[0].split()
    assert statuses[-1] == "429"
    assert set(statuses[:-1]) == {"200"}
    assert BURST / 2 < len(statuses) < 2 * BURST
    refused = guest.get("/latest/meta-data/instance-id")
    if refused.status == 429:  # unless this machine was too slow to ask soon enough
        assert "retry-after: 1" in refused.headers.lower()
    assert other.who() == "second"
    wait_for("answered again", lambda: guest.who() == "first", DEADLINE_S)


def _hold(world: World, guests: tuple[Guest, Guest], said: str, *, reads: bool) -> None:
    """While the first guest holds as many connections as it gets, the other is answered.

    If it `reads` at last, it sees that they are ended.
    """
    with guests[0].python(HOLD, said, "60", "reads" if reads else "") as client:
        assert client.stdin
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
        for _ in range(5):
            assert guests[1].who() == "second"
        assert world.daemon.metric("ucloud_meta_turned_away_total") >= 50
        client.stdin.write("\n")
        client.stdin.flush()
        assert client.stdout.readline() == "ended\n"
    wait_for("answered again", lambda: guests[0].who() == "first", DEADLINE_S)


def test_a_guest_that_says_things_slowly_blocks_nobody(world: World) -> None:
    _hold(world, _pair(world), "GET /latest/meta-data/ HTTP/1.1\\r\\nHost: meta", reads=True)


def test_a_guest_that_does_not_read_blocks_nobody(world: World) -> None:
    said = "GET /latest/user-data HTTP/1.1\\r\\nHost: metadata\\r\\n\\r\\n"
    _hold(world, _pair(world, (1, 2)), said * 3, reads=False)


def test_a_flood_of_connections_on_one_network_leaves_the_other_in_peace(world: World) -> None:
    guests = _pair(world, (1, 2))
    stop = threading.Event()
    script = (
        "import socket\nprint('ready', flush=True)\nwhile True:\n try: socket.create_connection(('fd00:ec2::254', 80))"
        ".close()\n except OSError: pass\n"
    )
    with guests[0].python(script) as client:
        try:
            assert client.stdout
            assert client.stdout.readline() == "ready\n"
            stop.wait(0.5)
            assert [guests[1].who() for _ in range(10)] == ["second"] * 10
        finally:
            client.kill()


def test_nothing_that_vms_are_told_is_logged(world: World) -> None:
    guest, _ = _pair(world)
    for path in ("/latest/user-data", "/openstack/latest/user_data", "/latest/meta-data/public-keys/0/openssh-key"):
        assert guest.get(path).status == 200
    guest.get(f"/{SECRET}")
    world.daemon.end()
    log = world.daemon.log()
    assert SECRET not in log
    assert "AAAAC3secretkey" not in log
    assert "ERROR" not in log
