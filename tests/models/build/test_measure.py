"""Numbers of a build: ranks, thresholds that keep to their limits."""

from __future__ import annotations

import numpy as np
import pytest

from models.build import measure
from models.build.recipe import Limits

LIMITS = Limits(max_escape=0.02, max_overkill=0.02)


def test_classes_that_stand_apart_get_one_threshold_midway_in_logits():
    values = np.array([0.01] * 50 + [0.99] * 50)
    limits = measure.thresholds_of(values, np.arange(100) >= 50, LIMITS)
    assert limits.pass_below == limits.fail_from == pytest.approx(0.5)


def test_classes_that_overlap_get_a_band_that_keeps_to_the_limits():
    rng = np.random.default_rng(0)
    defect = np.arange(2000) >= 1000
    values = rng.normal(np.where(defect, 0.6, 0.4), 0.08)
    limits = measure.thresholds_of(values, defect, LIMITS)
    assert limits.pass_below < limits.fail_from
    assert (values[defect] < limits.pass_below).mean() <= 0.02
    assert (values[~defect] >= limits.fail_from).mean() <= 0.021
