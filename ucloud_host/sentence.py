"""The judge's decision: from what is known of all hosts to verdicts, and to the fences that are to be asked. Pure.

A host is found DEAD only if every fence of one alternative has said yes, and only while few enough hosts are silent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from common.schemas.verdict import Sentence, Verdict
from ucloud_host.fences import Answer, Word
from ucloud_host.fences.methods import AT_ONCE, MANUAL, POWER, Alternatives

RECENT_S = 600.0
"""For so long a host that was found dead counts for `fence.max_dead_share`."""

_YES_LASTS_S = 10.0
"""A look at the world is good for so long: then it is taken again."""
_MAX_PAUSE_S = 60.0


@dataclass(frozen=True)
class Asked:
    """A fence that was asked about the present silence of a host; `answer` is its last one, if there was one."""

    answer: Answer | None = None
    age_s: float = 0.0
    """Of the answer."""
    tries: int = 1
    patience_s: float | None = None
    """It is being asked, and is waited for so much longer; 0: it seems to hang. `answer` is an earlier one."""

    @property
    def has_said_yes(self) -> bool:
        """Whether the last answer was a yes, however long ago."""
        return self.answer is not None and self.answer.word is Word.YES

    @property
    def is_yes(self) -> bool:
        """Whether it counts."""
        return self.has_said_yes and self.patience_s is None and self.age_s <= _YES_LASTS_S

    @property
    def due_in_s(self) -> float:
        """When to ask again: with growing pauses."""
        if self.patience_s is not None:
            return self.patience_s
        if self.has_said_yes:
            return max(0.0, _YES_LASTS_S - self.age_s)
        return max(0.0, min(2.0 ** (self.tries - 1), _MAX_PAUSE_S) - self.age_s)


@dataclass(frozen=True)
class Sight:
    """What the judge knows of a registered host."""

    host: str
    is_alive: bool
    verdict: Verdict | None = None
    boot_id: str = ""
    """Of the boot that the last sign of life spoke of."""
    seen_s: float = 0.0
    """For how long this judge has known of the verdict, and so of the silence."""
    dead_for_s: float = 0.0
    """DEAD: for how long."""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """By fence."""

    @property
    def sentence(self) -> Sentence | None:
        """That of the verdict."""
        return self.verdict.sentence if self.verdict else None


@dataclass(frozen=True)
class Rules:
    """What the settings say."""

    methods: Alternatives
    max_dead_share: float
    settle_s: float
    """No power is cut before a host has been silent for so long."""
    timeout_s: float = 20.0
    """How long a fence may take."""


@dataclass(frozen=True)
class Judgement:
    """What is to be done now. A verdict that is None is to be removed."""

    verdicts: Mapping[str, Verdict | None]
    asks: tuple[tuple[str, str], ...]
    """Hosts, each with a fence to ask about it."""
    limit: str
    """What keeps the judge from fencing anybody, in a sentence; empty: nothing does."""
    again_in_s: float | None
    """When to decide anew, if nothing happens; None: there is no need."""


@dataclass(frozen=True)
class _Step:
    """What is to be done about one host."""

    fenced_by: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    again_in_s: float | None = None


def judge(sights: Sequence[Sight], rules: Rules, now: datetime) -> Judgement:
    """Decide about all hosts. `now` is only written down."""
    limit = _limit(sights, rules)
    verdicts: dict[str, Verdict | None] = {}
    asks: list[tuple[str, str]] = []
    pauses = [RECENT_S - sight.dead_for_s for sight in sights if limit and _is_recent(sight)]
    for sight in sights:
        wanted, step = _judge_one(sight, rules, limit, now)
        if wanted != sight.verdict:
            verdicts[sight.host] = wanted
        asks += [(sight.host, fence) for fence in step.asks]
        if step.again_in_s is not None:
            pauses.append(step.again_in_s)
    return Judgement(verdicts, tuple(asks), limit, min(pauses, default=None))


def _limit(sights: Sequence[Sight], rules: Rules) -> str:
    count = sum(not sight.is_alive and (sight.sentence is not Sentence.DEAD or _is_recent(sight)) for sight in sights)
    # A share of 0.29 of 100 hosts are 29, which floating point does not know.
    allowed = max(1, math.floor(rules.max_dead_share * len(sights) + 1e-9))
    if count <= allowed:
        return ""
    return (
        f"{count} of {len(sights)} hosts are silent or were found dead within ten minutes, "
        f"and fence.max_dead_share allows {allowed}: nothing is fenced until an admin has looked"
    )


def _is_recent(sight: Sight) -> bool:
    return not sight.is_alive and sight.sentence is Sentence.DEAD and sight.dead_for_s < RECENT_S


def _judge_one(sight: Sight, rules: Rules, limit: str, now: datetime) -> tuple[Verdict | None, _Step]:
    verdict = sight.verdict
    if sight.is_alive:
        return None, _Step()
    if verdict is None:
        # The wait begins once this is written: from then on etcd tells of a host that has been back.
        silent = Verdict(host=sight.host, sentence=Sentence.SILENT, since=now, boot_id=sight.boot_id)
        return silent.model_copy(update={"waits_for": limit or "the fences are asked"}), _Step()
    if verdict.sentence is Sentence.DEAD:
        return verdict, _Step()
    step = _weigh(sight, rules, limit)
    answers = {name: str(asked.answer) for name, asked in sorted(sight.asked.items()) if asked.answer}
    if step.fenced_by:
        dead = {"sentence": Sentence.DEAD, "judged_at": now, "fenced_by": "+".join(step.fenced_by), "waits_for": ""}
        return verdict.model_copy(update={**dead, "answers": answers}), step
    waits_for = _waits_for(sight, rules.methods, limit)
    return verdict.model_copy(update={"waits_for": waits_for, "answers": answers}), step


def _weigh(sight: Sight, rules: Rules, limit: str) -> _Step:
    """Whether an alternative counts; if none does, whom to ask, and when to decide anew."""
    asks: list[str] = []
    pauses: list[float] = []
    is_hopeful = False
    for alternative in rules.methods:
        if limit and not (MANUAL in alternative and _is_yes(sight, MANUAL)):
            continue
        missing = next((fence for fence in alternative if not _is_yes(sight, fence)), None)
        if missing is None:
            return _Step(fenced_by=alternative)
        asked = sight.asked.get(missing)
        if missing in AT_ONCE:
            wait_s = asked.answer.again_in_s if asked and asked.answer else None
            is_hopeful |= wait_s is not None
            pauses += [wait_s] if wait_s is not None else []
            continue
        if missing == POWER:
            pauses.append(max(0.0, rules.settle_s - sight.seen_s))
            if is_hopeful or sight.seen_s < rules.settle_s:
                continue
        is_hopeful |= asked is None or asked.answer is None
        if asked is None or (asked.patience_s is None and asked.due_in_s <= 0):
            asks.append(missing)
    pauses += [asked.due_in_s for fence, asked in sight.asked.items() if fence not in AT_ONCE]
    again_in_s = min((pause for pause in pauses if pause > 0), default=None)
    return _Step(asks=tuple(dict.fromkeys(asks)), again_in_s=again_in_s)


def _is_yes(sight: Sight, fence: str) -> bool:
    asked = sight.asked.get(fence)
    return asked is not None and asked.is_yes


def _waits_for(sight: Sight, methods: Alternatives, limit: str) -> str:
    """What is missing of each alternative, for an admin."""
    if limit and any(MANUAL in alternative for alternative in methods):
        return f"{limit}; if {sight.host} is off: ucloud host confirm-dead {sight.host}"
    return limit or "; or ".join(dict.fromkeys(_missing(sight, alternative) for alternative in methods))


def _missing(sight: Sight, alternative: Sequence[str]) -> str:
    """The first of its fences that has not said yes. One whose yes is to be renewed has, or the words would flicker."""
    unsaid = (fence for fence in alternative if not (fence in sight.asked and sight.asked[fence].has_said_yes))
    missing = next(unsaid, alternative[0])
    asked = sight.asked.get(missing)
    return f"{missing} ({asked.answer.why if asked and asked.answer else 'not asked yet'})"
