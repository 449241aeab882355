"""The policy is pure, and no fault, NaN or silence becomes ACCEPT under any options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.policy import ThresholdPolicy
from edge.core.config import PolicyOptions, RegionRule
from edge.core.types import Action, Cause, Fault, Prediction, Region, Verdict

REGION = Region(1, 2, 3, 4, 10, 0.9)


def policy(pass_below=0.4, fail_from=0.6, **options):
    return ThresholdPolicy(pass_below, fail_from, PolicyOptions(**options))


@pytest.mark.parametrize(
    ("score", "verdict", "action"),
    [
        (0.0, Verdict.PASS, Action.ACCEPT),
        (0.3999, Verdict.PASS, Action.ACCEPT),
        (0.4, Verdict.INDETERMINATE, Action.HOLD),
        (0.6, Verdict.FAIL, Action.REJECT),
        (9.0, Verdict.FAIL, Action.REJECT),
    ],
)
def test_a_score_becomes_a_verdict_and_an_action(score, verdict, action):
    decision = policy().decide(7, Prediction(score))
    assert (decision.part, decision.verdict, decision.action) == (7, verdict, action)
    assert decision.cause is Cause.VERDICT


def test_region_rules_only_worsen():
    rule = (RegionRule(min_area_px=10), RegionRule(min_area_px=5, verdict=Verdict.INDETERMINATE))
    assert policy(region_rules=rule).decide(1, Prediction(0.0, (REGION,))).verdict is Verdict.FAIL
    rule = (RegionRule(min_area_px=11), RegionRule(min_area_px=5, verdict=Verdict.INDETERMINATE))
    held = policy(region_rules=rule).decide(1, Prediction(0.0, (REGION,)))
    assert held.verdict is Verdict.INDETERMINATE
    still = policy(region_rules=rule).decide(1, Prediction(0.9, (REGION,)))
    assert still.verdict is Verdict.FAIL


def test_more_regions_than_fit_fail_where_regions_count():
    many = Prediction(0.0, (), overflow=True)
    assert policy(region_rules=(RegionRule(min_area_px=5),)).decide(1, many).action is Action.REJECT


OPTIONS = st.builds(
    PolicyOptions,
    default=st.sampled_from([Action.REJECT, Action.HOLD]),
    on_pass=st.sampled_from(list(Action)),
    on_fail=st.sampled_from([Action.REJECT, Action.REWORK, Action.HOLD]),
    on_indeterminate=st.sampled_from([Action.REJECT, Action.REWORK, Action.HOLD]),
)
NOT_A_RESULT = st.one_of(
    st.sampled_from(list(Fault)),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]).map(Prediction),
)


@given(OPTIONS, NOT_A_RESULT)
def test_no_fault_accepts(options, outcome):
    decision = ThresholdPolicy(0.5, 0.5, options).decide(1, outcome)
    assert decision.action is options.default
    assert decision.action is not Action.ACCEPT
    assert decision.fault is not None
    assert decision.verdict is None
    assert decision.score is None


@pytest.mark.parametrize("limits", [(0.6, 0.4), (float("nan"), 0.5), (0.5, float("nan"))])
def test_limits_that_cross_are_refused(limits):
    with pytest.raises(ValueError, match="pass_below"):
        ThresholdPolicy(*limits, PolicyOptions())
