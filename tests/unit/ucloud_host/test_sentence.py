"""The judge's decision: tables, and what no decision may ever do."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.schemas.verdict import Sentence, Verdict
from ucloud_host.fences import Answer, Word
from ucloud_host.fences.methods import MANUAL, ORDER, POWER, SELF, STORAGE, Alternatives
from ucloud_host.sentence import RECENT_S, Asked, Judgement, Rules, Sight, judge

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
SINCE = NOW - timedelta(seconds=4)
DEFAULT: Alternatives = ((SELF, STORAGE), (MANUAL,))
SETTLE_S = 2.25


def _said(word: Word, age_s: float = 0.0, tries: int = 1, again_in_s: float | None = None) -> Asked:
    return Asked(Answer(word, f"it says {word}", again_in_s=again_in_s), age_s, tries)


YES, NO, UNKNOWN = (_said(word) for word in Word)
NOT_YET = _said(Word.NO, again_in_s=1.5)
UNDER_WAY = Asked(patience_s=20.0)
HANGS = Asked(Answer(Word.UNKNOWN, "no answer"), 22.0, 1, 0.0)


def _silent(asked: Mapping[str, Asked], seen_s: float = 5.0, host: str = "h1") -> Sight:
    verdict = Verdict(host=host, sentence=Sentence.SILENT, since=SINCE, boot_id="b")
    return Sight(host, False, verdict, "b", seen_s, 0.0, asked)


def _dead(host: str, dead_for_s: float = 1.0) -> Sight:
    verdict = Verdict(host=host, sentence=Sentence.DEAD, since=SINCE, judged_at=NOW)
    return Sight(host, False, verdict, dead_for_s=dead_for_s)


def _alive(*hosts: str) -> list[Sight]:
    return [Sight(host, True) for host in hosts]


def _judge(*sights: Sight, methods: Alternatives = DEFAULT, share: float = 0.25) -> Judgement:
    return judge(sights, Rules(methods, share, SETTLE_S), NOW)


def _sentences(judgement: Judgement) -> dict[str, str]:
    return {host: verdict.sentence.value if verdict else "" for host, verdict in judgement.verdicts.items()}


def test_a_host_without_a_sign_of_life_is_silent_at_once_and_no_fence_is_asked_before_that_is_written() -> None:
    judgement = _judge(Sight("h1", False, boot_id="b"), *_alive("h2"))
    assert _sentences(judgement) == {"h1": "SILENT"}
    verdict = judgement.verdicts["h1"]
    assert verdict is not None
    assert (verdict.since, verdict.boot_id, verdict.answers) == (NOW, "b", {})
    assert judgement.asks == ()


def test_a_host_that_is_alive_has_no_verdict() -> None:
    verdict = Verdict(host="h1", sentence=Sentence.SILENT, since=SINCE)
    assert _judge(Sight("h1", True, verdict), *_alive("h2")).verdicts == {"h1": None}
    assert _judge(*_alive("h1", "h2")) == Judgement({}, (), "", None)


@pytest.mark.parametrize(
    ("methods", "asked", "outcome"),
    [
        (DEFAULT, {SELF: YES, STORAGE: YES, MANUAL: NO}, "self+storage"),
        (DEFAULT, {SELF: NOT_YET, MANUAL: YES}, "manual"),
        (DEFAULT, {SELF: UNKNOWN, STORAGE: YES, MANUAL: NO}, ()),
        (DEFAULT, {SELF: YES, MANUAL: NO}, ("storage",)),
        (DEFAULT, {SELF: NOT_YET, MANUAL: NO}, ()),
        (DEFAULT, {SELF: YES, STORAGE: UNDER_WAY, MANUAL: NO}, ()),
        (DEFAULT, {SELF: YES, STORAGE: NO, MANUAL: NO}, ()),
        (DEFAULT, {SELF: YES, STORAGE: HANGS, MANUAL: NO}, ()),
        # A failure is tried again, after a pause that grows.
        (DEFAULT, {SELF: YES, STORAGE: _said(Word.NO, 0.9), MANUAL: NO}, ()),
        (DEFAULT, {SELF: YES, STORAGE: _said(Word.NO, 1.1), MANUAL: NO}, ("storage",)),
        (DEFAULT, {SELF: YES, STORAGE: _said(Word.UNKNOWN, 31, tries=6), MANUAL: NO}, ()),
        (DEFAULT, {SELF: YES, STORAGE: _said(Word.UNKNOWN, 33, tries=6), MANUAL: NO}, ("storage",)),
        # A yes is good for a while.
        (DEFAULT, {SELF: YES, STORAGE: _said(Word.YES, 11), MANUAL: NO}, ("storage",)),
        # Power is cut last, and only where what comes before it doesn't help.
        (((SELF, STORAGE), (POWER,)), {SELF: NOT_YET}, ()),
        (((SELF, STORAGE), (POWER,)), {SELF: YES}, ("storage",)),
        (((SELF, STORAGE), (POWER,)), {SELF: YES, STORAGE: UNDER_WAY}, ()),
        (((SELF, STORAGE), (POWER,)), {SELF: YES, STORAGE: NO}, ("power",)),
        (((SELF, STORAGE), (POWER,)), {SELF: YES, STORAGE: HANGS}, ("power",)),
        (((SELF, STORAGE), (POWER,)), {SELF: UNKNOWN}, ("power",)),
        (((SELF, STORAGE), (POWER,)), {SELF: UNKNOWN, POWER: YES}, "power"),
        (((STORAGE, POWER),), {POWER: YES}, ("storage",)),
        (((STORAGE, POWER),), {STORAGE: YES}, ("power",)),
        (((MANUAL, POWER),), {MANUAL: NO}, ()),
    ],
)
def test_a_silent_host(methods: Alternatives, asked: dict[str, Asked], outcome: str | tuple[str, ...]) -> None:
    judgement = _judge(_silent(asked), *_alive("h2"), methods=methods)
    verdict = judgement.verdicts["h1"]
    assert verdict is not None
    if isinstance(outcome, str):
        assert (verdict.sentence, verdict.fenced_by, verdict.judged_at) == (Sentence.DEAD, outcome, NOW)
        assert (verdict.since, verdict.boot_id, verdict.waits_for) == (SINCE, "b", "")
    else:
        assert (verdict.sentence, verdict.fenced_by) == (Sentence.SILENT, "")
        assert verdict.waits_for
        assert judgement.asks == tuple(("h1", fence) for fence in outcome)


def test_no_power_is_cut_before_it_is_known_how_many_are_silent() -> None:
    judgement = _judge(_silent({}, seen_s=1.0), *_alive("h2"), methods=((POWER,),))
    assert (judgement.asks, judgement.again_in_s) == ((), 1.25)


@pytest.mark.parametrize(
    ("asked", "again_in_s"),
    [
        ({SELF: NOT_YET, MANUAL: NO}, 1.5),
        ({SELF: YES, STORAGE: _said(Word.NO, 0.25), MANUAL: NO}, 0.75),
        ({SELF: YES, STORAGE: UNDER_WAY, MANUAL: NO}, 20.0),
        ({SELF: UNKNOWN, MANUAL: NO}, None),
    ],
)
def test_when_it_is_looked_at_again(asked: dict[str, Asked], again_in_s: float | None) -> None:
    assert _judge(_silent(asked), *_alive("h2")).again_in_s == again_in_s


def test_a_verdict_says_what_is_waited_for() -> None:
    verdict = _judge(_silent({SELF: UNKNOWN, MANUAL: NO}), *_alive("h2")).verdicts["h1"]
    assert verdict is not None
    assert verdict.waits_for == "self (it says unknown); or manual (it says no)"
    assert verdict.answers == {"self": "unknown: it says unknown", "manual": "no: it says no"}


def test_nothing_is_written_where_nothing_is_new() -> None:
    first = _judge(_silent({SELF: UNKNOWN, MANUAL: NO}), *_alive("h2")).verdicts["h1"]
    again = Sight("h1", False, first, "b", 60.0, 0.0, {SELF: UNKNOWN, MANUAL: NO})
    assert _judge(again, *_alive("h2")).verdicts == {}
    assert _judge(_dead("h1"), *_alive("h2")).verdicts == {}


READY = {SELF: YES, STORAGE: YES, MANUAL: NO}


@pytest.mark.parametrize(
    ("others", "share", "is_fenced"),
    [
        # At least one is always allowed.
        (_alive("h2"), 0.25, True),
        ([_silent({}, host="h2"), *_alive("h3", "h4")], 0.25, False),
        ([_silent({}, host="h2"), *_alive("h3", "h4")], 0.5, True),
        ([_dead("h2"), *_alive("h3", "h4")], 0.25, False),
        ([_dead("h2", RECENT_S + 1), *_alive("h3", "h4")], 0.25, True),
        # One that has no verdict yet counts.
        ([Sight("h2", False), *_alive("h3", "h4")], 0.25, False),
        # 0.29 * 100 is less than 29 in floating point.
        ([_silent({}, host=f"x{i}") for i in range(28)] + _alive(*(f"y{i}" for i in range(71))), 0.29, True),
        ([_silent({}, host=f"x{i}") for i in range(29)] + _alive(*(f"y{i}" for i in range(70))), 0.29, False),
    ],
)
def test_no_massacre(others: list[Sight], share: float, is_fenced: bool) -> None:
    judgement = _judge(_silent(READY), *others, share=share)
    assert (_sentences(judgement).get("h1") == "DEAD") is is_fenced
    assert (judgement.limit == "") is is_fenced
    if not is_fenced:
        assert judgement.asks == ()
        verdict = judgement.verdicts["h1"]
        assert verdict is not None
        assert verdict.waits_for == f"{judgement.limit}; if h1 is off: ucloud host confirm-dead h1"


def test_beyond_the_limit_an_admin_can_still_confirm_each() -> None:
    confirmed, other = _silent({MANUAL: YES, SELF: UNKNOWN}), _silent({MANUAL: NO, SELF: YES, STORAGE: YES}, host="h2")
    judgement = _judge(confirmed, other, *_alive("h3", "h4"))
    assert judgement.limit.startswith("2 of 4 hosts are silent or were found dead within ten minutes")
    assert _sentences(judgement) == {"h1": "DEAD", "h2": "SILENT"}


def test_the_limit_ends_when_the_dead_are_ten_minutes_old() -> None:
    judgement = _judge(_silent({SELF: YES, MANUAL: NO}), _dead("h2", RECENT_S - 100), *_alive("h3", "h4"))
    assert judgement.again_in_s == pytest.approx(100)


ANSWERS = st.one_of(
    st.builds(_said, st.sampled_from(Word), st.floats(0, 100), st.integers(1, 20)),
    st.sampled_from([UNDER_WAY, HANGS, NOT_YET]),
)
ASKED = st.dictionaries(st.sampled_from(ORDER), ANSWERS)
METHODS = st.lists(
    st.sets(st.sampled_from(ORDER), min_size=1).map(lambda names: tuple(sorted(names, key=ORDER.index))),
    min_size=1,
    max_size=4,
).map(tuple)


@st.composite
def _sights(draw: st.DrawFn) -> list[Sight]:
    hosts = []
    for number in range(draw(st.integers(1, 12))):
        name = f"h{number}"
        kind = draw(st.sampled_from(["alive", "new", "silent", "dead"]))
        match kind:
            case "alive":
                hosts += _alive(name)
            case "new":
                hosts.append(Sight(name, False))
            case "silent":
                hosts.append(_silent(draw(ASKED), draw(st.floats(0, 100)), name))
            case _:
                hosts.append(_dead(name, draw(st.floats(0, 2 * RECENT_S))))
    return hosts


@settings(max_examples=60)
@given(_sights(), METHODS, st.floats(0.01, 1))
def test_nobody_is_found_dead_without_a_yes_of_each_fence_of_an_alternative(
    sights: list[Sight], methods: Alternatives, share: float
) -> None:
    judgement = judge(sights, Rules(methods, share, SETTLE_S), NOW)
    for sight in sights:
        verdict = judgement.verdicts.get(sight.host)
        if verdict and verdict.sentence is Sentence.DEAD:
            fences = tuple(verdict.fenced_by.split("+"))
            assert fences in methods
            assert all(sight.asked[fence].is_yes for fence in fences)
            assert not sight.is_alive
            assert sight.sentence is Sentence.SILENT


@settings(max_examples=60)
@given(_sights(), METHODS, st.floats(0.01, 1))
def test_without_an_admin_no_more_are_fenced_than_allowed(
    sights: list[Sight], methods: Alternatives, share: float
) -> None:
    judgement = judge(sights, Rules(methods, share, SETTLE_S), NOW)
    found = [v for v in judgement.verdicts.values() if v and v.sentence is Sentence.DEAD and MANUAL not in v.fenced_by]
    recent = [s for s in sights if not s.is_alive and s.sentence is Sentence.DEAD and s.dead_for_s < RECENT_S]
    allowed = max(1, int(share * len(sights) + 1e-9))
    assert not found or len(found) + len(recent) <= allowed
    silent = [s for s in sights if not s.is_alive and s.sentence is not Sentence.DEAD]
    if len(silent) + len(recent) > allowed:
        confirmed = {s.host for s in sights if MANUAL in s.asked and s.asked[MANUAL].is_yes}
        assert {host for host, _ in judgement.asks} <= confirmed


@settings(max_examples=60)
@given(_sights(), METHODS, st.floats(0.01, 1))
def test_only_silent_hosts_are_asked_about_and_no_fence_twice_at_a_time(
    sights: list[Sight], methods: Alternatives, share: float
) -> None:
    judgement = judge(sights, Rules(methods, share, SETTLE_S), NOW)
    assert len(set(judgement.asks)) == len(judgement.asks)
    by_name = {sight.host: sight for sight in sights}
    for host, fence in judgement.asks:
        assert by_name[host].sentence is Sentence.SILENT
        asked = by_name[host].asked.get(fence)
        assert asked is None or asked.patience_s is None
    assert judgement.again_in_s is None or judgement.again_in_s > 0
