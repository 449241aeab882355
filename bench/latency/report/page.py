"""Runs of `edge bench` as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from bench.latency.report import charts, soak, words
from bench.latency.report.charts import HALF, WIDE, Common
from bench.latency.report.style import STYLE
from bench.latency.result import STAGES, Result
from edge.core.errors import ConfigError
from edge.page import frame
from edge.page.frame import grid, table, wide
from edge.page.whole import write_whole

MOST_OVERRUNS = 100  # in the list; the timeline has every one
OWN = ("run", "ended by")  # facts of the header that always differ


def write(path: Path, results: list[Result]) -> None:
    """Write the page of one run, or of several side by side, whole or not at all.

    ConfigError where it cannot be written.
    """
    write_whole(path, page(results))


def page(runs: Sequence[Result]) -> str:
    """The page's text; ConfigError without a run."""
    if not runs:
        raise ConfigError("a page needs at least one run")
    shared = charts.common(runs)
    title = f"edge bench: {words.name(runs[0])}"
    if len(runs) > 1:
        title = f"edge bench: {len(runs)} runs"
    body = [
        f"<h1>{escape(title)}</h1>",
        grid(_each(runs, _card)),
        "<h2>How long a part took</h2>",
        *_distributions(runs, shared),
        "<h2>Over the run</h2>",
        "<p>Each part, or the median and the whole range of several. A triangle is an overrun, "
        "its tip the latency; a hollow one at the top: no command was received.</p>",
        _across(runs, lambda run, width: charts.timeline(run, shared, width) + _unmarked(run)),
        "<h2>Where the time goes</h2>",
        "<p>From trigger to command received, in order. Medians nearly add up to the median "
        "latency; the 99th percentiles of stages are not of the same parts and do not.</p>",
        *_stages(runs, shared),
        *_soak(runs),
        *_overruns(runs),
        "<h2>Everything</h2>",
        _everything(runs),
    ]
    return frame.page(title, STYLE, body)


def _card(run: Result) -> str:
    """The verdict and the percentiles."""
    warning = words.partial(run)
    bare, host = run.bare_session_ms, run.host
    rows = [
        ["latency", *(words.ms(run.latency_ms, which) for which in words.NAMES)],
        ["session.run", *(words.ms(run.session_ms, which) for which in words.NAMES)],
        ["overhead", *(words.ms(run.overhead_ms, which) for which in words.NAMES)],
        _floor("bare session.run", bare.p50, bare.p99),
        _floor("noise: end of a 1 ms sleep", host.timer_jitter_p50_ms, host.timer_jitter_p99_ms),
        _floor("noise: to a process and back", host.ipc_rtt_p50_ms, host.ipc_rtt_p99_ms),
    ]
    late = " late" if run.overruns else ""
    return (
        (f'<p class="partial">{_said(warning)}</p>' if warning else "")
        + f'<p class="verdict{late}">{_said(words.verdict(run))}</p>'
        + f"<p>{_said(words.proof(run))}</p>"
        + _table(["ms", *words.HEADS], rows)
        + f"<p>{_said(words.listed((words.ratio(run), words.rough(run))))}</p>"
        + _after_gaps(run)
    )


def _floor(name: str, p50: float, p99: float) -> list[str]:
    return [name, f"{p50:,.2f}", "", f"{p99:,.2f}", "", ""]


def _after_gaps(run: Result) -> str:
    rows = []
    for name, latency in words.after_gaps(run):
        found = np.percentile(latency, (50, 99, 100)) if len(latency) else ()
        rows.append([name, f"{len(latency):,}", *(f"{value:,.2f}" for value in found)])
    return _table(["latency after idling, ms", "parts", "p50", "p99", "max"], rows) if rows else ""


def _distributions(runs: Sequence[Result], shared: Common) -> list[str]:
    pictures = [[chart(run, shared) for run in runs] for chart in (charts.histogram, charts.curve)]
    if len(runs) == 1:
        return [grid([row[0] for row in pictures])]
    return [grid(_labelled(row)) for row in pictures]


def _across(runs: Sequence[Result], draw: Callable[[Result, int], str]) -> str:
    """One run takes the whole width."""
    if len(runs) == 1:
        return wide(draw(runs[0], WIDE))
    return grid(_labelled([draw(run, HALF) for run in runs]))


def _stages(runs: Sequence[Result], shared: Common) -> list[str]:
    cells = [(charts.stages(run, shared), _stage_table(run)) for run in runs]
    if len(runs) == 1:
        return [grid(cells[0])]
    return [grid(_labelled([chart + below for chart, below in cells]))]


def _stage_table(run: Result) -> str:
    rows = []
    for stage in STAGES:
        cells = [words.ms(run.stages_ms.get(stage), which, 3) for which in ("p50", "p99", "max")]
        rows.append([stage, *cells, words.STAGE_ENDS[stage]])
    swatches = [f'<i class="s{number}"></i>' for number in range(len(charts.WAY))]
    return _table(["stage, ms", "p50", "p99", "max", "until"], rows, swatches, words_last=True)


def _soak(runs: Sequence[Result]) -> list[str]:
    if all(len(run.minutes) < 2 for run in runs):
        return []
    picture = _across(runs, lambda run, width: soak.chart(run.minutes, width) or "<p>no soak</p>")
    return ["<h2>Minute by minute</h2>", picture]


def _overruns(runs: Sequence[Result]) -> list[str]:
    found = ["<h2>Overruns</h2>"]
    for letter, run in zip(_letters(runs), runs, strict=True):
        if not run.timeline:
            continue
        rows = [
            [
                f"{one.part:,}",
                f"{one.second:,.2f}",
                "no command" if one.latency_ms is None else f"{one.latency_ms:,.1f}",
                one.why[: charts.MOST_WHY],
            ]
            for one in run.timeline[:MOST_OVERRUNS]
        ]
        found.append(
            _table([f"{letter} part".strip(), "second", "ms", "why"], rows, words_last=True)
        )
        if run.overruns > len(rows):
            found.append(f"<p>The first {len(rows):,} of {run.overruns:,}.</p>")
    return found if len(found) > 1 else []


def _unmarked(run: Result) -> str:
    if run.overruns <= len(run.timeline):
        return ""
    return f"<p>The first {len(run.timeline):,} of {run.overruns:,} overruns are marked.</p>"


def _everything(runs: Sequence[Result]) -> str:
    """A row a fact, a column a run; what differs of box and plan is marked."""
    rows, marks = [], []
    facts = [words.header(run) for run in runs]
    for lines in zip(*facts, strict=True):
        values = [value for _, value in lines]
        rows.append([lines[0][0], *values])
        marks.append("<b>differs</b> " if len(set(values)) > 1 and lines[0][0] not in OWN else "")
    counted = [dict(words.accounts(run)) for run in runs]
    for name in dict.fromkeys(name for one in counted for name in one):
        rows.append([name, *(one.get(name, "-") for one in counted)])
    rows.append(["notes", *(words.listed(run.notes) or "-" for run in runs)])
    rows.append(["schema of the JSON", *(str(run.schema) for run in runs)])
    heads = ["", *(_letters(runs) if len(runs) > 1 else ["this run"])]
    return _table(heads, rows, marks, kind="facts")


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    marks: Sequence[str] = (),
    *,
    words_last: bool = False,
    kind: str = "numbers",
) -> str:
    """marks: HTML before the first cell of each row. words_last: the last column is no number."""
    lines = []
    for number, row in enumerate(rows):
        mark = marks[number] if number < len(marks) else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        lines.append(f'<tr><th scope="row">{mark}{escape(row[0])}</th>{cells}</tr>')
    return table(heads, lines, f"{kind} words" if words_last else kind)


def _each(runs: Sequence[Result], draw: Callable[[Result], str]) -> list[str]:
    if len(runs) == 1:
        return [draw(runs[0])]
    titles = (f"{words.name(run)}, {run.started}" for run in runs)
    return [
        f"<h3>{letter}: {escape(title)}</h3>{draw(run)}"
        for letter, title, run in zip(_letters(runs), titles, runs, strict=True)
    ]


def _labelled(cells: Sequence[str]) -> list[str]:
    return [f"<h3>{letter}</h3>{cell}" for letter, cell in zip(_letters(cells), cells, strict=True)]


def _letters(runs: Sequence[object]) -> list[str]:
    """A, B, ... Z, then numbers; none for a single run."""
    if len(runs) == 1:
        return [""]
    return [ascii_uppercase[n] if n < 26 else str(n + 1) for n in range(len(runs))]


def _said(sentence: str) -> str:
    """Escaped, no number parted from its unit."""
    return escape(re.sub(r"(?<=\d) (?=[%a-z])", "\N{NO-BREAK SPACE}", sentence))
