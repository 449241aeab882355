"""How scores and latencies are spread, each one SVG drawing with its limits in it."""

from __future__ import annotations

from collections.abc import Sequence

from edge.historian.report import draw, words
from edge.historian.report.charts import HALF, WIDE, dates, slot
from edge.historian.report.draw import Plot, Scale
from edge.historian.report.shift import Histogram, Latency, Ran, Shift

MOST_LIMITS = 3  # pairs of thresholds drawn
LINES = {"p50": "p50", "p99": "p99", "most": "maximum"}
TRUTHS = {"good": "known good", "defect": "known defective", "unknown": "truth unknown"}
_PANEL_PX, _LABEL_PX = 118, 13


def scores(histogram: Histogram, ran: Sequence[Ran]) -> str:
    """A panel for each truth under one scale of scores, the limits down through all of them."""
    edges, lines = histogram.edges, _limits(ran)
    top, bottom = 26 + _LABEL_PX * len(lines), 0
    x = draw.linear(edges[0], edges[-1], 52, WIDE - 14)
    marks: list[str] = []
    for row, (truth, counts) in enumerate(histogram.series.items()):
        plot = Plot(52, top + _PANEL_PX * row, WIDE - 14, top + _PANEL_PX * row + _PANEL_PX - 34)
        y = _counts_scale(plot, counts)
        marks.append(_count_axis(plot, y, f"parts, {TRUTHS[truth]}"))
        for first, last, few in zip(edges, edges[1:], counts, strict=False):
            if few:
                left, tip = x(first), y(few)
                title = f"{first:.4g} to {last:.4g}: {words.count(few, 'part')}, {TRUTHS[truth]}"
                wide = max(x(last) - left - 0.5, 0.5)
                marks.append(draw.rectangle(left, tip, wide, plot.bottom - tip, truth, title))
        bottom = round(plot.bottom)
        marks.append(draw.x_axis(plot, ()))
    whole = Plot(52, top, WIDE - 14, bottom)
    marks.append(draw.x_axis(whole, draw.placed(x), "score (higher is worse)"))
    for row, (limit, name) in enumerate(lines):
        marks.append(draw.down(whole, x(limit), 12 + _LABEL_PX * row, name, "limit"))
    return draw.document(WIDE, bottom + 36, "histogram of scores by truth, with limits", marks)


def latency(found: Latency) -> str:
    """How many parts took how long, with the budget as a line."""
    edges, counts = found.histogram.edges, found.histogram.series["verdict"]
    plot = Plot(52, 60, HALF - 14, 222)
    x = draw.fitting(edges[0], edges[-1], plot.left, plot.right)
    y = _counts_scale(plot, counts)
    marks = [_count_axis(plot, y, "parts")]
    for first, last, few in zip(edges, edges[1:], counts, strict=False):
        if few:
            left, top = x(first), y(few)
            title = f"{first:.2f} to {last:.2f} ms: {words.count(few, 'part')}"
            wide = max(x(last) - left - 0.5, 0.5)
            marks.append(draw.rectangle(left, top, wide, plot.bottom - top, "verdict", title))
    marks.append(draw.x_axis(plot, draw.placed(x), draw.named("latency, ms", x)))
    for row, name in enumerate(("p50", "p99")):
        value = getattr(found.overall_ms, name)
        marks.append(draw.down(plot, x(value), 12 + 13 * row, f"{name} {value:,.2f} ms"))
    for budget in found.budget_ms:
        marks.append(draw.down(plot, x(budget), 38, f"budget {budget:g} ms", "limit"))
    return draw.document(HALF, 260, "histogram of latencies", marks)


def latency_over_time(shift: Shift, found: Latency) -> str:
    """p50, p99 and maximum of every period, with the budget as a line across."""
    plot = Plot(52, 60, HALF - 14, 222)
    timed = [(place, one.latency_ms) for place, one in enumerate(shift.periods) if one.latency_ms]
    values = [value for _, one in timed for value in (one.p50, one.max)]
    y = draw.fitting(
        0.9 * min(values), 1.1 * max(*values, *found.budget_ms, 0), plot.bottom, plot.top
    )
    marks = [draw.y_axis(plot, y, draw.ticks(y), draw.named("latency, ms", y))]
    for kind, which in (("most", "max"), ("p99", "p99"), ("p50", "p50")):
        path = []
        for place, one in timed:
            left, wide = slot(plot, place, len(shift.periods))
            path.append(f"M{left:.1f},{y(getattr(one, which)):g}h{wide:.1f}")
        marks.append(draw.shape("".join(path), kind))
    for budget in found.budget_ms:
        marks.append(draw.shape(f"M{plot.left:g},{y(budget):g}H{plot.right:g}", "limit"))
        marks.append(draw.text(plot.left + 4, y(budget) - 4, f"budget {budget:g} ms"))
    marks.append(draw.x_axis(plot, dates(shift, plot), words.zone(shift.utc_offset_s)))
    marks.append(_line_legend(plot.right, 16))
    return draw.document(HALF, 260, f"latency per {words.step(shift.step_s)}", marks)


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


def _counts_scale(plot: Plot, counts: Sequence[int]) -> Scale:
    some = [few for few in counts if few]
    return draw.counting(max(some, default=1), min(some, default=1), plot.bottom, plot.top)


def _count_axis(plot: Plot, y: Scale, label: str) -> str:
    return draw.y_axis(plot, y, draw.whole(y), draw.named(label, y))


def _line_legend(x: float, y: float) -> str:
    marks = []
    for kind, said in reversed(LINES.items()):
        x -= draw.LETTER_PX * len(said)
        marks.append(draw.text(x, y, said))
        x -= 28
        marks.append(draw.shape(f"M{x:.1f},{y - 4:g}h22", kind))
        x -= 14
    return "".join(marks)
