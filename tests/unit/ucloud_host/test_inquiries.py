"""Fences are asked in threads: answers come back, one that hangs is told from one that is slow, none is asked twice."""

import threading
import time

from prometheus_client import CollectorRegistry, Counter

from common.errors import TemporaryError
from ucloud_host.fences import Answer, Silence, Word
from ucloud_host.fences import Fence as AnyFence
from ucloud_host.fences.manual import ManualFence
from ucloud_host.inquiries import Inquiries
from ucloud_host.sentence import Asked

DEADLINE_S = 20.0
SILENCE = Silence("h1", 5)
SUBJECT = ("h1", 7)


class Fence:
    """Answers when it is let, or fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: TemporaryError | None = None
        self.may_answer = threading.Event()

    def ask(self, silence: Silence) -> Answer:
        self.asked += 1
        assert self.may_answer.wait(DEADLINE_S)
        if self.failure:
            raise self.failure
        return Answer(Word.YES, "sure")


class Desk:
    """Inquiries of one fence that blocks and one that does not."""

    def __init__(self) -> None:
        self.fence = Fence()
        self.told = threading.Event()
        self.answers = Counter("answers", "", ["fence", "answer"], registry=CollectorRegistry())
        fences: dict[str, AnyFence] = {"storage": self.fence, "manual": ManualFence()}
        self.inquiries = Inquiries(fences, 20.0, self.told.set, self.answers)

    def look(self, later_s: float = 0.0) -> dict[str, Asked]:
        """What the fences have said, some seconds from now."""
        return self.inquiries.asked(SUBJECT, SILENCE, time.monotonic() + later_s)

    def ask(self) -> None:
        self.inquiries.ask(SUBJECT, "storage", SILENCE)

    def wait_told(self) -> None:
        assert self.told.wait(DEADLINE_S)
        self.told.clear()


def test_what_needs_nobody_is_answered_at_once() -> None:
    assert {name: asked.answer and asked.answer.word for name, asked in Desk().look().items()} == {"manual": Word.NO}


def test_an_answer_is_told_and_grows_old() -> None:
    desk = Desk()
    desk.ask()
    assert not desk.look()["storage"].is_yes
    assert desk.look()["storage"].patience_s
    desk.fence.may_answer.set()
    desk.wait_told()
    assert desk.look()["storage"].is_yes
    assert not desk.look(later_s=60)["storage"].is_yes
    assert desk.answers.labels("storage", "yes")._value.get() == 1


def test_a_fence_that_hangs_is_unknown_and_is_not_asked_again() -> None:
    desk = Desk()
    desk.ask()
    desk.ask()
    hangs = desk.look(later_s=60)["storage"]
    assert (str(hangs.answer), hangs.patience_s) == ("unknown: no answer within 20 s", 0.0)
    desk.fence.may_answer.set()
    desk.wait_told()
    assert desk.fence.asked == 1
    assert desk.look()["storage"].is_yes


def test_an_error_is_unknown_and_a_yes_that_is_asked_for_again_does_not_count_meanwhile() -> None:
    desk = Desk()
    desk.fence.may_answer.set()
    desk.ask()
    desk.wait_told()
    desk.fence.may_answer.clear()
    desk.fence.failure = TemporaryError("is it mounted?")
    desk.ask()
    asked = desk.look()["storage"]
    assert (asked.is_yes, asked.has_said_yes, asked.tries) == (False, True, 2)
    desk.fence.may_answer.set()
    desk.wait_told()
    assert str(desk.look()["storage"].answer) == "unknown: is it mounted?"


def test_what_was_said_of_a_silence_that_has_ended_is_forgotten() -> None:
    desk = Desk()
    desk.ask()
    desk.inquiries.keep_only([("h1", 8)])
    desk.fence.may_answer.set()
    desk.wait_told()
    assert set(desk.look()) == {"manual"}
    desk.ask()
    desk.wait_told()
    desk.inquiries.forget(SUBJECT)
    assert set(desk.look()) == {"manual"}
