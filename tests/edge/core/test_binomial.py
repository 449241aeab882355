"""The exact interval against published tables, and against the binomial sum itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.binomial import interval, lower, upper


# Two-sided 95 %: the tables of Clopper and Pearson (1934) and of Geigy, and R's binom.test.
@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.308497),
        (1, 10, 0.002529, 0.445016),
        (5, 10, 0.187086, 0.812914),
        (10, 10, 0.691503, 1.0),
        (0, 100, 0.0, 0.036217),
        (2, 280, 0.000866, 0.025563),
        (5, 100, 0.016432, 0.112835),
        (15, 20, 0.508954, 0.913429),
        (0, 1, 0.0, 0.975),
    ],
)
def test_intervals_of_the_tables(count, n, low, high):
    assert interval(count, n) == pytest.approx((low, high), abs=2e-6)


def test_nothing_is_known_of_no_parts():
    assert interval(0, 0) == (0.0, 1.0)


def test_what_no_miss_proves():
    # The rule of three, exactly: 1,497 defective parts without a miss for 0.2 % at 95 %.
    assert upper(0, 1497, 0.95) < 0.002 < upper(0, 1496, 0.95)
    assert upper(0, 59, 0.95) == pytest.approx(0.0495, abs=1e-4)
    assert upper(3, 1000, 0.99) == pytest.approx(0.010014, abs=1e-5)


@given(st.integers(1, 150), st.data(), st.sampled_from((0.5, 0.9, 0.95, 0.99, 0.999)))
def test_a_bound_leaves_exactly_what_the_confidence_leaves(n, data, confidence):
    count = data.draw(st.integers(0, n))
    high, low = upper(count, n, confidence), lower(count, n, confidence)
    assert 0.0 <= low <= high <= 1.0
    if count < n:
        assert _at_most(count, n, high) == pytest.approx(1 - confidence, rel=1e-6)
    if count > 0:
        assert 1.0 - _at_most(count - 1, n, low) == pytest.approx(1 - confidence, rel=1e-6)


def _at_most(count: int, n: int, rate: float) -> float:
    return sum(math.comb(n, k) * rate**k * (1.0 - rate) ** (n - k) for k in range(count + 1))


@pytest.mark.parametrize(("count", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_counts_that_cannot_be_are_refused(count, n):
    with pytest.raises(ValueError, match=f"{count} events in {n} parts"):
        interval(count, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.2])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        upper(1, 5, confidence)
