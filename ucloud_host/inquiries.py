"""Asks fences, each in a thread of its own, and keeps what they said. A fence that hangs holds up nobody."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from prometheus_client import Counter

from common.errors import UcloudError
from ucloud_host.fences import Answer, Fence, Silence, Word
from ucloud_host.fences.methods import AT_ONCE
from ucloud_host.sentence import Asked

_log = logging.getLogger(__name__)
_GRACE_S = 2.0
"""A fence keeps its time by itself; so much later it is taken to hang."""

Subject = tuple[str, int]
"""A silence: a host, and the revision at which its verdict was created."""


@dataclass(frozen=True)
class _Inquiry:
    """`at_s`, monotonic, is when it was asked, or when it answered."""

    at_s: float
    tries: int
    is_under_way: bool = True
    answer: Answer | None = None


class Inquiries:
    """What each fence said of each silence. At most one inquiry of a fence about a silence is under way."""

    def __init__(
        self, fences: Mapping[str, Fence], timeout_s: float, tell: Callable[[], None], answers: Counter
    ) -> None:
        """`tell` is called after each answer, from a thread of its own."""
        self._fences = fences
        self._timeout_s = timeout_s
        self._tell = tell
        self._answers = answers
        self._lock = threading.Lock()
        self._inquiries: dict[tuple[Subject, str], _Inquiry] = {}

    def asked(self, subject: Subject, silence: Silence, now_s: float) -> dict[str, Asked]:
        """What the fences said of a silence by `now_s` (monotonic); those that know at once are asked now."""
        found = {name: Asked(fence.ask(silence)) for name, fence in self._fences.items() if name in AT_ONCE}
        with self._lock:
            mine = {fence: inquiry for (about, fence), inquiry in self._inquiries.items() if about == subject}
        for fence, inquiry in mine.items():
            answer, age_s, patience_s = inquiry.answer, now_s - inquiry.at_s, None
            if inquiry.is_under_way:
                patience_s = max(0.0, self._timeout_s + _GRACE_S - age_s)
                if not patience_s:
                    answer = Answer(Word.UNKNOWN, f"no answer within {self._timeout_s:g} s")
            found[fence] = Asked(answer, age_s, inquiry.tries, patience_s)
        return found

    def ask(self, subject: Subject, fence: str, silence: Silence) -> None:
        """Ask a fence about a silence, unless it is being asked."""
        with self._lock:
            last = self._inquiries.get((subject, fence))
            if last and last.is_under_way:
                return
            inquiry = _Inquiry(time.monotonic(), last.tries + 1 if last else 1, answer=last.answer if last else None)
            self._inquiries[subject, fence] = inquiry
        _log.info("%s: %s is asked", silence.host, fence)
        name = f"{fence} about {silence.host}"
        threading.Thread(target=self._ask, args=(subject, fence, silence), name=name, daemon=True).start()

    def _ask(self, subject: Subject, fence: str, silence: Silence) -> None:
        try:
            answer = self._fences[fence].ask(silence)
        except UcloudError as error:
            answer = Answer(Word.UNKNOWN, str(error))
        _log.info("%s: %s says %s", silence.host, fence, answer)
        self._answers.labels(fence, answer.word.value).inc()
        with self._lock:
            if inquiry := self._inquiries.get((subject, fence)):
                said = replace(inquiry, answer=answer, at_s=time.monotonic(), is_under_way=False)
                self._inquiries[subject, fence] = said
        self._tell()

    def forget(self, subject: Subject) -> None:
        """What was said of a silence counts no more."""
        with self._lock:
            for key in [key for key, inquiry in self._inquiries.items() if key[0] == subject]:
                if not self._inquiries[key].is_under_way:
                    del self._inquiries[key]

    def keep_only(self, subjects: Collection[Subject]) -> None:
        """All other silences have ended."""
        with self._lock:
            self._inquiries = {key: each for key, each in self._inquiries.items() if key[0] in subjects}
