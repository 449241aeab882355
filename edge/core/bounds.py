"""Exact bounds on a rate from a count (Clopper-Pearson), one-sided at 95 %.

No overrun in 20,000 parts does not mean that there are none: it means fewer than 1.5 in 10,000.
"""

from __future__ import annotations

import math

TAIL = 0.05
_TINY = 1e-300
_SMALL = 1e-14  # relative change at which the continued fraction has converged
_TERMS = 100_000  # it needs about the square root of the number of parts


def upper_95(events: int, parts: int) -> float:
    """The largest rate at which so few events, or fewer, still come up in 1 run of 20.

    ValueError without a part, or for a count that cannot be.
    """
    _check(events, parts)
    if events == parts:
        return 1.0
    if events == 0:
        return -math.expm1(math.log(TAIL) / parts)
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        # P(X <= events) at this rate: it falls as the rate rises.
        if _beta(1.0 - middle, parts - events, events + 1) > TAIL:
            low = middle
        else:
            high = middle
    return high


def lower_95(events: int, parts: int) -> float:
    """The smallest rate at which so many events, or more, still come up in 1 run of 20."""
    _check(events, parts)
    return 1.0 - upper_95(parts - events, parts)


def _check(events: int, parts: int) -> None:
    if not 0 <= events <= parts or not parts:
        raise ValueError(f"{events} events in {parts} parts")


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I(x; a, b)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_front) * _fraction(x, a, b) / a
    return 1.0 - math.exp(log_front) * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Its continued fraction, by Lentz's method; converges fast for x < (a + 1) / (a + b + 2)."""
    c, d = 1.0, 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d, c = 1.0 / _off_zero(1.0 + even * d), _off_zero(1.0 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d, c = 1.0 / _off_zero(1.0 + odd * d), _off_zero(1.0 + odd / c)
        value *= d * c
        if abs(d * c - 1.0) < _SMALL:
            return value
    raise ArithmeticError(f"I({x}; {a}, {b}) does not converge")


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def rank_above(share: float, count: int, tail: float = TAIL) -> int | None:
    """Which of so many values in order, counted from 1, lies above a percentile of all to come.

    share: 0.99 for the 99th. Exact whatever the distribution is, and wrong in `tail` of all
    samples: the value of rank r lies below the percentile only when r values or more do, and how
    many do is binomial. None where even the largest of so few may well lie below it.
    """
    chance = 0.0  # that so many values or more lie below the percentile
    for below in range(count, -1, -1):
        chance += math.exp(
            math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
            + below * math.log(share) + (count - below) * math.log1p(-share)
        )  # fmt: skip
        if chance > tail:
            return below + 1 if below < count else None
    return None
