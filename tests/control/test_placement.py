"""Where a command with a movement goes."""

import pytest

from control.placement import Placement
from control.policy import ThresholdPolicy
from edge.core.config import PolicyOptions, PoseOptions
from edge.core.types import Action, Fault, Prediction, Region, Verdict

BELT = PoseOptions(frame="belt", mm_per_px=0.5, x_mm=100.0, y_mm=200.0, z_mm=5.0, rz_deg=90.0)
ACTIONS = (Action.REWORK, Action.REJECT)
SMALL, WORST = Region(0, 0, 2, 2, 4, 0.1), Region(10, 20, 4, 8, 30, 0.9)


def test_the_worst_regions_centre_is_turned_scaled_and_moved():
    pose = Placement(BELT, ACTIONS, (64, 32)).pose(Action.REWORK, (SMALL, WORST))
    # (12, 24) px, turned by 90 degrees: (-24, 12), in halves of a millimetre.
    assert (pose.x_mm, pose.y_mm) == pytest.approx((100 - 12, 200 + 6))
    assert (pose.frame, pose.z_mm, pose.rz_deg) == ("belt", 5.0, 90.0)


def test_a_pick_without_a_region_is_at_the_pictures_centre():
    pose = Placement(BELT, ACTIONS, (64, 32)).pose(Action.REJECT, ())
    assert (pose.x_mm, pose.y_mm) == pytest.approx((100 - 16, 200 + 8))


def policy(**options):
    placement = Placement(BELT, ACTIONS, (64, 32))
    rules = PolicyOptions(on_indeterminate=Action.REWORK, **options)
    return ThresholdPolicy(0.3, 0.6, rules, placement)


def test_a_rework_carries_its_pose_and_one_without_a_place_is_a_fault():
    decision = policy().decide(1, Prediction(0.5, (WORST,)))
    assert decision.action is Action.REWORK
    assert decision.pose is not None
    lost = policy().decide(1, Prediction(0.5))
    assert (lost.action, lost.fault, lost.verdict) == (Action.REJECT, Fault.BAD_OUTPUT, None)
    assert lost.detail == "rework without a region"


def test_an_action_that_moves_nothing_has_no_pose():
    decision = policy().decide(1, Prediction(0.1))
    assert (decision.verdict, decision.pose) == (Verdict.PASS, None)
