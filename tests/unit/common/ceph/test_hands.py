"""Calls in children; the cluster is away, which needs none."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rados", reason="python3-rados and python3-rbd are not installed: make setup")

from common.ceph import hands, images
from common.ceph.access import Access, NoAnswer
from common.ceph.hands import Hands
from common.errors import TemporaryError
from devcloud import processes
from devcloud.waiting import wait_for

_KEY = "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """Of a cluster whose monitor's port nobody listens on."""
    (tmp_path / "ceph.conf").write_text("[global]\nmon host = [v2:[::1]:9/0]\nms bind ipv6 = true\n")
    (tmp_path / "keyring").write_text(f"[client.ucloud]\nkey = {_KEY}\n")
    return Access(str(tmp_path / "ceph.conf"), "ucloud", str(tmp_path / "keyring"), timeout_s=1)


@pytest.fixture
def made(access: Access, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hands]:
    monkeypatch.setattr(hands, "_GRACE_S", 1.0)
    made = Hands(access)
    yield made
    made.close()
    wait_for("no children", lambda: not children(os.getpid()), 10)


def children(pid: int) -> set[int]:
    """The children of a process that make calls."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return {child for text in lists for child in map(int, text.split()) if _makes_calls(child)}


def _makes_calls(pid: int) -> bool:
    try:
        return b"common.ceph" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_child_answers_and_is_asked_again(made: Hands) -> None:
    # Any function of a module that takes the connection will do; this one does not connect.
    assert "Cluster object" in made.call(repr)
    (child,) = children(os.getpid())
    made.call(repr)
    assert children(os.getpid()) == {child}


def test_a_cluster_that_is_away_is_an_error_in_time(made: Hands) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswer, match="does not answer"):
        made.call(images.names, "ssd")
    assert time.monotonic() - began < 5


def test_while_it_is_away_one_call_tries_and_the_others_are_told_at_once(made: Hands) -> None:
    with pytest.raises(NoAnswer):
        made.call(images.names, "ssd")
    took_s = []

    def ask() -> None:
        began = time.monotonic()
        with pytest.raises(NoAnswer):
            made.call(images.names, "ssd")
        took_s.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([took for took in took_s if took > 0.8]) == 1
    made.call(repr)


def test_a_child_that_stands_still_is_ended(made: Hands) -> None:
    made.call(repr)
    (child,) = children(os.getpid())
    processes.freeze(child)
    with pytest.raises(NoAnswer):
        made.call(repr)
    assert children(os.getpid()) == set()
    assert made.call(repr)


def test_a_child_that_was_killed_is_replaced(made: Hands) -> None:
    made.call(repr)
    (child,) = children(os.getpid())
    os.kill(child, signal.SIGKILL)
    # It may be asked before all of its threads have ended.
    wait_for("an answer", lambda: _answers(made), 10)
    assert child not in children(os.getpid())


def _answers(made: Hands) -> bool:
    try:
        return bool(made.call(repr))
    except TemporaryError:
        return False


def test_a_child_that_ends_in_a_call_is_an_error_and_not_our_end(made: Hands) -> None:
    made.call(repr)
    (child,) = children(os.getpid())
    processes.freeze(child)
    killer = threading.Timer(0.3, os.kill, (child, signal.SIGKILL))
    killer.start()
    with pytest.raises(TemporaryError, match="ended with -9"):
        made.call(repr)
    killer.join()


_PARENT = """
import sys
from common.ceph.access import Access
from common.ceph.hands import Hands
hands = Hands(Access(sys.argv[1], "ucloud", "/nowhere", 30))
hands.call(repr)
print("go", flush=True)
sys.stdin.read()
"""


def test_children_end_with_their_parent(access: Access) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, access.conf], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"go\n"
        (child,) = children(parent.pid)
        parent.kill()
    wait_for("the end of the child", lambda: not processes.is_alive(child), 10)
