"""Scales, axes and marks of a chart, as SVG text; what is charted is in charts.py.

Coordinates are pixels of the view box. Every word is escaped here, and nowhere twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

LETTER_PX = 6.6  # about the mean letter of a wide font of that size
MOST_TICKS = 8


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


class Plot(NamedTuple):
    """The rectangle inside the axes."""

    left: float
    top: float
    right: float
    bottom: float


def linear(low: float, high: float, start: float, end: float) -> Scale:
    return Scale(low, high if high > low else low + 1.0, start, end)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """low must be above zero."""
    return Scale(low, high if high > low else 2 * low, start, end, math.log10)


def nines(start: float, end: float) -> Scale:
    """Percentiles from 50 to 99.99, each further nine as wide as the one before."""
    return Scale(50.0, 99.99, start, end, lambda value: -math.log10(1 - value / 100))


def steps(scale: Scale) -> list[float]:
    """Round values for the ticks of a linear scale, 4 to 8 of them."""
    span = scale.high - scale.low
    size = 10.0 ** math.floor(math.log10(span / 4))
    size *= max(factor for factor in (1, 2, 2.5, 5) if size * factor <= span / 4)
    first = math.ceil(scale.low / size - 1e-9)
    last = math.floor(scale.high / size + 1e-9)
    return [round(number * size, 10) for number in range(first, last + 1)]


def decades(scale: Scale) -> list[float]:
    """Ticks of a logarithmic scale, as many of 1, 2, 3, 5, 7 and their tens as fit."""
    exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    found: list[float] = []
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        values = (float(f"{digit}e{exponent}") for exponent in exponents for digit in digits)
        found = [value for value in values if scale.low <= value <= scale.high]
        if len(found) <= MOST_TICKS:
            break
    return found[:: -(-len(found) // MOST_TICKS) or 1]


def ticks(scale: Scale) -> list[float]:
    return decades(scale) if is_logarithmic(scale) else steps(scale)


def is_logarithmic(scale: Scale) -> bool:
    return scale.bend is math.log10


def fitting(low: float, high: float, start: float, end: float) -> Scale:
    """Logarithmic where the tail is long, else linear."""
    make = logarithmic if is_long(low, high) else linear
    return make(low, high, start, end)


def named(words: str, scale: Scale) -> str:
    return f"{words} (log)" if is_logarithmic(scale) else words


def document(width: int, height: int, label: str, marks: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width}px" role="img" aria-label="{escape(label)}">'
        f"{''.join(marks)}</svg>"
    )


def x_axis(plot: Plot, scale: Scale, at: Sequence[float], label: str) -> str:
    """Ticks below the plot, the name of the scale at its right end below them."""
    marks = [f'<path class="axis" d="M{plot.left},{plot.bottom}H{plot.right}"/>']
    for tick in at:
        x = scale(tick)
        marks.append(f'<path class="axis" d="M{x},{plot.bottom}v4"/>')
        marks.append(text(x, plot.bottom + 16, number(tick), "middle"))
    marks.append(text(plot.right, plot.bottom + 31, label, "end", "name"))
    return "".join(marks)


def y_axis(plot: Plot, scale: Scale, at: Sequence[float], label: str) -> str:
    """Ticks to the left of the plot with lines across it, the name above its corner."""
    marks = []
    for tick in at:
        y = scale(tick)
        marks.append(f'<path class="grid" d="M{plot.left},{y}H{plot.right}"/>')
        marks.append(text(plot.left - 6, y + 4, number(tick), "end"))
    marks.append(text(4, plot.top - 14, label, "start", "name"))
    return "".join(marks)


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{round(x, 1):g}" y="{round(y, 1):g}"{where}{css}>{escape(words)}</text>'


def rectangle(x: float, y: float, wide: float, high: float, kind: str, title: str = "") -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(wide, 0):.1f}" height="{max(high, 0):.1f}"'
    return f'<rect class="{kind}" {size}{_titled("rect", title)}'


def shape(path: str, kind: str, title: str = "") -> str:
    return f'<path class="{kind}" d="{path}"{_titled("path", title)}'


def line(xs: Iterable[float], ys: Iterable[float], kind: str) -> str:
    """One line through all points."""
    points = " ".join(f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>' if points else ""


def legend(x: float, y: float, entries: Iterable[tuple[str, str]]) -> str:
    """Samples of lines with their names, from the right edge x leftwards."""
    marks = []
    for kind, words in reversed(list(entries)):
        x -= LETTER_PX * len(words)
        marks.append(text(x, y, words))
        x -= 28
        sample = "m11,0h0" if kind == "dots" else "h22"
        marks.append(f'<path class="{kind}" d="M{x:.1f},{y - 4:g}{sample}"/>')
        x -= 14
    return "".join(marks)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def is_long(low: float, high: float) -> bool:
    """Whether a logarithm shows the values better."""
    return low > 0 and high / low > 4


def _titled(tag: str, title: str) -> str:
    return f"><title>{escape(title)}</title></{tag}>" if title else "/>"
