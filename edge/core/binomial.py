"""Exact bounds on a rate from a count (Clopper-Pearson), at any confidence.

Exact: whatever the true rate is, a bound is wrong in at most 1 - confidence of all samples of so
many parts. It takes the parts to be independent: pictures of one physical part are not.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_SMALL = 1e-14  # relative change at which the continued fraction has converged
_TERMS = 100_000  # it needs about the square root of the number of parts


def interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of a rate: each side is wrong in half of what confidence leaves.

    (0.0, 1.0) where n is 0, since nothing is known then. ValueError as `upper`.
    """
    if n == 0 and count == 0:
        return 0.0, 1.0
    each = (1.0 + confidence) / 2
    return lower(count, n, each), upper(count, n, each)


def upper(count: int, n: int, confidence: float) -> float:
    """The largest rate at which so few, or fewer, of n still come up with 1 - confidence.

    ValueError without a part, for a count that cannot be, or a confidence outside 0..1.
    """
    _check(count, n, confidence)
    tail = 1.0 - confidence
    if count == n:
        return 1.0
    if count == 0:
        return -math.expm1(math.log(tail) / n)
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        # P(X <= count) at this rate: it falls as the rate rises.
        if _beta(1.0 - middle, n - count, count + 1) > tail:
            low = middle
        else:
            high = middle
    return high


def lower(count: int, n: int, confidence: float) -> float:
    """The smallest rate at which so many, or more, of n still come up with 1 - confidence."""
    _check(count, n, confidence)
    return 1.0 - upper(n - count, n, confidence)


def _check(count: int, n: int, confidence: float) -> None:
    if not 0 <= count <= n or not n:
        raise ValueError(f"{count} events in {n} parts")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence}: between 0 and 1")


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
