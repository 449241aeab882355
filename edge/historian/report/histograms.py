"""How scores and latencies are spread, each one SVG drawing with its limits in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edge.historian.report import words
from edge.historian.report.charts import HALF, WIDE, counting, dates, slot, whole
from edge.historian.report.shift import Histogram, Latency, Ran, Shift
from edge.page import svg
from edge.page.scale import Scale, fitting, linear, named, placed, ticks
from edge.page.svg import Plot
from edge.page.words import count

MOST_LIMITS = 3  # pairs of thresholds drawn
LINES = {"p50": "p50", "p99": "p99", "most": "maximum"}
TRUTHS = {"good": "known good", "defect": "known defective", "unknown": "truth unknown"}
_PANEL_PX, _LABEL_PX = 118, 13


def scores(histogram: Histogram, ran: Sequence[Ran]) -> str:
    """A panel for each truth under one scale of scores, the limits down through all of them."""
    edges, lines = histogram.edges, _limits(ran)
    top, bottom = 26 + _LABEL_PX * len(lines), 0
    x = linear(edges[0], edges[-1], 52, WIDE - 14)
    marks: list[str] = []
    for row, (truth, counts) in enumerate(histogram.series.items()):
        plot = Plot(52, top + _PANEL_PX * row, WIDE - 14, top + _PANEL_PX * row + _PANEL_PX - 34)
        y = _counts_scale(plot, counts)
        marks.append(_count_axis(plot, y, f"parts, {TRUTHS[truth]}"))
        said = partial(_score_title, TRUTHS[truth])
        marks += svg.columns(plot, (x, y), (edges, counts), truth, said)
        bottom = round(plot.bottom)
        marks.append(svg.x_axis(plot, ()))
    panels = Plot(52, top, WIDE - 14, bottom)
    marks.append(svg.x_axis(panels, placed(x, ticks(x)), "score (higher is worse)"))
    for row, (limit, name) in enumerate(lines):
        marks.append(svg.down(panels, x(limit), 12 + _LABEL_PX * row, name, "limit"))
    return svg.document(WIDE, bottom + 36, "histogram of scores by truth, with limits", marks)


def latency(found: Latency) -> str:
    """How many parts took how long, with the budget as a line."""
    edges, counts = found.histogram.edges, found.histogram.series["verdict"]
    plot = Plot(52, 60, HALF - 14, 222)
    x = fitting(edges[0], edges[-1], plot.left, plot.right)
    y = _counts_scale(plot, counts)
    marks = [
        _count_axis(plot, y, "parts"),
        *svg.columns(plot, (x, y), (edges, counts), "verdict", _latency_title),
        svg.x_axis(plot, placed(x, ticks(x)), named("latency, ms", x)),
    ]
    for row, name in enumerate(("p50", "p99")):
        value = getattr(found.overall_ms, name)
        marks.append(svg.down(plot, x(value), 12 + 13 * row, f"{name} {value:,.2f} ms"))
    for budget in found.budget_ms:
        marks.append(svg.down(plot, x(budget), 38, f"budget {budget:g} ms", "limit"))
    return svg.document(HALF, 260, "histogram of latencies", marks)


def latency_over_time(shift: Shift, found: Latency) -> str:
    """p50, p99 and maximum of every period, with the budget as a line across."""
    plot = Plot(52, 60, HALF - 14, 222)
    timed = [(place, one.latency_ms) for place, one in enumerate(shift.periods) if one.latency_ms]
    values = [value for _, one in timed for value in (one.p50, one.max)]
    y = fitting(0.9 * min(values), 1.1 * max(*values, *found.budget_ms, 0), plot.bottom, plot.top)
    marks = [svg.y_axis(plot, y, ticks(y), named("latency, ms", y))]
    for kind, which in (("most", "max"), ("p99", "p99"), ("p50", "p50")):
        path = []
        for place, one in timed:
            left, wide = slot(plot, place, len(shift.periods))
            path.append(f"M{left:.1f},{y(getattr(one, which)):g}h{wide:.1f}")
        marks.append(svg.shape("".join(path), kind))
    for budget in found.budget_ms:
        marks.append(svg.shape(f"M{plot.left:g},{y(budget):g}H{plot.right:g}", "limit"))
        marks.append(svg.text(plot.left + 4, y(budget) - 4, f"budget {budget:g} ms"))
    marks.append(svg.x_axis(plot, dates(shift, plot), words.zone(shift.utc_offset_s)))
    marks.append(svg.legend(plot.right, 16, LINES.items()))
    return svg.document(HALF, 260, f"latency per {words.step(shift.step_s)}", marks)


def _limits(ran: Sequence[Ran]) -> list[tuple[float, str]]:
    """The scores at which the verdict changed, with their names; of the most parts first."""
    found: dict[tuple[float, str], None] = {}
    for pair in list(dict.fromkeys(one.limits for one in ran))[:MOST_LIMITS]:
        if len(set(pair)) == 1:
            found[pair[0], f"pass below, fail from {pair[0]:g}"] = None
        elif pair:
            found[pair[0], f"pass below {pair[0]:g}"] = None
            found[pair[-1], f"fail from {pair[-1]:g}"] = None
    return list(found)


def _score_title(truth: str, first: float, last: float, parts: int) -> str:
    return f"{first:.4g} to {last:.4g}: {count(parts, 'part')}, {truth}"


def _latency_title(first: float, last: float, parts: int) -> str:
    return f"{first:.2f} to {last:.2f} ms: {count(parts, 'part')}"


def _counts_scale(plot: Plot, counts: Sequence[int]) -> Scale:
    some = [few for few in counts if few]
    return counting(max(some, default=1), min(some, default=1), plot)


def _count_axis(plot: Plot, y: Scale, label: str) -> str:
    return svg.y_axis(plot, y, whole(y), named(label, y))
