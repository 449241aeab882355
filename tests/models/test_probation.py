"""Probation: what rolls a package back, how soon, and what does not."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.config import ProbationOptions
from edge.core.types import Action, Cause, Decision, Fault, Verdict
from models.probation import Counts, Kind, Probation, Recent, at_least, kind_of

BEFORE = Counts(parts=1000, rejects=50)
OPTIONS = ProbationOptions()


def judged(verdict: Verdict) -> Decision:
    return Decision(1, Action.ACCEPT, Cause.VERDICT, verdict=verdict, score=0.1)


def failed(fault: Fault, cause: Cause = Cause.FAULT) -> Decision:
    return Decision(1, Action.REJECT, cause, fault=fault)


PASS, FAIL, HELD = (judged(v) for v in (Verdict.PASS, Verdict.FAIL, Verdict.INDETERMINATE))
LATE = failed(Fault.DEADLINE, Cause.DEADLINE)


@pytest.mark.parametrize(
    ("decision", "kind"),
    [
        (PASS, Kind.PASSED),
        (FAIL, Kind.REJECTED),
        (HELD, Kind.REJECTED),
        (LATE, Kind.MISSED),
        (failed(Fault.NOT_ADMITTED), Kind.MISSED),
        (failed(Fault.NOT_ADMITTED, Cause.OPERATOR), None),
        (failed(Fault.ENGINE_DOWN), Kind.FAULT),
        (failed(Fault.BAD_OUTPUT), Kind.FAULT),
        (failed(Fault.UNFIT_IMAGE), Kind.FAULT),
        (failed(Fault.STALL, Cause.DEADLINE), None),
        *((failed(f), None) for f in (Fault.NO_IMAGE, Fault.BAD_FRAME, Fault.STALE_FRAME)),
        *((failed(f), None) for f in (Fault.MISSED_TRIGGER, Fault.NO_CONTROLLER)),
    ],
)
def test_what_a_part_says_of_its_package(decision, kind):
    assert kind_of(decision) is kind


@pytest.mark.parametrize(
    ("what", "decision", "healthy_first", "at_most"),
    [
        ("faults", failed(Fault.ENGINE_DOWN), 0, 2),
        ("faults", failed(Fault.BAD_OUTPUT), 500, 20),
        ("missed deadlines", LATE, 0, 2),
        ("missed deadlines", LATE, 500, 20),
        ("rejects", FAIL, 0, 4),
        ("rejects", HELD, 0, 4),
    ],
)
def test_a_package_that_goes_wrong_altogether_is_rolled_back_at_once(
    what, decision, healthy_first, at_most
):
    probation = Probation(BEFORE, OPTIONS)
    for number in range(healthy_first):
        assert probation.part(FAIL if number % 20 == 0 else PASS) == ""
    taken = next(n for n in range(1, 100) if probation.part(decision))
    assert taken <= at_most
    assert what in probation.reason
    assert "\n" not in probation.reason
    assert probation.over
    assert probation.part(decision) == ""  # once


def test_one_bad_part_rolls_nothing_back():
    for decision in (LATE, failed(Fault.ENGINE_DOWN), FAIL):
        assert Probation(BEFORE, OPTIONS).part(decision) == ""


def test_a_limit_of_zero_admits_none():
    probation = Probation(BEFORE, ProbationOptions(missed=0.0))
    assert probation.part(PASS) == ""
    assert "1 missed deadlines" in probation.part(LATE)


def test_a_package_that_passes_everything_is_rolled_back_too():
    probation = Probation(BEFORE, OPTIONS)
    reasons = [reason for _ in range(1000) if (reason := probation.part(PASS))]
    assert len(reasons) == 1
    assert "0 rejects in its first" in reasons[0]
    assert "before 50 of 1000" in reasons[0]
    lenient = Probation(BEFORE, ProbationOptions(fewer_rejects=1.0))
    assert not any(lenient.part(PASS) for _ in range(1000))
    assert lenient.over


@pytest.mark.parametrize("before", [Counts(), Counts(parts=49, rejects=1)])
def test_without_parts_before_rejects_are_not_compared_and_all_else_is(before):
    probation = Probation(before, OPTIONS)
    assert not any(probation.part(FAIL) for _ in range(100))
    assert [bool(probation.part(LATE)) for _ in range(10)].count(True) == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_package_like_the_one_before_passes(seed):
    draw = random.Random(seed)
    kinds = [PASS] * 940 + [FAIL] * 40 + [HELD] * 10 + [LATE] * 5 + [failed(Fault.UNFIT_IMAGE)] * 5
    recent, probation = Recent(), None
    for _ in range(1000):
        recent.part(draw.choice(kinds))
    probation = Probation(recent.counts, OPTIONS)
    while not probation.over:
        assert probation.part(draw.choice(kinds)) == ""
    assert probation.counts.parts == 1000
    assert probation.reason == ""
    assert probation.status()["of"] == 1000


def test_what_is_none_of_its_doing_does_not_shorten_it():
    probation = Probation(BEFORE, ProbationOptions(parts=3, fewer_rejects=1.0))
    for decision in (PASS, failed(Fault.NO_CONTROLLER), PASS, failed(Fault.NO_IMAGE)):
        probation.part(decision)
    assert not probation.over
    probation.part(PASS)
    assert probation.over
    assert Probation(BEFORE, ProbationOptions(parts=0)).over


def test_recent_forgets_the_oldest():
    recent = Recent(parts=3)
    for decision in (LATE, FAIL, failed(Fault.NO_IMAGE), PASS, failed(Fault.ENGINE_DOWN)):
        recent.part(decision)
    assert recent.counts == Counts(parts=3, rejects=1, missed=0, faults=1)
    assert recent.counts.judged == 2


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.floats(0.0, 1.0), st.data())
def test_the_tail_is_the_binomials(parts, share, data):
    count = data.draw(st.integers(0, parts))
    found = at_least(count, parts, share)
    exact = sum(
        math.comb(parts, k) * share**k * (1 - share) ** (parts - k) for k in range(count, parts + 1)
    )
    if count <= parts * share:
        assert found == 1.0
    else:
        assert found == pytest.approx(exact, rel=1e-6, abs=1e-12)
