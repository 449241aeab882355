"""Charts of counts: over time and by kind, each one SVG drawing; "" with nothing to svg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.core.clock import NS_PER_S
from edge.historian.report import words
from edge.historian.report.shift import KINDS, Shift
from edge.page import svg
from edge.page.scale import Scale, linear, logarithmic, ticks
from edge.page.svg import Plot
from edge.page.words import count, percent

HALF, WIDE = 500, 1020  # widths of a chart: two in a row, or one
NOT_ACCEPTED = KINDS[1:]
MOST_DATES, DATE_PX = 12, 70  # names under an axis of time, and the width of one
_STRIP_PX = 34
_DAY_NS = 86_400 * NS_PER_S

Bar = tuple[str, Mapping[str, int]]  # its name, and its parts by kind


def over_time(shift: Shift) -> str:
    """All parts in the upper panel, what was not accepted in the lower one, by period."""
    upper, lower = Plot(52, 24, WIDE - 14, 108), Plot(52, 156, WIDE - 14, 266)
    every = [{"parts": one.counts.parts} for one in shift.periods]
    other = [{kind: getattr(one.counts, kind) for kind in NOT_ACCEPTED} for one in shift.periods]
    kinds = [kind for kind in NOT_ACCEPTED if any(counts[kind] for counts in other)]
    marks = [
        *_bars(upper, every, shift, "parts"),
        svg.x_axis(upper, ()),
        *_bars(lower, other, shift, "parts not accepted"),
        svg.x_axis(lower, dates(shift, lower), words.zone(shift.utc_offset_s)),
        _legend(lower.right, lower.top - 10, [(kind, words.KINDS[kind]) for kind in kinds]),
    ]
    return svg.document(WIDE, 300, f"parts per {words.step(shift.step_s)}", marks)


def pareto(bars: Sequence[Bar], kinds: Mapping[str, str], label: str) -> str:
    """Bars from the most frequent down, with counts and the cumulative share beside them."""
    if not bars:
        return ""
    high, name_px, wide = 22, 150, HALF
    plot = Plot(name_px + 8, 24, wide - 112, 24 + high * len(bars))
    most = max(sum(counts.values()) for _, counts in bars)
    every, reached = sum(sum(counts.values()) for _, counts in bars), 0
    x = linear(0, most, plot.left, plot.right)
    marks = []
    if len(kinds) > 1:
        marks.append(_legend(wide - 14, 12, list(kinds.items())))
    for row, (name, counts) in enumerate(bars):
        top, at, parts = plot.top + high * row, 0, sum(counts.values())
        reached += parts
        marks.append(svg.text(name_px, top + 15, svg.shortened(name, name_px), "end"))
        for kind, said in kinds.items():
            if few := counts.get(kind, 0):
                title = f"{name}: {count(few, 'part')} {said}"
                left = x(at)
                marks.append(svg.rectangle(left, top + 3, x(at + few) - left, 16, kind, title))
                at += few
        told = f"{parts:,}  ({percent(reached / every)})"
        marks.append(svg.text(x(parts) + 6, top + 15, told))
    marks.append(svg.x_axis(plot, ()))
    foot = svg.text(wide - 14, plot.bottom + 16, "parts (cumulative share)", "end", "name")
    return svg.document(wide, plot.bottom + 24, label, [*marks, foot])


def faults_over_time(shift: Shift) -> str:
    """A strip for each fault, the most frequent first, each with its own height of the bars."""
    names = list(shift.faults)
    if not names:
        return ""
    plot = Plot(232, 8, WIDE - 14, 8 + _STRIP_PX * len(names))
    marks = []
    for row, name in enumerate(names):
        strip = Plot(plot.left, plot.top + _STRIP_PX * row + 4, plot.right, 0)
        strip = strip._replace(bottom=strip.top + _STRIP_PX - 6)
        counts = [one.faults.get(name, 0) for one in shift.periods]
        y = linear(0, max(counts), strip.bottom, strip.top)
        marks.append(svg.shape(f"M{strip.left:g},{strip.bottom:g}H{strip.right:g}", "rule"))
        marks.append(svg.text(strip.left - 60, strip.bottom - 6, name, "end"))
        marks.append(svg.text(strip.left - 6, strip.bottom - 6, f"{sum(counts):,}", "end", "name"))
        for place, few in enumerate(counts):
            if few:
                left, wide = slot(strip, place, len(counts))
                title = f"{_name(shift, place)}: {count(few, 'part')}, {words.fault(name)}"
                top = y(few)
                marks.append(svg.rectangle(left, top, wide, strip.bottom - top, "fault", title))
    marks.append(svg.x_axis(plot, dates(shift, plot), words.zone(shift.utc_offset_s)))
    return svg.document(WIDE, plot.bottom + 36, "faults over time", marks)


def _bars(plot: Plot, stacks: Sequence[Mapping[str, int]], shift: Shift, label: str) -> list[str]:
    """A stack of kinds for each period, with its axis."""
    most = max((sum(stack.values()) for stack in stacks), default=0)
    y = linear(0, 1.05 * max(1, most), plot.bottom, plot.top)
    marks = [svg.y_axis(plot, y, whole(y), label)]
    for place, stack in enumerate(stacks):
        left, wide = slot(plot, place, len(stacks))
        at = 0
        for kind, few in stack.items():
            if few:
                said = words.KINDS.get(kind, "").strip()
                title = f"{_name(shift, place)}: {count(few, 'part')} {said}".strip()
                top, foot = y(at + few), y(at)
                marks.append(svg.rectangle(left, top, wide, foot - top, kind, title))
                at += few
    return marks


def counting(most: int, least: int, plot: Plot) -> Scale:
    """Up the plot from zero, or logarithmic where a single part would not be seen beside most."""
    if most > 50 * max(1, least):
        return logarithmic(0.5, 1.2 * most, plot.bottom, plot.top)
    return linear(0, 1.05 * max(1, most), plot.bottom, plot.top)


def whole(scale: Scale) -> list[float]:
    """Ticks of counts: half a part is none."""
    return [tick for tick in ticks(scale) if tick == int(tick)]


def slot(plot: Plot, place: int, places: int) -> tuple[float, float]:
    """Left edge and width of a period's bar."""
    wide = (plot.right - plot.left) / places
    return plot.left + place * wide + min(1.0, wide / 8), max(wide - min(2.0, wide / 4), 0.5)


def dates(shift: Shift, plot: Plot) -> list[tuple[float, str]]:
    """Names at the beginnings of periods, as many as fit."""
    places = len(shift.periods)
    most = max(2, min(MOST_DATES, int((plot.right - plot.left) / DATE_PX)))
    every = -(-places // most) or 1
    form = "%H:%M" if shift.last_utc_ns - shift.first_utc_ns < _DAY_NS else "%a %H:%M"
    form = form if shift.step_s < 86_400 else "%d %b"
    wide = (plot.right - plot.left) / max(1, places)
    return [
        (
            round(plot.left + place * wide, 1),
            words.instant(shift.periods[place].start_utc_ns, shift.utc_offset_s, form),
        )
        for place in range(0, places, every)
    ]


def _name(shift: Shift, place: int) -> str:
    return words.period_name(shift.periods[place].start_utc_ns, shift.step_s, shift.utc_offset_s)


def _legend(x: float, y: float, entries: Sequence[tuple[str, str]]) -> str:
    """Squares with their names, from the right edge x leftwards."""
    marks = []
    for kind, said in reversed(entries):
        x -= svg.LETTER_PX * len(said)
        marks.append(svg.text(x, y, said))
        x -= 16
        marks.append(svg.rectangle(x, y - 9, 10, 10, kind))
        x -= 14
    return "".join(marks)
