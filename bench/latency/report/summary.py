"""A run of `edge bench` for the terminal, 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.latency.report import words
from bench.latency.result import STAGES, Minute, Result

WIDTH = 100
FIRST = 8  # overruns shown
MOST_MINUTES = 12


def summary(result: Result) -> RenderableType:
    """Everything a person needs to trust or doubt the figures; milliseconds throughout."""
    parts: list[RenderableType] = [
        _heading(result),
        _pairs(words.header(result)),
        _verdict(result),
        _percentiles(result),
        Text(words.ratio(result)),
        _stages(result),
        *_after_gaps(result),
        *_minutes(result.minutes),
        *_timeline(result),
        _pairs(words.accounts(result), "counters"),
        *(Text(f"note: {note}", "dim") for note in (*result.notes, words.rough(result)) if note),
    ]
    if warning := words.partial(result):
        parts.append(Text(warning, "bold yellow"))  # once more, where a reader looks first
    return Group(*parts)


def _heading(result: Result) -> Text:
    heading = Text(f"edge bench  {words.name(result)}", "bold")
    if warning := words.partial(result):
        heading.append(f"\n{warning}", "bold yellow")
    return heading


def _verdict(result: Result) -> Text:
    style = "bold red" if result.overruns else "bold"
    return Text.assemble("\n", (words.verdict(result), style), "\n", words.proof(result), "\n")


def _percentiles(result: Result) -> Table:
    table = _table("ms", words.HEADS)
    rows = {
        "latency": result.latency_ms,
        "session.run": result.session_ms,
        "overhead": result.overhead_ms,
    }
    for name, spread in rows.items():
        table.add_row(name, *(words.ms(spread, which) for which in words.NAMES))
    bare, host = result.bare_session_ms, result.host
    table.add_section()
    _add(table, "bare session.run", bare.p50, bare.p99)
    late = "noise floor: end of a 1 ms sleep"
    _add(table, late, host.timer_jitter_p50_ms, host.timer_jitter_p99_ms)
    there = "noise floor: to a process and back"
    _add(table, there, host.ipc_rtt_p50_ms, host.ipc_rtt_p99_ms)
    return table


def _add(table: Table, name: str, p50: float, p99: float) -> None:
    table.add_row(name, f"{p50:,.2f}", "", f"{p99:,.2f}", "", "")


def _stages(result: Result) -> Table:
    table = _table("stage, ms", ("p50", "p99"), "until")
    for stage in STAGES:
        spread = result.stages_ms.get(stage)
        if stage == "ack":
            table.add_section()
        cells = (words.ms(spread, which, 3) for which in ("p50", "p99"))
        table.add_row(stage, *cells, words.STAGE_ENDS[stage])
    return table


def _after_gaps(result: Result) -> list[Table]:
    gaps = words.after_gaps(result)
    table = _table("latency after idling, ms", ("parts", "p50", "p99", "max"))
    for name, latency in gaps:
        found = np.percentile(latency, (50, 99, 100)) if len(latency) else ()
        table.add_row(name, f"{len(latency):,}", *(f"{value:,.2f}" for value in found))
    return [table] if gaps else []


def _minutes(minutes: Sequence[Minute]) -> list[Table]:
    if len(minutes) < 2:
        return []
    shown = _worth_showing(minutes)
    heads = ("parts", "overruns", "p50", "p99", "max", "session", "MiB")
    table = _table("minute, ms", heads)
    for one in shown:
        table.add_row(
            f"{one.minute:,}",
            f"{one.parts:,}",
            Text(f"{one.overruns:,}", "bold red" if one.overruns else ""),
            *(f"{value:,.2f}" for value in (one.p50, one.p99, one.max, one.session_p50)),
            f"{one.resident_mib:,.1f}",
        )
    if len(shown) < len(minutes):
        table.caption = f"the first, the last and the worst of {len(minutes):,} minutes"
    return [table]


def _worth_showing(minutes: Sequence[Minute]) -> list[Minute]:
    """All of a short soak; of a long one the first, the last and the worst, in order."""
    if len(minutes) <= MOST_MINUTES:
        return list(minutes)
    inner = sorted(minutes[1:-1], key=lambda one: (one.overruns, one.p99), reverse=True)
    kept = sorted(inner[: MOST_MINUTES - 2], key=lambda one: one.minute)
    return [minutes[0], *kept, minutes[-1]]


def _timeline(result: Result) -> list[Table]:
    if not result.timeline:
        return []
    table = _table("overrun", ("second", "ms"), "why")
    for one in result.timeline[:FIRST]:
        late = "no command" if one.latency_ms is None else f"{one.latency_ms:,.1f}"
        table.add_row(f"part {one.part:,}", f"{one.second:,.2f}", late, Text(one.why))
    if result.overruns > FIRST:
        table.caption = f"the first {FIRST} of {result.overruns:,}"
    return [table]


def _table(first: str, numbers: Sequence[str], last: str = "") -> Table:
    """A name, columns of numbers, and perhaps a column of words."""
    table = Table(box=box.SIMPLE, width=WIDTH, caption_justify="left")
    table.add_column(first, no_wrap=True)
    for head in numbers:
        table.add_column(head, justify="right", no_wrap=True, ratio=None if last else 1)
    if last:
        table.add_column(last, ratio=1)
    return table


def _pairs(rows: words.Rows, title: str = "") -> Table:
    table = Table(box=None, show_header=bool(title), width=WIDTH, padding=(0, 2, 0, 0))
    table.add_column(title, style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for name, value in rows:
        table.add_row(name, Text(value))
    return table
