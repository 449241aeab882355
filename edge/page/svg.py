"""Axes and marks of a chart, as SVG text; what is charted is its page's own.

Coordinates are pixels of the view box. Every word is escaped here, and nowhere twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

from edge.page.scale import Scale, number

LETTER_PX = 6.6  # about the mean letter of a wide font of 11 px
NAME_PX = 10  # from a plot up to the name of its vertical scale


class Plot(NamedTuple):
    """The rectangle inside the axes."""

    left: float
    top: float
    right: float
    bottom: float


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


def y_axis(
    plot: Plot, scale: Scale, at: Iterable[float], label: str, name_px: float = NAME_PX
) -> str:
    """Ticks to the left of the plot with lines across it, the name above its corner."""
    marks = []
    for tick in at:
        y = scale(tick)
        marks.append(f'<path class="rule" d="M{plot.left:g},{y:g}H{plot.right:g}"/>')
        marks.append(text(plot.left - 6, y + 4, number(tick), "end"))
    marks.append(text(4, plot.top - name_px, label, "start", "name"))
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


def columns(
    plot: Plot,
    scales: tuple[Scale, Scale],
    bins: tuple[Sequence[float], Sequence[int]],
    kind: str,
    said: Callable[[float, float, int], str],
) -> list[str]:
    """A histogram. scales: x and y; bins: n + 1 edges and n counts; said: each one's title."""
    (x, y), (edges, counts) = scales, bins
    marks = []
    for first, last, few in zip(edges, edges[1:], counts, strict=False):
        if few:
            left, top = x(first), y(few)
            wide = max(x(last) - left - 0.5, 0.5)
            title = said(first, last, few)
            marks.append(rectangle(left, top, wide, plot.bottom - top, kind, title))
    return marks


def down(plot: Plot, x: float, y: float, words: str, kind: str = "mark") -> str:
    """A line down the plot from a label; the label is left of it where the right edge is near."""
    fits = x + 6 + LETTER_PX * len(words) < plot.right
    at, anchor = (x + 4, "start") if fits else (x - 4, "end")
    return shape(f"M{x:g},{y - 9:g}V{plot.bottom:g}", kind) + text(at, y, words, anchor)


def legend(x: float, y: float, entries: Iterable[tuple[str, str]]) -> str:
    """Samples of lines with their names, from the right edge x leftwards; of "dots" one dot."""
    marks = []
    for kind, words in reversed(list(entries)):
        x -= LETTER_PX * len(words)
        marks.append(text(x, y, words))
        x -= 28
        marks.append(shape(f"M{x:.1f},{y - 4:g}{'m11,0h0' if kind == 'dots' else 'h22'}", kind))
        x -= 14
    return "".join(marks)


def shortened(words: str, wide_px: float) -> str:
    """As much of a name as fits."""
    most = max(2, int(wide_px / LETTER_PX))
    return words if len(words) <= most else f"{words[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _titled(tag: str, title: str) -> str:
    return f"><title>{escape(title)}</title></{tag}>" if title else "/>"
