"""A soak by the minute, as one drawing: latency, overruns below it, memory below those."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.latency.report.scales import NAME_PX, steps, ticks
from bench.latency.result import Minute
from edge.page import svg
from edge.page.scale import Scale, fitting, linear, named, number, placed
from edge.page.svg import Plot

MOST_COLUMNS = 400
WIDTH = 1020
HEIGHT = 340


def chart(minutes: Sequence[Minute], width: int = WIDTH) -> str:
    """Empty for a run of less than two minutes."""
    if len(minutes) < 2:
        return ""
    columns = gathered(minutes)
    latency = Plot(52, 46, width - 14, 186)
    x = linear(columns[0].minute, columns[-1].minute, latency.left + 6, latency.right - 6)
    memory = Plot(52, 264, width - 14, 298)
    whole = [tick for tick in steps(x) if tick == int(tick)]
    marks = [
        *_latency(latency, x, columns),
        *_overruns(Plot(52, 214, width - 14, 238), x, columns),
        *_memory(memory, x, columns),
        svg.x_axis(memory, placed(x, whole), "minute"),
    ]
    return svg.document(width, HEIGHT, f"{len(minutes):,} minutes", marks)


def gathered(minutes: Sequence[Minute]) -> list[Minute]:
    """At most MOST_COLUMNS: sums of counts, medians of medians, the largest of the rest."""
    size = -(-len(minutes) // MOST_COLUMNS)
    groups = [minutes[start : start + size] for start in range(0, len(minutes), size)]
    return [
        Minute(
            minute=those[0].minute,
            parts=sum(one.parts for one in those),
            overruns=sum(one.overruns for one in those),
            p50=median(one.p50 for one in those),
            p99=max(one.p99 for one in those),
            max=max(one.max for one in those),
            session_p50=median(one.session_p50 for one in those),
            resident_mib=max(one.resident_mib for one in those),
        )
        for those in groups
    ]


def _latency(plot: Plot, x: Scale, columns: Sequence[Minute]) -> list[str]:
    there = [one for one in columns if one.p50 > 0]  # a minute without a verdict has none
    low = 0.95 * min((one.p50 for one in there), default=1.0)
    high = 1.05 * max((one.max for one in there), default=2.0)
    y = fitting(low, high, plot.bottom, plot.top)
    at = [x(one.minute) for one in there]
    dots = "".join(f"M{px:g},{y(one.max):g}h0" for px, one in zip(at, there, strict=True))
    return [
        svg.y_axis(plot, y, ticks(y), named("latency, ms", y), NAME_PX),
        svg.line(at, [y(one.p50) for one in there], "latency"),
        svg.line(at, [y(one.p99) for one in there], "upper"),
        svg.shape(dots, "dots"),
        svg.legend(plot.right, 16, (("latency", "p50"), ("upper", "p99"), ("dots", "max"))),
    ]


def _overruns(plot: Plot, x: Scale, columns: Sequence[Minute]) -> list[str]:
    most = max(one.overruns for one in columns)
    words = "overruns" if most else "no overruns"
    marks = [svg.text(4, plot.top - 5, words, "start", "name")]
    if not most:
        return marks
    y = linear(0, most, plot.bottom, plot.top)
    marks.append(svg.text(plot.left - 6, plot.top + 10, number(most), "end"))
    wide = max(1.5, min(10.0, 0.6 * (plot.right - plot.left) / len(columns)))
    for one in columns:
        if one.overruns:
            top = y(one.overruns)
            title = f"minute {one.minute:,}: {one.overruns:,} overruns of {one.parts:,} parts"
            left = x(one.minute) - wide / 2
            marks.append(svg.rectangle(left, top, wide, plot.bottom - top, "late", title))
    return marks


def _memory(plot: Plot, x: Scale, columns: Sequence[Minute]) -> list[str]:
    known = [one for one in columns if one.resident_mib > 0]
    marks = [svg.text(4, plot.top - 5, "memory of the loop's process, MiB", "start", "name")]
    if not known:
        return marks
    low, high = (pick(one.resident_mib for one in known) for pick in (min, max))
    y = linear(low, max(high, low + 1), plot.bottom - 4, plot.top + 4)
    ends = (low, high) if high - low > 0.5 else (low,)
    marks += [svg.text(plot.left - 6, y(end) + 4, f"{end:,.1f}", "end") for end in ends]
    xs = [x(one.minute) for one in known]
    marks.append(svg.line(xs, [y(one.resident_mib) for one in known], "line"))
    return marks
