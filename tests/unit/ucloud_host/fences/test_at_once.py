"""The fences that ask nobody."""

from datetime import UTC, datetime

import pytest

from common import deadlines
from common.schemas.host import ConfirmedDead
from ucloud_host.fences import Silence, Word
from ucloud_host.fences.manual import ManualFence
from ucloud_host.fences.self_fence import SelfFence

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GUARDED_S = deadlines.guard_s(4)


@pytest.mark.parametrize(
    ("guarded_s", "seen_s", "word", "again_in_s"),
    [
        (None, 10**6, Word.UNKNOWN, None),
        (GUARDED_S, 0, Word.NO, 3.0),
        (GUARDED_S, 2.5, Word.NO, 0.5),
        (GUARDED_S, 3.0, Word.YES, None),
    ],
)
def test_self(guarded_s: float | None, seen_s: float, word: Word, again_in_s: float | None) -> None:
    answer = SelfFence().ask(Silence("h1", seen_s, guarded_s))
    assert (answer.word, answer.again_in_s) == (word, again_in_s)


@pytest.mark.parametrize("ttl_s", [2, 3, 10, 60])
def test_the_judge_waits_longer_than_the_guard_whatever_the_ttl_of_the_host(ttl_s: float) -> None:
    # From the last renewal that was sent: at the earliest after a TTL is the host seen to be silent.
    counted_on_s = ttl_s + deadlines.self_fence_wait_s(deadlines.guard_s(ttl_s))
    assert counted_on_s == pytest.approx(1.75 * ttl_s)
    assert counted_on_s - deadlines.guard_s(ttl_s) == pytest.approx(0.25 * ttl_s)


def test_manual() -> None:
    nobody = ManualFence().ask(Silence("h1", 5))
    assert str(nobody) == "no: nobody has confirmed that it is off: ucloud host confirm-dead h1"
    word = ConfirmedDead(boot_id="b", since=NOW, at=NOW, by="ann")
    assert str(ManualFence().ask(Silence("h1", 5, confirmed=word))) == "yes: ann has confirmed it"
