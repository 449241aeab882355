"""The exact bounds against published values, and against the binomial sum itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.bounds import lower_95, upper_95


@pytest.mark.parametrize(
    ("events", "parts", "bound"),
    [
        (0, 20_000, 1.4977e-4),
        (3, 1000, 0.007734),
        (0, 2995, 0.0009997),
        (1, 10, 0.394163),
        (10, 10, 1.0),
        (0, 1, 0.95),
        (0, 300, 0.0099360),
        (1, 300, 0.0157146),
        (5, 100, 0.1022534),
        (50, 100, 0.5863783),
        (99, 100, 0.9994872),
    ],
)
def test_upper_bounds(events, parts, bound):
    assert upper_95(events, parts) == pytest.approx(bound, rel=5e-4)


@pytest.mark.parametrize(
    ("events", "parts", "bound"),
    [(0, 50, 0.0), (10, 10, 0.741134), (1, 10, 0.005116), (5, 100, 0.019914)],
)
def test_lower_bounds(events, parts, bound):
    assert lower_95(events, parts) == pytest.approx(bound, rel=5e-4)


@given(st.integers(1, 200), st.data())
def test_a_bound_is_where_the_binomial_tail_is_one_in_twenty(parts, data):
    events = data.draw(st.integers(0, parts))
    upper, lower = upper_95(events, parts), lower_95(events, parts)
    assert 0.0 <= lower <= events / parts <= upper <= 1.0
    if events < parts:
        assert _at_most(events, parts, upper) == pytest.approx(0.05, rel=1e-6)
    if events > 0:
        assert 1.0 - _at_most(events - 1, parts, lower) == pytest.approx(0.05, rel=1e-6)


def _at_most(events: int, parts: int, rate: float) -> float:
    return sum(
        math.comb(parts, n) * rate**n * (1.0 - rate) ** (parts - n) for n in range(events + 1)
    )


def test_millions_of_parts_converge():
    assert upper_95(1000, 2_000_000) == pytest.approx(0.0005266, rel=1e-3)


@pytest.mark.parametrize("bound", [upper_95, lower_95])
@pytest.mark.parametrize(("events", "parts"), [(-1, 5), (6, 5), (0, 0)])
def test_counts_that_cannot_be_are_refused(bound, events, parts):
    with pytest.raises(ValueError, match=f"{events} events in {parts} parts"):
        bound(events, parts)
