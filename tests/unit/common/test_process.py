"""A process that is dead is known to be; one that lives, or lives elsewhere, is not taken for dead."""

import os
import signal
import subprocess
import sys

from common import process

_SAY_IDENTITY = "from common import process; print(process.identity(), flush=True); input()"


def _child() -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _SAY_IDENTITY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    return child, child.stdout.readline().strip()


def test_a_process_lives_until_it_is_killed_also_while_it_is_frozen() -> None:
    child, identity = _child()
    assert not process.is_surely_dead(identity)
    child.send_signal(signal.SIGSTOP)
    assert not process.is_surely_dead(identity)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.is_surely_dead(identity), "a zombie"
    child.communicate()
    assert process.is_surely_dead(identity)


def test_another_process_with_the_same_number_is_not_the_same() -> None:
    scope, pid, start = process.identity().split("/")
    assert not process.is_surely_dead(f"{scope}/{pid}/{start}")
    assert process.is_surely_dead(f"{scope}/{pid}/{int(start) - 1}")


def test_what_is_elsewhere_or_unclear_is_not_taken_for_dead() -> None:
    scope, _, start = process.identity().split("/")
    assert not process.is_surely_dead(f"another-boot:1/4000000/{start}")
    assert process.is_surely_dead(f"{scope}/4194305/{start}")
    for nonsense in ("", "x", f"{scope}/", f"{scope}/-1/5", f"{scope}/1", f"{scope}/1/x"):
        assert not process.is_surely_dead(nonsense)
