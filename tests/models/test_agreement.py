"""Agreement: a candidate's decisions beside the active package's, counted."""

from __future__ import annotations

import random
import time

import msgspec
import numpy as np
import pytest

from edge.core.types import Action, Cause, Decision, Fault, Serving, Verdict
from models.agreement import KEPT, Agreement

ACTIVE = Serving("tiny", "1", "a" * 64, "cpu", 2, "int8", 0.4, 0.6)
SHADOW = msgspec.structs.replace(ACTIVE, version="2", content_sha256="b" * 64)


def judged(score: float) -> Decision:
    verdict = Verdict.PASS if score < 0.4 else Verdict.FAIL if score >= 0.6 else None
    verdict = verdict or Verdict.INDETERMINATE
    return Decision(1, Action.ACCEPT, Cause.VERDICT, verdict=verdict, score=score)


def failed(fault: Fault) -> Decision:
    return Decision(1, Action.REJECT, Cause.FAULT, fault=fault)


def test_nothing_seen_is_nothing_claimed():
    summary = Agreement(ACTIVE, SHADOW).summary()
    assert summary["parts"] == summary["agree"] == summary["faults"] == 0
    for figure in ("agreement", "max_score_delta", "median_score_delta", "p99_ms"):
        assert summary[figure] is None
    assert summary["shadow"]["version"] == "2"
    msgspec.json.encode(summary)


def test_every_part_is_in_one_count():
    agreement = Agreement(ACTIVE, SHADOW)
    pairs = [(0.1, 0.2)] * 6 + [(0.9, 0.8)] * 2 + [(0.9, 0.1), (0.1, 0.9), (0.1, 0.5), (0.9, 0.5)]
    for active, shadow in pairs:
        agreement.part(judged(active), judged(shadow))
    agreement.part(judged(0.1), failed(Fault.BAD_OUTPUT))
    agreement.part(failed(Fault.DEADLINE), judged(0.1))
    summary = agreement.summary()
    assert (summary["parts"], summary["agree"]) == (12, 8)
    assert summary["agreement"] == pytest.approx(8 / 12, abs=1e-6)
    assert (summary["only_active_fails"], summary["only_shadow_fails"]) == (2, 1)
    assert summary["verdicts"]["pass/indeterminate"] == 1
    assert summary["verdicts"]["fail/indeterminate"] == 1
    assert summary["fault_kinds"] == {"bad_output": 1}
    assert summary["unjudged"] == 1
    assert summary["max_score_delta"] == pytest.approx(0.8)
    assert summary["median_score_delta"] == pytest.approx(0.1)
    msgspec.json.encode(summary)


def test_scores_of_other_limits_are_not_compared():
    other = msgspec.structs.replace(SHADOW, fail_from=0.7)
    agreement = Agreement(ACTIVE, other)
    agreement.part(judged(0.1), judged(0.3))
    summary = agreement.summary()
    assert summary["agree"] == 1
    assert summary["max_score_delta"] is summary["median_score_delta"] is None


def test_times_are_of_the_last_parts_and_only_of_enough():
    agreement = Agreement(ACTIVE, SHADOW)
    for _ in range(99):
        agreement.part(judged(0.1), judged(0.1), active_ms=1.0, shadow_ms=50.0)
    assert agreement.summary()["p99_ms"] is None
    for _ in range(KEPT):
        agreement.part(judged(0.1), judged(0.1), active_ms=1.0, shadow_ms=2.0)
    agreement.part(judged(0.1), failed(Fault.UNFIT_IMAGE))  # no session ran
    summary = agreement.summary()
    assert (summary["p99_ms"], summary["active_p99_ms"]) == (2.0, 1.0)


@pytest.mark.parametrize("parts", [100, 101, KEPT, KEPT + 1, 3 * KEPT + 7])
def test_percentiles_are_numpys_to_the_bit(parts):
    drawn, agreement = random.Random(parts), Agreement(ACTIVE, SHADOW)
    scores = [(drawn.random(), drawn.choice((0.1, 0.5))) for _ in range(parts)]
    times = [(drawn.expovariate(1.0), drawn.choice((2.0, 3.0, 50.0))) for _ in range(parts)]
    for (one, other), (active_ms, shadow_ms) in zip(scores, times, strict=True):
        agreement.part(judged(one), judged(other), active_ms=active_ms, shadow_ms=shadow_ms)
    summary = agreement.summary()
    deltas = [abs(one - other) for one, other in scores[-KEPT:]]
    assert summary["median_score_delta"] == np.percentile(deltas, 50)
    assert summary["active_p99_ms"] == np.percentile([one for one, _ in times[-KEPT:]], 99)
    assert summary["p99_ms"] == np.percentile([other for _, other in times[-KEPT:]], 99)
    assert list(summary["verdicts"]) == sorted(summary["verdicts"])


def test_a_summary_keeps_the_loop_for_microseconds():
    drawn, agreement = random.Random(1), Agreement(ACTIVE, SHADOW)
    for _ in range(KEPT):
        scores = judged(drawn.random()), judged(drawn.random())
        agreement.part(*scores, active_ms=drawn.random(), shadow_ms=drawn.random())
    taken_ns = []
    for _ in range(200):
        began_ns = time.perf_counter_ns()
        agreement.summary()
        taken_ns.append(time.perf_counter_ns() - began_ns)
    assert min(taken_ns) < 30_000  # 3 us; computed anew it was 95
