"""PREDICTION -> DECISION: pure rules. A fault, or a score that is not a number, never accepts."""

from __future__ import annotations

import math
from typing import assert_never

from edge.core.config import PolicyOptions
from edge.core.types import Action, Cause, Decision, Fault, Prediction, Verdict

_WORSE = {Verdict.PASS: 0, Verdict.INDETERMINATE: 1, Verdict.FAIL: 2}


class ThresholdPolicy:
    """PASS below one score, FAIL from another, INDETERMINATE between; region rules only worsen.

    pass_below and fail_from come from the package; the rules and the mapping from verdict to
    action from the station file.
    """

    def __init__(self, pass_below: float, fail_from: float, options: PolicyOptions) -> None:
        if not pass_below <= fail_from:
            raise ValueError(f"pass_below {pass_below} above fail_from {fail_from}")
        self._pass_below, self._fail_from, self._options = pass_below, fail_from, options

    @property
    def default(self) -> Action:
        return self._options.default

    def decide(self, part: int, outcome: Prediction | Fault) -> Decision:
        match outcome:
            case Prediction():
                if not math.isfinite(outcome.score):
                    return self._fault(part, Fault.BAD_OUTPUT)
                verdict = self.judge(outcome)
                return Decision(
                    part=part,
                    action=self._action(verdict),
                    cause=Cause.VERDICT,
                    verdict=verdict,
                    score=outcome.score,
                    regions=outcome.regions,
                )
            case Fault():
                return self._fault(part, outcome)
            case _:
                assert_never(outcome)

    def judge(self, prediction: Prediction) -> Verdict:
        """The verdict of a finite score and its regions; too many regions to list is a FAIL."""
        if prediction.score < self._pass_below:
            verdict = Verdict.PASS
        elif prediction.score >= self._fail_from:
            verdict = Verdict.FAIL
        else:
            verdict = Verdict.INDETERMINATE
        if prediction.overflow and self._options.region_rules:
            return Verdict.FAIL
        for rule in self._options.region_rules:
            if any(region.area_px >= rule.min_area_px for region in prediction.regions):
                verdict = max(verdict, rule.verdict, key=_WORSE.__getitem__)
        return verdict

    def _action(self, verdict: Verdict) -> Action:
        match verdict:
            case Verdict.PASS:
                return self._options.on_pass
            case Verdict.FAIL:
                return self._options.on_fail
            case Verdict.INDETERMINATE:
                return self._options.on_indeterminate
            case _:
                assert_never(verdict)

    def _fault(self, part: int, fault: Fault) -> Decision:
        late = fault in (Fault.DEADLINE, Fault.STALL)
        cause = Cause.DEADLINE if late else Cause.FAULT
        return Decision(part=part, action=self._options.default, cause=cause, fault=fault)
