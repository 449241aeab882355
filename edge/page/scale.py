"""From values to pixels, and the round values that an axis names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

LONG = 4.0  # from which ratio of largest to smallest a logarithm shows values better
MOST_TICKS = 8
TICK_PX = 18  # between two ticks at least, for a line of text
ROUND = (1, 2, 2.5, 5, 10)  # round steps, in powers of ten


class Scale(NamedTuple):
    """From a value to a pixel; values outside are drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    bend: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        low, high = self.bend(self.low), self.bend(self.high)
        share = (self.bend(min(max(value, self.low), self.high)) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)


def linear(low: float, high: float, start: float, end: float) -> Scale:
    return Scale(low, high if high > low else low + 1.0, start, end)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """low must be above zero."""
    return Scale(low, high if high > low else 2 * low, start, end, math.log10)


def fitting(low: float, high: float, start: float, end: float) -> Scale:
    """Logarithmic where the tail is long, else linear."""
    make = logarithmic if low > 0 and high / low > LONG else linear
    return make(low, high, start, end)


def is_logarithmic(scale: Scale) -> bool:
    return scale.bend is math.log10


def named(words: str, scale: Scale) -> str:
    return f"{words} (log)" if is_logarithmic(scale) else words


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def placed(scale: Scale, values: Iterable[float]) -> list[tuple[float, str]]:
    """Pixels of values with their names, for `svg.x_axis`."""
    return [(scale(value), number(value)) for value in values]


def ticks(scale: Scale) -> list[float]:
    """Round values, about MOST_TICKS or as many as have room."""
    most = max(2, min(MOST_TICKS, int(abs(scale.end - scale.start) / TICK_PX)))
    return decades(scale, most) if is_logarithmic(scale) else steps(scale, most)


def steps(scale: Scale, most: int) -> list[float]:
    """Multiples of the smallest round step that a linear scale holds at most so often."""
    least = (scale.high - scale.low) / most
    size = 10.0 ** math.floor(math.log10(least))
    return multiples(scale, size * min(one for one in ROUND if size * one >= least * (1 - 1e-9)))


def multiples(scale: Scale, size: float) -> list[float]:
    """Those of a step that lie on the scale."""
    first = math.ceil(scale.low / size - 1e-9)
    last = math.floor(scale.high / size + 1e-9)
    return [round(place * size, 10) for place in range(first, last + 1)]


def decades(scale: Scale, most: int) -> list[float]:
    """Of a logarithmic scale, as many of 1, 2, 3, 5, 7 and their tens as fit."""
    exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    found: list[float] = []
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        values = (float(f"{digit}e{exponent}") for exponent in exponents for digit in digits)
        found = [value for value in values if scale.low <= value <= scale.high]
        if len(found) <= most:
            break
    return found[:: -(-len(found) // most) or 1]
