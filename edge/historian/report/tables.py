"""The tables of a shift's page. Every number has its unit and a plain label."""

from __future__ import annotations

from html import escape

from edge.historian.report import words
from edge.historian.report.shift import Counts, Known, Latency, Percentiles, Rate, Shift
from edge.historian.report.table import Row, table
from edge.page.words import percent

_KINDS = ("accepted", "yield", "rejected", "rework", "held", "defaulted", "lost", "overruns")
_COUNTED = ("parts", *_KINDS, "p50, ms", "p99, ms", "max, ms")
_BROKEN = "broken rule, in the station's words"


def tiles(shift: Shift) -> str:
    """The figures that everybody asks for first."""
    total, known = shift.total, shift.known
    cells = [
        (f"{total.parts:,}", "parts", False),
        (_share(total.accepted, total.parts), f"yield: {total.accepted:,} accepted", False),
        (f"{total.rejected:,}", "rejected", False),
        (f"{total.held + total.reworked:,}", "held or sent to rework", False),
        (f"{total.defaulted + total.lost:,}", "defaulted or lost", True),
        (f"{total.overruns:,}", "overruns", True),
    ]
    if known:
        over = known.overkill + known.held_good
        cells.append((f"{known.escapes:,}", f"escapes of {known.defect:,} defective", True))
        cells.append((f"{over:,}", f"overkill, held included, of {known.good:,} good", False))
    if shift.latency:
        spread = shift.latency.overall_ms
        cells.append((f"{spread.p99:,.1f} ms", f"latency p99 (max {spread.max:,.1f} ms)", False))
    made = (
        f'<div class="{"wrong" if wrong and figure != "0" else ""}"><b>{escape(figure)}</b>'
        f"<span>{escape(label)}</span></div>"
        for figure, label, wrong in cells
    )
    return f'<div class="tiles">{"".join(made)}</div>'


def over_time(shift: Shift) -> str:
    whole = shift.latency.overall_ms if shift.latency else None
    rows = [_counted("total", shift.total, whole)]
    for one in shift.periods:
        name = words.period_name(one.start_utc_ns, shift.step_s, shift.utc_offset_s)
        rows.append(_counted(name, one.counts, one.latency_ms))
    return table(("from", *_COUNTED), rows, "numbers", {0: "sum"})


def judges(shift: Shift) -> str:
    """What judged parts, and how its parts fared."""
    rows = [
        _counted(words.judge(one), one.counts, one.latency_ms) for one in shift.ran if one.counts
    ]
    return table(("judged by", *_COUNTED), rows, "numbers")


def _counted(name: str, counts: Counts, latency_ms: Percentiles | None) -> Row:
    found = latency_ms
    spread = [_ms(found.p50), _ms(found.p99), _ms(found.max)] if found else ["-"] * 3
    numbers = (counts.rejected, counts.reworked, counts.held, counts.defaulted, counts.lost)
    return [
        name,
        f"{counts.parts:,}",
        f"{counts.accepted:,}",
        _share(counts.accepted, counts.parts),
        *(f"{number:,}" for number in (*numbers, counts.overruns)),
        *spread,
    ]


def known(found: Known) -> str:
    """Both kinds of parts by what became of them, and the rates with their bounds."""
    counts = [
        ["defective", found.defect, found.caught, found.escapes, found.held_defect],
        ["good", found.good, found.overkill, found.passed, found.held_good],
    ]
    ends = (found.defaulted_defect, found.defaulted_good)
    rows = [
        [str(name), *(f"{number:,}" for number in (*numbers, end))]
        for (name, *numbers), end in zip(counts, ends, strict=True)
    ]
    fared = table(
        ("truth", "parts", "failed in time", "accepted", "held", "defaulted"), rows, "numbers"
    )
    rates = [
        _rated("escape rate: defective parts accepted", found.escape_rate, upper=True),
        _rated("overkill rate: good parts failed or held", found.overkill_rate, upper=True),
        _rated("detection: defective parts failed in time (caught)", found.detection, upper=False),
    ]
    heads = ("rate", "parts", "of", "share", "with 95 % confidence")
    return fared + table(heads, rates, "numbers")


def _rated(name: str, rate: Rate | None, *, upper: bool) -> Row:
    if rate is None:
        return [name, "-", "0", "-", "nothing is known"]
    bound = f"at most {percent(rate.upper_95)}" if upper else f"at least {percent(rate.lower_95)}"
    return [name, f"{rate.count:,}", f"{rate.of:,}", percent(rate.share), bound]


def faults(shift: Shift) -> str:
    rows = [
        [name, f"{parts:,}", _share(parts, shift.total.parts), words.fault(name)]
        for name, parts in shift.faults.items()
    ]
    return table(("fault", "parts", "of all parts", "meaning"), rows, "words")


def latency(shift: Shift, found: Latency) -> str:
    spread, total = found.overall_ms, shift.total
    rows = [
        [
            f"{spread.parts:,}",
            *(f"{_ms(value)}" for value in (spread.p50, spread.p90, spread.p99, spread.max)),
            words.listed(f"{budget:g}" for budget in found.budget_ms),
        ]
    ]
    heads = ("parts with a verdict", "p50, ms", "p90, ms", "p99, ms", "max, ms", "budget, ms")
    over = words.bounded(total.overruns, total.parts)
    pictures = f"{total.picture_overruns:,} had a picture that could not be judged"
    return (
        table(heads, rows, "numbers")
        + f"<p>Overruns: {escape(over)}. Of them, {pictures}, and nothing was late. "
        "An overrun is a part without a verdict at its deadline, or whose command came after "
        f"act_by. Without a verdict at its deadline: {total.deadline_misses:,}. "
        "Verdicts that came too late and were not sent: "
        f"{shift.conservation.late_verdicts:,}.</p>"
    )


def conservation(shift: Shift) -> str:
    """What must be equal, line by line, and what is known to be wrong."""
    kept = shift.conservation
    chained = [
        ("triggers (parts)", kept.triggers, kept.triggers),
        ("decisions", kept.decisions, kept.triggers),
        ("commands sent", kept.commands, kept.decisions),
        ("acks from the controller", kept.acks, kept.commands),
    ]
    rows, marks = [], {}
    for name, number, before in chained:
        told = "agrees" if number == before else f"{abs(number - before):,} differ"
        rows.append([name, f"{number:,}", told])
    rows[0][2] = "-"
    none_wrong = [
        ("triggers of the source without a part", kept.missing_numbers),
        ("parts the controller handled otherwise than commanded", kept.otherwise),
        ("movements failed", kept.failed),
        ("parts seen to leave another way", kept.left_otherwise),
        ("conservation errors noted by the station", kept.errors),
    ]
    rows += [[name, f"{number:,}", "none" if not number else "look"] for name, number in none_wrong]
    for place, row in enumerate(rows):
        if row[2] not in ("-", "agrees", "none"):
            marks[place] = "wrong"
    rules = table((_BROKEN,), [[rule] for rule in kept.broken], "words") if kept.broken else ""
    return table(("count", "parts", ""), rows, "numbers", marks) + rules


def _share(parts: int, of: int) -> str:
    return percent(parts / of) if of else "-"


def _ms(value: float) -> str:
    return f"{value:,.2f}"
