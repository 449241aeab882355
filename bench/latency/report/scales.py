"""The scales of a run's charts that no other page has."""

from __future__ import annotations

import math

from edge.page.scale import MOST_TICKS, ROUND, Scale, decades, is_logarithmic, multiples

LEAST_STEPS = 4
NAME_PX = 14  # from a plot up to the name of its vertical scale


def nines(start: float, end: float) -> Scale:
    """Percentiles from 50 to 99.99, each further nine as wide as the one before."""
    return Scale(50.0, 99.99, start, end, lambda value: -math.log10(1 - value / 100))


def ticks(scale: Scale) -> list[float]:
    return decades(scale, MOST_TICKS) if is_logarithmic(scale) else steps(scale)


def steps(scale: Scale) -> list[float]:
    """Multiples of the largest round step of which a linear scale holds 4: there are 4 to 8."""
    most = (scale.high - scale.low) / LEAST_STEPS
    size = 10.0 ** math.floor(math.log10(most))
    return multiples(scale, size * max(one for one in ROUND if size * one <= most))
