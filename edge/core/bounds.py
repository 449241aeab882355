"""Exact bounds on a rate from a count (Clopper-Pearson), one-sided at 95 %.

No overrun in 20,000 parts does not mean that there are none: it means fewer than 1.5 in 10,000.
"""

from __future__ import annotations

import math

from edge.core.binomial import lower, upper

TAIL = 0.05


def upper_95(events: int, parts: int) -> float:
    """The largest rate at which so few events, or fewer, still come up in 1 run of 20.

    ValueError without a part, or for a count that cannot be.
    """
    return upper(events, parts, 1.0 - TAIL)


def lower_95(events: int, parts: int) -> float:
    """The smallest rate at which so many events, or more, still come up in 1 run of 20."""
    return lower(events, parts, 1.0 - TAIL)


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
