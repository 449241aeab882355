"""The charts of a run, each one SVG drawing; several runs share their scales.

Long runs are drawn by columns of pixels: the median and the whole range of each, so that no
maximum is lost. Every overrun is in a mark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from bench.latency.report.scales import NAME_PX, nines, steps, ticks
from bench.latency.report.words import Floats, judged
from bench.latency.result import STAGES, Overrun, Result
from edge.page import svg
from edge.page.scale import Scale, fitting, is_logarithmic, linear, logarithmic, named, placed
from edge.page.svg import Plot

HALF, WIDE = 500, 1020  # widths of a chart: two in a row, or one
MOST_POINTS = 1500  # more are drawn by columns
COLUMN_PX = 2.0
MOST_MARKS = 300  # overruns with a mark each; more share one by columns
MOST_WHY = 200  # letters of a reason
LONG_S = 300.0  # a run from which its axis is in minutes
WAY = tuple(stage for stage in STAGES if stage != "ack")  # ack comes after the latency
LINES = ("latency", "session", "overhead")


class Common(NamedTuple):
    """What the charts of several runs share; milliseconds."""

    low: float  # latency
    high: float
    least: float  # of the three lines by percentile
    way: float  # the longest bar of stages


def common(runs: Sequence[Result]) -> Common:
    """The scales that fit all runs."""
    latency = np.concatenate([_every_latency(run) for run in runs])
    lines = np.concatenate([values for run in runs for values in _lines(run)])
    bars = [sum(_stage(run, s, which) for s in WAY) for run in runs for which in ("p50", "p99")]
    low, high = (latency.min(), latency.max()) if len(latency) else (1.0, 10.0)
    positive = lines[lines > 0]
    least = positive.min() if len(positive) else low
    return Common(
        low=0.97 * float(low),
        high=1.03 * float(high),
        least=0.97 * float(least),
        way=1.02 * max(*bars, 0.01),
    )


def histogram(run: Result, shared: Common, width: int = HALF) -> str:
    """How many parts took how long; where the tail is long, a single part can still be seen."""
    plot = Plot(52, 52, width - 14, 222)
    latency = judged(run).latency_ms
    x = fitting(shared.low, shared.high, plot.left, plot.right)
    spaced = np.geomspace if is_logarithmic(x) else np.linspace
    many = round(min(80, max(20, 2 * math.sqrt(len(latency)))))
    edges = spaced(shared.low, shared.high, many + 1)
    counts = np.histogram(latency, edges)[0].tolist()
    most = max(1, *counts)
    if is_logarithmic(x) and most > 20:
        y = logarithmic(0.5, 1.2 * most, plot.bottom, plot.top)
    else:
        y = linear(0, 1.05 * most, plot.bottom, plot.top)
    whole = [tick for tick in ticks(y) if tick >= 1 and tick == int(tick)]
    bins = (edges.tolist(), counts)
    marks = [
        svg.y_axis(plot, y, whole, named("parts", y), NAME_PX),
        *svg.columns(plot, (x, y), bins, "bar", _column_title),
        svg.x_axis(plot, placed(x, ticks(x)), named("latency, ms", x)),
    ]
    for row, which in enumerate(("p50", "p99")):
        if run.latency_ms is not None:
            ms = run.latency_ms[which]
            marks.append(svg.down(plot, x(ms), 11 + 13 * row, f"{which} {ms:,.2f} ms"))
    return svg.document(width, 260, f"histogram of {len(latency):,} latencies", marks)


def curve(run: Result, shared: Common, width: int = HALF) -> str:
    """Milliseconds by percentile, as far out as there are parts."""
    plot = Plot(52, 52, width - 24, 222)
    x = nines(plot.left, plot.right)
    y = fitting(shared.least, shared.high, plot.bottom, plot.top)
    marks = [
        svg.y_axis(plot, y, ticks(y), named("ms", y), NAME_PX),
        svg.x_axis(plot, placed(x, (50, 90, 99, 99.9, 99.99)), "percentile of parts"),
    ]
    for name, values in zip(LINES, _lines(run), strict=True):
        if len(values) > 2:
            furthest = min(x.high, 100 * (1 - 1 / len(values)))
            bent = np.linspace(x.bend(x.low), x.bend(furthest), 160)
            at = 100 * (1 - 10.0**-bent)
            found = np.percentile(values, at)
            xs, ys = [x(share) for share in at.tolist()], [y(ms) for ms in found.tolist()]
            marks.append(svg.line(xs, ys, name))
    marks.append(svg.legend(plot.right, 16, [(name, name) for name in LINES]))
    return svg.document(width, 260, "latency, session.run and overhead by percentile", marks)


def timeline(run: Result, shared: Common, width: int = WIDE) -> str:
    """The parts over the run, every overrun marked."""
    plot = Plot(52, 36, width - 14, 222)
    second = np.asarray(run.series.second, np.float64)
    latency = np.asarray(run.series.latency_ms, np.float64)
    unit, size = ("minutes", 60.0) if run.duration_s > LONG_S else ("seconds", 1.0)
    ends = [run.duration_s, *second.tolist(), *(one.second for one in run.timeline)]
    x = linear(0, max(ends) / size, plot.left, plot.right)
    y = fitting(shared.low, shared.high, plot.bottom, plot.top)
    marks = [
        svg.y_axis(plot, y, ticks(y), named("latency, ms", y), NAME_PX),
        svg.x_axis(plot, placed(x, steps(x)), f"{unit} of the run"),
    ]
    at = np.array([x(value) for value in (second / size).tolist()])
    if len(latency) <= MOST_POINTS:
        dots = (f"M{px:g},{y(ms):g}h0" for px, ms in zip(at, latency.tolist(), strict=True))
        marks.append(svg.shape("".join(dots), "dots"))
    else:
        marks += _columns(at, latency, y)
    marks += _overruns(run.timeline, x, y, size)
    return svg.document(width, 260, f"latency of {len(latency):,} parts over the run", marks)


def stages(run: Result, shared: Common, width: int = HALF) -> str:
    """A bar of medians and one of 99th percentiles, stage after stage."""
    plot = Plot(52, 8, width - 14, 100)
    x = linear(0, shared.way, plot.left, plot.right)
    marks = []
    for row, which in enumerate(("p50", "p99")):
        top, at = plot.top + 8 + 42 * row, 0.0
        marks.append(svg.text(plot.left - 6, top + 19, which, "end"))
        for number, stage in enumerate(WAY):
            took = _stage(run, stage, which)
            title = f"{stage}, {which}: {took:.3f} ms"
            wide = x(at + took) - x(at)
            marks.append(svg.rectangle(x(at), top, wide, 30, f"stage s{number}", title))
            at += took
    marks.append(svg.x_axis(plot, placed(x, steps(x)), "ms"))
    return svg.document(width, 138, "stages of a part's way", marks)


def _lines(run: Result) -> tuple[Floats, Floats, Floats]:
    parts = judged(run)
    return parts.latency_ms, parts.session_ms, parts.latency_ms - parts.session_ms


def _every_latency(run: Result) -> Floats:
    """Those of defaults and overruns too."""
    late = [one.latency_ms for one in run.timeline if one.latency_ms is not None]
    every = np.asarray([*run.series.latency_ms, *late], np.float64)
    return every[every > 0]


def _stage(run: Result, stage: str, which: str) -> float:
    return max(0.0, (run.stages_ms.get(stage) or {}).get(which, 0.0))


def _column_title(first: float, last: float, parts: int) -> str:
    return f"{first:.2f} to {last:.2f} ms: {parts:,} parts"


def _columns(at: Floats, latency: Floats, y: Scale) -> list[str]:
    """The range and the median of every COLUMN_PX pixels."""
    column = (at // COLUMN_PX).astype(np.int64)
    ranges, medians = [], []
    for place in np.unique(column).tolist():
        those = latency[column == place]
        px = (place + 0.5) * COLUMN_PX
        ranges.append(f"M{px:g},{y(float(those.min())):g}V{y(float(those.max())):g}")
        medians.append(f"M{px:g},{y(float(np.median(those))):g}h0")
    return [svg.shape("".join(ranges), "range"), svg.shape("".join(medians), "dots")]


def _overruns(timeline: Sequence[Overrun], x: Scale, y: Scale, size: float) -> list[str]:
    """A triangle whose tip is the latency; hollow at the top where no command was received."""
    if len(timeline) <= MOST_MARKS:
        groups = [[one] for one in timeline]
    else:
        in_time = sorted(timeline, key=lambda one: one.second)
        columns = groupby(in_time, key=lambda one: x(one.second / size) // (2 * COLUMN_PX))
        groups = [list(those) for _, those in columns]
    return [_overrun(those, x, y, size) for those in groups]


def _overrun(those: Sequence[Overrun], x: Scale, y: Scale, size: float) -> str:
    worst = max(those, key=lambda one: math.inf if one.latency_ms is None else one.latency_ms)
    unheard = worst.latency_ms is None
    px, py = x(worst.second / size), y(y.high if worst.latency_ms is None else worst.latency_ms)
    late = "no command" if unheard else f"{worst.latency_ms:,.1f} ms"
    title = f"part {worst.part:,}, {worst.second:,.2f} s: {late}; {worst.why[:MOST_WHY]}"
    if len(those) > 1:
        title = f"{len(those):,} overruns, the worst: {title}"
    kind = "late unheard" if unheard else "late"
    return svg.shape(f"M{px - 4:g},{py - 8:g}h8l-4,8z", kind, title)
