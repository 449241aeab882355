"""Mean average precision against hand-counted cases."""

from __future__ import annotations

import pytest

from models.build.precision import Box, mean_average_precision, overlap

SPUR = Box(10, 10, 30, 30, "spur")
OPEN = Box(50, 50, 70, 70, "open")


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Box(10, 10, 30, 30, ""), 1.0),
        (Box(20, 10, 40, 30, ""), 1 / 3),
        (Box(30, 10, 50, 30, ""), 0.0),
        (Box(0, 0, 40, 40, ""), 0.25),
    ],
)
def test_overlap(other, expected):
    assert overlap(SPUR, other) == pytest.approx(expected)


def test_every_box_found_first_is_1_and_none_is_0():
    marked = [[SPUR], [OPEN]]
    found = [[SPUR._replace(score=0.9)], [OPEN._replace(score=0.8)]]
    assert mean_average_precision(found, marked) == {"spur": 1.0, "open": 1.0, "mean": 1.0}
    assert mean_average_precision([[], []], marked)["mean"] == 0.0


def test_a_false_claim_before_the_right_one_halves_it_and_one_after_costs_nothing():
    false = Box(80, 80, 90, 90, "spur")
    right = SPUR._replace(score=0.5)
    before = mean_average_precision([[false._replace(score=0.9), right]], [[SPUR]])
    after = mean_average_precision([[false._replace(score=0.1), right]], [[SPUR]])
    assert before["spur"] == pytest.approx(0.5)
    assert after["spur"] == pytest.approx(1.0)


def test_a_second_claim_of_the_same_box_and_one_of_another_type_are_false():
    twice = [[SPUR._replace(score=0.9), SPUR._replace(score=0.8)], [SPUR._replace(score=0.7)]]
    assert mean_average_precision(twice, [[SPUR], [SPUR]])["spur"] == pytest.approx((1 + 2 / 3) / 2)
    wrong = [[OPEN._replace(type="spur", score=0.9)], []]
    assert mean_average_precision(wrong, [[OPEN], []])["open"] == 0.0
