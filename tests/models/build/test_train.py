"""The wall-time cap of a training: a schedule that follows how long epochs take by now."""

from __future__ import annotations

import pytest

from models.build.recipe import Training
from models.build.train import epochs_within

SLOW_START_S = [5.0, 3.0]


def test_slow_first_epochs_do_not_cut_the_schedule_for_good():
    plan = Training(epochs=200, minutes=4.0)
    took_s: list[float] = []
    planned = []
    for each_s in SLOW_START_S + [0.3] * 198:
        took_s.append(each_s)
        planned.append(epochs_within(plan, len(took_s), sum(took_s), took_s))
    assert planned[0] == 48
    assert planned[4:] == [200] * 196


@pytest.mark.parametrize(
    ("each_s", "fits"), [(1.0, 120), (2.0, 60), (30.0, 4), (119.0, 1), (500.0, 1)]
)
def test_the_cap_holds_and_the_epochs_end_where_it_says(each_s, fits):
    plan = Training(epochs=200, minutes=2.0)
    took_s: list[float] = []
    while not took_s or len(took_s) < epochs_within(plan, len(took_s), sum(took_s), took_s):
        took_s.append(each_s)
    assert len(took_s) == fits


def test_what_was_spent_before_a_resume_counts():
    plan = Training(epochs=200, minutes=2.0)
    assert epochs_within(plan, 101, 101.0, [1.0]) == 120
    assert epochs_within(plan, 150, 130.0, [1.0]) == 150
