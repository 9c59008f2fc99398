"""Finding and ending processes."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from devcloud import processes
from devcloud.waiting import wait_for


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[str]]:
    """A process that ignores SIGTERM."""
    script = "trap '' TERM; echo ready; while :; do sleep 1000 & wait; done"
    environment = {"MARK": "one", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        processes.end(processes.with_variable("MARK", "one"), grace_s=0.1)


def test_a_process_is_found_by_its_environment(stubborn: subprocess.Popen[str]) -> None:
    assert stubborn.pid in processes.with_variable("MARK", "one")
    assert stubborn.pid not in processes.with_variable("MARK", "on")


def test_a_process_that_ignores_the_polite_word_is_ended_all_the_same(stubborn: subprocess.Popen[str]) -> None:
    processes.end([stubborn.pid], grace_s=0.1)
    assert stubborn.wait() == -signal.SIGKILL


def test_a_frozen_process_is_ended() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        processes.freeze(process.pid)
        processes.end([process.pid])
        assert process.wait() == -signal.SIGTERM


def test_a_frozen_process_does_nothing_more() -> None:
    script = "import itertools, threading\nfor n in itertools.count(): threading.Thread(target=print, args=(n,)).run()"
    with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(1)
        processes.freeze(process.pid)
        os.set_blocking(process.stdout.fileno(), False)
        while process.stdout.read(65536):
            pass
        assert not process.stdout.read(1)
        process.kill()


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["true"]) as process:
        wait_for("its end", lambda: not processes.is_alive(process.pid), timeout_s=30)
        assert process.wait() == 0


def test_what_has_ended_already_is_no_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    processes.end([process.pid])
