"""`edge sim`: the real station over footage, and where its parts would end on a line of this kind.

pace "real" runs the line in real time. pace "virtual" runs the same processes as fast as they go,
on a virtual clock, and lays the times that each part took on a belt afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from edge.core.clock import NS_PER_MS
from edge.core.errors import ConfigError, PackageError
from edge.rerun import RECORDING_SUFFIX, Asked, resolved
from edge.rerun import opened as recorded
from edge.sim.drive import Job
from edge.sim.line import Line
from edge.sim.measure import was_late
from edge.sim.rate import MaxRate, max_rate
from edge.sim.result import Confirmation, Pace, Simulation, bins_of
from edge.sim.runs import Seen, laid_out, measured_after, real, times_of
from edge.sim.station import opened
from edge.stats import percentiles
from models import package

CONFIRM_AT = 0.95  # of the highest rate
MOST_THREADS = 64


def simulate(
    footage_path: Path,
    model_name: str,
    *,
    line: Line | None = None,
    split: str = "test",
    pace: Pace = "virtual",
    provider: str = "cpu",
    threads: int = 2,
    parts: int | None = None,
    margin_ms: float = 5.0,
    overhead_ms: float | None = None,
    confirm: bool = False,
    console: Console | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> Simulation:
    """Run footage over a line through the real loop, engine and arm, and say where parts end.

    model_name: "" for the one that judged most of a recording's parts. parts: of the footage, from
    its start; all without. margin_ms: the station's, kept back for the
    wire. overhead_ms: of a virtual run, a part's time from trigger to command beside the engine's;
    measured on up to 100 parts in real time where it is not given. confirm: run once more in real
    time, at 95 % of the highest rate. console: draws the line where it is a terminal. EdgeError
    for a geometry without time for the station, and whatever a replay refuses.
    """
    line = line or Line()
    _check(line, pace, threads, parts, margin_ms, overhead_ms)
    model_name = model_name or _named_by(footage_path)
    model = package.find(model_name)
    rows, there = opened(footage_path, split, model.manifest.views)
    job = Job(
        path=footage_path,
        label=rows.label,
        split=split,
        model=model,
        model_name=model_name,
        provider=provider,
        threads=threads,
        margin_ms=margin_ms,
        parts=there if parts is None else min(parts, there),
    )
    if pace == "real":
        seen = real(job, line, console, "the line in real time")
        measured = measured_after(job, line, console, seen)
        failed_hz = line.rate_hz if any(map(was_late, seen.driven.records)) else None
    else:
        times = times_of(job, line, console, overhead_ms)
        seen, measured, failed_hz = laid_out(times, line, margin_ms), times.measured, None
    for warning in seen.driven.warnings:
        warn(warning)
    fastest = max_rate(measured, line, margin_ms, failed_hz=failed_hz)
    confirmation = None
    if confirm and fastest:
        confirmation = _confirmation(job, line.at_rate(CONFIRM_AT * fastest.rate_hz), console)
    return _simulation(job, line, pace, seen, fastest, confirmation)


def _named_by(footage: Path) -> str:
    """The package that a recording names, as a replay takes it."""
    if footage.suffix.lower() != RECORDING_SUFFIX:
        raise PackageError("--model: missing; footage that is no recording does not name one")
    asked = Asked(footage=footage)
    return resolved(asked, recorded(asked, lambda line: None))[1].model


def _check(
    line: Line,
    pace: Pace,
    threads: int,
    parts: int | None,
    margin_ms: float,
    overhead_ms: float | None,
) -> None:
    """ConfigError where an option alone, or two together, cannot be."""
    if not 0.0 < margin_ms <= 1e6:
        raise ConfigError(f"margin_ms {margin_ms:g}: allowed: above 0, up to 1000000")
    line.check(margin_ms)
    if not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads {threads}: allowed: 1 to {MOST_THREADS}")
    if parts is not None and parts < 1:
        raise ConfigError(f"parts {parts}: allowed: 1 and more")
    if overhead_ms is None:
        return
    if pace == "real":
        raise ConfigError("overhead_ms: a run in real time measures it; allowed with: pace virtual")
    if not 0.0 <= overhead_ms <= 1e6:
        raise ConfigError(f"overhead_ms {overhead_ms:g}: allowed: 0 to 1000000")


def _confirmation(job: Job, line: Line, console: Console | None) -> Confirmation:
    seen = real(job, line, console, f"{line.rate_hz:.4g} parts/s, in real time")
    found = bins_of(seen.ends, job.label)
    return Confirmation(
        rate_hz=line.rate_hz,
        parts=found.parts,
        late_at_gate=found.late_at_gate,
        misrouted=found.misrouted,
        overruns=seen.overruns,
        picture_overruns=seen.picture_overruns,
    )


def _simulation(
    job: Job,
    line: Line,
    pace: Pace,
    seen: Seen,
    fastest: MaxRate | None,
    confirmation: Confirmation | None,
) -> Simulation:
    return Simulation(
        **msgspec.structs.asdict(bins_of(seen.ends, job.label)),
        footage=str(job.path),
        package=job.model.manifest.name,
        model_sha256=job.model.file_sha256,
        provider=job.provider,
        pace=pace,
        line=line,
        rate_hz=line.rate_hz,
        budget_ms=line.budget_ms,
        margin_ms=job.margin_ms,
        overruns=seen.overruns,
        picture_overruns=seen.picture_overruns,
        latency_ms=percentiles(seen.latency_ms),
        session_ms=seen.driven.report.session_ms,
        overhead_ms=percentiles([one.total_ns / NS_PER_MS for one in seen.overheads]),
        overhead_parts=seen.overhead_parts,
        max_rate_hz=fastest.rate_hz if fastest else None,
        max_rate_bound_by=fastest.bound_by if fastest else None,
        max_rate_parts=len(seen.ends),
        confirmation=confirmation,
        conservation_errors=seen.driven.report.conservation_errors,
        station=seen.driven.report,
    )
