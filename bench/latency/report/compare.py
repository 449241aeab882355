"""Whether a second run of `edge bench` is slower than a first one, or only noisier.

Every figure has its relative change and the 95 % interval of that (intervals.py): a percentile
bootstrap over blocks of successive parts for milliseconds, the exact interval of the ratio of two
rates for overruns. It is *worse* when the whole interval lies above the tolerance plus what the box
itself became slower by (its noise floor; bare session.run too, where libraries and threads are the
same), *better* in the mirror image, else the *same*: no change was shown.

On simulated pairs of equal runs of 200 to 10,000 parts some figure was worse in 0.5 to 3 % of the
pairs at a tolerance of 5 %, in 7 to 15 % at none. An interval knows the noise within its two runs
only, and a box has good and bad hours: compare runs made in turns.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.latency.report.intervals import bounds, clumping, ratio_bounds, redraw
from bench.latency.report.words import Floats, judged
from bench.latency.result import Result, load
from edge.core.errors import ConfigError

Judged = Literal["better", "same", "worse"]
LEAST = 100  # parts of a run: below, p99 is one of the two slowest
SEED = 1
WIDE = 0.5  # an interval that hides even a change by a fourth
WIDTH = 100
STYLES = {"better": "green", "same": "", "worse": "bold red"}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both runs. change, low, high and box are relative: 0.1 is 10 % more."""

    name: str
    unit: str  # "ms" or "%"
    before: float
    after: float
    change: float  # inf from nothing to something
    low: float  # of the 95 % interval
    high: float  # inf where the first run cannot bound it
    box: float  # of the change, what the box's own figures account for
    verdict: Judged


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A second run against a first one; regressed where any figure is worse."""

    before: str
    after: str
    tolerance: float
    figures: list[Figure]
    warnings: list[str]
    regressed: bool


def compare(a: Path, b: Path, *, force: bool = False, tolerance: float = 0.05) -> Comparison:
    """Judge run b by run a, the one before it.

    ConfigError where they did not measure the same thing (with force: a warning), or where one
    has fewer than 100 parts.
    """
    if not 0 <= tolerance < 1:
        raise ConfigError(f"tolerance {tolerance:g}: allowed: 0 to below 1")
    runs = {a: load(a), b: load(b)}
    before, after = runs[a], runs[b]
    for path, run in runs.items():
        if run.parts < LEAST:
            raise ConfigError(f"{path}: {run.parts} parts; a comparison needs at least {LEAST}")
    differ = [f"{path} is partial ({r.ended_by})" for path, r in runs.items() if not r.complete]
    differ += _differences(_measured(before), _measured(after))
    if differ and not force:
        raise ConfigError(f"{a} and {b}: not comparable unless forced: {'; '.join(differ)}")
    figures = judge(before, after, tolerance=tolerance)
    return Comparison(
        before=str(a),
        after=str(b),
        tolerance=tolerance,
        figures=figures,
        warnings=[
            *(f"not comparable: {one}" for one in differ),
            *_differences(_circumstances(before), _circumstances(after)),
            *_doubts(before, after, figures, tolerance),
        ],
        regressed=any(figure.verdict == "worse" for figure in figures),
    )


def judge(
    before: Result, after: Result, *, tolerance: float = 0.05, seed: int = SEED
) -> list[Figure]:
    """Every figure of two runs; of milliseconds only where both have 100 timed parts."""
    rng = np.random.default_rng(seed)
    box = _box_ms(before, after)
    figures = []
    old, new = _series(before), _series(after)
    for name in old:
        if min(len(old[name]), len(new.get(name, ()))) < LEAST:
            continue
        first, second = (redraw(run[name], (50, 99), rng) for run in (old, new))
        rows = {"mean": -1} if name == "time a part" else {"p50": 0, "p99": 1}
        for what, row in rows.items():
            figures.append(
                _of_milliseconds(
                    f"{name} {what}",
                    (_statistic(old[name], what), _statistic(new[name], what)),
                    second[row] / first[row] - 1,
                    box.get(f"{name} {what}", 0.0),
                    tolerance,
                )
            )
    return [*figures, _of_overruns(before, after, tolerance)]


def describe(comparison: Comparison) -> RenderableType:
    """The comparison for a person: a row a figure, what to doubt, and the verdict."""
    table = Table(title=Text(f"{comparison.before} -> {comparison.after}"), width=WIDTH)
    table.add_column("figure")
    for head in ("before", "after", "change", "95 % interval", "the box"):
        table.add_column(head, justify="right")
    table.add_column("verdict")
    for one in comparison.figures:
        digits = 3 if one.unit == "ms" else 2
        table.add_row(
            one.name,
            f"{one.before:.{digits}f} {one.unit}",
            f"{one.after:.{digits}f} {one.unit}",
            _percent(one.change),
            f"{_percent(one.low)} to {_percent(one.high)}",
            _percent(one.box) if one.unit == "ms" else "-",
            Text(one.verdict, STYLES[one.verdict]),
        )
    lines = [Text(f"warning: {warning}", "yellow") for warning in comparison.warnings]
    return Group(table, *lines, _conclusion(comparison))


def _conclusion(comparison: Comparison) -> Text:
    limit = f"{100 * comparison.tolerance:g} %"
    worse = [one.name for one in comparison.figures if one.verdict == "worse"]
    if worse:
        return Text(f"REGRESSED by more than {limit}: {', '.join(worse)}", "bold red")
    better = [one.name for one in comparison.figures if one.verdict == "better"]
    gain = f"; better: {', '.join(better)}" if better else ""
    return Text(f"no regression beyond {limit} shown{gain}")


def _of_milliseconds(
    name: str, ms: tuple[float, float], changes: Floats, box_ms: float, tolerance: float
) -> Figure:
    low, high = bounds(changes)
    box = box_ms / ms[0]
    return Figure(
        name=name,
        unit="ms",
        before=ms[0],
        after=ms[1],
        change=ms[1] / ms[0] - 1,
        low=low,
        high=high,
        box=box,
        verdict=_verdict(low, high, box, tolerance),
    )


def _of_overruns(before: Result, after: Result, tolerance: float) -> Figure:
    clump = max(clumping([one.part for one in r.timeline], r.parts) for r in (before, after))
    low, high = ratio_bounds(
        round(before.overruns / clump),
        round(before.parts / clump),
        round(after.overruns / clump),
        round(after.parts / clump),
    )
    old, new = before.overruns / before.parts, after.overruns / after.parts
    change = new / old - 1 if old else math.inf if new else 0.0
    return Figure(
        name="overruns",
        unit="%",
        before=100 * old,
        after=100 * new,
        change=change,
        low=low - 1,
        high=high - 1,
        box=0.0,
        verdict=_verdict(low - 1, high - 1, 0.0, tolerance),
    )


def _verdict(low: float, high: float, box: float, tolerance: float) -> Judged:
    if low > tolerance + max(0.0, box):
        return "worse"
    return "better" if high < -tolerance + min(0.0, box) else "same"


def _series(run: Result) -> dict[str, Floats]:
    """What is compared, in milliseconds, of the parts with a verdict."""
    parts = judged(run)
    if run.scenario == "offline":
        # Latency is a wait for other parts there; what counts is how quickly they are done.
        ends = np.sort(1000 * parts.second + parts.latency_ms)
        return {"time a part": np.diff(ends) / run.series.step}
    return {"latency": parts.latency_ms, "overhead": parts.latency_ms - parts.session_ms}


def _statistic(values: Floats, what: str) -> float:
    if what == "mean":
        return float(np.mean(values))
    return float(np.percentile(values, float(what.removeprefix("p"))))


def _box_ms(before: Result, after: Result) -> dict[str, float]:
    """By how much the box itself became slower, as far as a figure contains it."""
    same = before.host.libraries == after.host.libraries and before.threads == after.threads
    found = {}
    for what in ("p50", "p99"):
        bare = getattr(after.bare_session_ms, what) - getattr(before.bare_session_ms, what)
        floor = _floor_ms(after, what) - _floor_ms(before, what)
        found[f"overhead {what}"] = floor
        found[f"latency {what}"] = floor + (bare if same else 0.0)
    if same:
        found["time a part mean"] = after.bare_session_ms.mean - before.bare_session_ms.mean
    return found


def _floor_ms(run: Result, what: str) -> float:
    """One late sleep and one way to another process and back."""
    late: float = getattr(run.host, f"timer_jitter_{what}_ms")
    there_and_back: float = getattr(run.host, f"ipc_rtt_{what}_ms")
    return late + there_and_back


def _measured(run: Result) -> dict[str, object]:
    """What must be the same for two runs to measure one thing."""
    plan = run.plan
    return {
        "machine": run.host.machine,
        "cpu": run.host.cpu,
        "cores": run.host.cores,
        "package": run.model_sha256[:12],
        "scenario": run.scenario,
        "provider": run.provider,
        "frame": run.frame_px,
        "rate": f"{plan.rate_hz:g} parts/s" if plan.rate_hz else "-",
        "arrivals": Path(plan.arrivals).name or "-",
        "gaps": " ".join(f"{gap:g} s" for gap in plan.gaps_s) or "-",
        "burst": plan.burst,
    }


def _circumstances(run: Result) -> dict[str, object]:
    """What may explain a difference."""
    return {
        "kernel": run.host.kernel,
        "governor": run.host.governor,
        "isolated cores": run.host.isolated or "-",
        "threads": run.threads,
        "standby": run.plan.standby,
        "publish": run.plan.publish,
        "kept": bool(run.plan.keep),
    } | {f"library {name}": version for name, version in run.host.libraries.items()}


def _differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    names = list(before | after)
    return [
        f"{name}: {before.get(name, '-')} before, {after.get(name, '-')} after"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _doubts(before: Result, after: Result, figures: list[Figure], tolerance: float) -> list[str]:
    """What a reader of the verdicts must know."""
    doubts = [
        f"the box itself changed: {one.name} by {_percent(one.box)}; measure both again, in turns"
        for one in figures
        if abs(one.box) > tolerance
    ]
    if len(figures) == 1:
        doubts.append(f"fewer than {LEAST} timed parts in one of the runs: only overruns compared")
    noisy = (f for f in figures if f.unit == "ms" and f.verdict == "same")
    if unseen := [figure.name for figure in noisy if figure.high - figure.low > WIDE]:
        doubts.append(f"too noisy to judge, longer runs are needed: {', '.join(unseen)}")
    overruns = figures[-1]
    if overruns.verdict == "same" and after.overruns > before.overruns:
        doubts.append(
            f"{before.overruns} overruns of {before.parts:,} parts before, {after.overruns} of "
            f"{after.parts:,} after: too few, or too much in a row, to tell from chance"
        )
    return doubts


def _percent(share: float) -> str:
    return "any" if math.isinf(share) else f"{100 * share:+.1f} %"
