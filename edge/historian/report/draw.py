"""Scales, axes and marks as SVG text; what is charted is in charts.py.

Coordinates are pixels of the view box. Every word is escaped here, and nowhere twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

LETTER_PX = 6.6  # about the mean letter of a wide font of 11 px
LONG = 4.0  # from which ratio of largest to smallest a logarithm shows values better
MOST_TICKS = 8
TICK_PX = 18  # between two ticks at least, for a line of text


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


def fitting(low: float, high: float, start: float, end: float) -> Scale:
    """Logarithmic where the tail is long, else linear."""
    if low > 0 and high / low > LONG:
        return Scale(low, high, start, end, math.log10)
    return linear(low, high, start, end)


def counting(most: int, least: int, start: float, end: float) -> Scale:
    """Of counts: from zero, or logarithmic where a single part would not be seen beside most."""
    if most > 50 * max(1, least):
        return Scale(0.5, 1.2 * most, start, end, math.log10)
    return linear(0, 1.05 * max(1, most), start, end)


def ticks(scale: Scale) -> list[float]:
    """Round values, about MOST_TICKS or as many as have room."""
    most = max(2, min(MOST_TICKS, int(abs(scale.end - scale.start) / TICK_PX)))
    return _decades(scale, most) if is_logarithmic(scale) else _steps(scale, most)


def whole(scale: Scale) -> list[float]:
    """Of counts: half a part is no tick."""
    return [tick for tick in ticks(scale) if tick == int(tick)]


def is_logarithmic(scale: Scale) -> bool:
    return scale.bend is math.log10


def named(words: str, scale: Scale) -> str:
    return f"{words} (log)" if is_logarithmic(scale) else words


def document(width: int, height: float, label: str, marks: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" '
        f'style="max-width:{width}px" role="img" aria-label="{escape(label)}">'
        f"{''.join(marks)}</svg>"
    )


def x_axis(plot: Plot, at: Iterable[tuple[float, str]], label: str = "") -> str:
    """Named pixels below the plot, the name of the scale at its right end below them."""
    marks = [f'<path class="axis" d="M{plot.left:g},{plot.bottom:g}H{plot.right:g}"/>']
    for x, words in at:
        marks.append(f'<path class="axis" d="M{x:g},{plot.bottom:g}v4"/>')
        marks.append(text(x, plot.bottom + 16, words, "middle"))
    if label:
        marks.append(text(plot.right, plot.bottom + 31, label, "end", "name"))
    return "".join(marks)


def placed(scale: Scale) -> list[tuple[float, str]]:
    """The ticks of a scale, for `x_axis`."""
    return [(scale(value), number(value)) for value in ticks(scale)]


def y_axis(plot: Plot, scale: Scale, at: Sequence[float], label: str) -> str:
    """Ticks to the left of the plot with lines across it, the name above its corner."""
    marks = []
    for tick in at:
        y = scale(tick)
        marks.append(f'<path class="rule" d="M{plot.left:g},{y:g}H{plot.right:g}"/>')
        marks.append(text(plot.left - 6, y + 4, number(tick), "end"))
    marks.append(text(4, plot.top - 10, label, "start", "name"))
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


def down(plot: Plot, x: float, y: float, words: str, kind: str = "mark") -> str:
    """A line down the plot from a label; the label is left of it where the right edge is near."""
    fits = x + 6 + LETTER_PX * len(words) < plot.right
    at, anchor = (x + 4, "start") if fits else (x - 4, "end")
    return shape(f"M{x:g},{y - 9:g}V{plot.bottom:g}", kind) + text(at, y, words, anchor)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def shortened(words: str, wide_px: float) -> str:
    """As much of a name as fits."""
    most = max(2, int(wide_px / LETTER_PX))
    return words if len(words) <= most else f"{words[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _steps(scale: Scale, most: int) -> list[float]:
    """Round steps, the smallest of which there are not more than `most`."""
    span = scale.high - scale.low
    size = 10.0 ** math.floor(math.log10(span / most))
    size *= min(
        factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= span / most * (1 - 1e-9)
    )
    first = math.ceil(scale.low / size - 1e-9)
    last = math.floor(scale.high / size + 1e-9)
    return [round(place * size, 10) for place in range(first, last + 1)]


def _decades(scale: Scale, most: int) -> list[float]:
    """As many of 1, 2, 3, 5, 7 and their tens as fit."""
    exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    found: list[float] = []
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        values = (float(f"{digit}e{exponent}") for exponent in exponents for digit in digits)
        found = [value for value in values if scale.low <= value <= scale.high]
        if len(found) <= most:
            break
    return found[:: -(-len(found) // most) or 1]


def _titled(tag: str, title: str) -> str:
    return f"><title>{escape(title)}</title></{tag}>" if title else "/>"
