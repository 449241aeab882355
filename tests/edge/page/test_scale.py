"""Scales never leave their pixels, and their ticks are round, few and inside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.page.scale import MOST_TICKS, fitting, is_logarithmic, linear, placed, steps, ticks


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6), st.floats(allow_nan=False, allow_infinity=False))
def test_scales_and_ticks_stay_inside(one, other, value):
    low, high = min(one, other), max(one, other)
    scale = fitting(low, high, 52, 486)
    assert is_logarithmic(scale) == (high / low > 4)
    assert 52 <= scale(value) <= 486
    found = ticks(scale)
    assert len(found) <= MOST_TICKS + 1
    assert all(scale.low * (1 - 1e-9) <= tick <= scale.high * (1 + 1e-9) for tick in found)


@pytest.mark.parametrize(
    ("high", "most", "found"),
    [(8, 8, 9), (9, 8, 5), (100, 2, 3), (0.004, 8, 9), (1234, 4, 3)],
)
def test_steps_are_the_finest_that_have_room(high, most, found):
    values = steps(linear(0, high, 0, 100), most)
    assert values[0] == 0
    assert len(values) == found


def test_a_scale_of_one_value_has_ticks():
    assert ticks(linear(5, 5, 0, 100))[0] == 5


def test_ticks_are_named_where_they_lie():
    assert placed(linear(0, 2000, 10, 30), (0, 0.5, 2000)) == [
        (10.0, "0"),
        (10.0, "0.5"),
        (30.0, "2,000"),
    ]
