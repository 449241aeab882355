"""PREDICTION -> DECISION: pure rules. A fault, or a score that is not a number, never accepts."""

from __future__ import annotations

import math
from typing import assert_never

from control.placement import Placement
from edge.core.config import PolicyOptions
from edge.core.types import Action, Cause, Decision, Fault, Prediction, Serving, Verdict

_WORSE = {Verdict.PASS: 0, Verdict.INDETERMINATE: 1, Verdict.FAIL: 2}


class ThresholdPolicy:
    """PASS below one score, FAIL from another, INDETERMINATE between; region rules only worsen.

    pass_below and fail_from come from the package, the one that judged the part where that is
    told; the rules and the mapping from verdict to action from the station file.
    """

    def __init__(
        self,
        pass_below: float,
        fail_from: float,
        options: PolicyOptions,
        placement: Placement | None = None,
    ) -> None:
        """placement: where the actions that move something are told to move to."""
        if not pass_below <= fail_from:
            raise ValueError(f"pass_below {pass_below} above fail_from {fail_from}")
        self._limits, self._options = (pass_below, fail_from), options
        self._placement = placement

    @property
    def default(self) -> Action:
        return self._options.default

    def decide(
        self,
        part: int,
        outcome: Prediction | Fault,
        cause: Cause | None = None,
        serving: Serving | None = None,
    ) -> Decision:
        match outcome:
            case Prediction():
                return self._verdict(part, outcome, serving)
            case Fault():
                return self._fault(part, outcome, cause)
            case _:
                assert_never(outcome)

    def _verdict(self, part: int, prediction: Prediction, serving: Serving | None) -> Decision:
        if not math.isfinite(prediction.score):
            return self._fault(part, Fault.BAD_OUTPUT)
        verdict = self.judge(prediction, serving)
        action, pose = self._action(verdict), None
        if self._placement and self._placement.wants(action):
            pose = self._placement.pose(action, prediction.regions)
            if pose is None:  # sent without, the machine would go to wherever it was told last
                return self._fault(part, Fault.BAD_OUTPUT, detail=f"{action} without a region")
        return Decision(
            part=part,
            action=action,
            cause=Cause.VERDICT,
            verdict=verdict,
            score=prediction.score,
            regions=prediction.regions,
            pose=pose,
        )

    def judge(self, prediction: Prediction, serving: Serving | None = None) -> Verdict:
        """The verdict of a finite score and its regions; too many regions to list is a FAIL."""
        pass_below, fail_from = (serving.pass_below, serving.fail_from) if serving else self._limits
        if prediction.score >= fail_from:
            verdict = Verdict.FAIL
        elif prediction.score < pass_below:
            verdict = Verdict.PASS
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

    def _fault(
        self, part: int, fault: Fault, cause: Cause | None = None, detail: str = ""
    ) -> Decision:
        if cause is None:
            late = fault in (Fault.DEADLINE, Fault.STALL)
            cause = Cause.DEADLINE if late else Cause.FAULT
        return Decision(
            part=part, action=self._options.default, cause=cause, fault=fault, detail=detail
        )
