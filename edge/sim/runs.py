"""A line's parts, run in real time or laid out afterwards from what each of them took."""

from __future__ import annotations

import msgspec
from rich.console import Console

from edge.core.clock import NS_PER_MS
from edge.core.errors import ConfigError
from edge.sim.drive import Driven, Job, drive
from edge.sim.line import Line
from edge.sim.measure import completed, is_untimed, measured_of, overheads_of
from edge.sim.physics import Outcome, PartAtGate, outcomes
from edge.sim.view import Watch
from edge.sim.waiting import Measured, Overhead, timed
from edge.stats import is_deadline_miss, is_overrun, is_picture_overrun, spans

OVERHEAD_PARTS = 100  # of the short run in real time before a virtual one
OVERHEAD_BUDGET_MS = 500.0  # of that run: a part that is late tells no overhead


class Seen(msgspec.Struct, frozen=True):
    """A line's parts, however they were run."""

    driven: Driven
    ends: list[Outcome]
    latency_ms: list[float]
    overheads: list[Overhead]
    overhead_parts: int
    overruns: int
    picture_overruns: int


class Times(msgspec.Struct, frozen=True):
    """What each part took: the engine in lock-step, the rest in a short run in real time."""

    driven: Driven
    measured: list[Measured]
    overheads: list[Overhead]
    overhead_parts: int


def real(
    job: Job, line: Line, console: Console | None, what: str, *, budget_ms: float | None = None
) -> Seen:
    """The line in real time: what the machine was told, and when, is what it wrote down itself."""
    watch = Watch(console, line, job.parts, what, real=True)
    driven = drive(job, line, watch, lockstep=False, budget_ms=budget_ms)
    at_gate: list[PartAtGate] = []
    for record in driven.records:
        done = driven.applied.get(record.part)
        told = (done.action, done.applied_ns) if done else (None, 0)
        at_gate.append(PartAtGate(record.part, record.deadline.trigger_ns, *told))
    overheads = overheads_of(driven.records)
    return Seen(
        driven=driven,
        ends=outcomes(at_gate, line.belt, line.gate, stopped_ns=driven.stopped_ns),
        latency_ms=[found[0] for record in driven.records if (found := spans(record))],
        overheads=overheads,
        overhead_parts=len(overheads),
        overruns=sum(map(is_overrun, driven.records)),
        picture_overruns=sum(map(is_picture_overrun, driven.records)),
    )


def times_of(job: Job, line: Line, console: Console | None, overhead_ms: float | None) -> Times:
    """What each part takes: first the overhead in real time, then every part in lock-step.

    An engine that is kept busy is quicker than one that waits for the next part: p50 0.51 ms
    against 0.66 at 20 parts/s (synthetic-part, 2 cores). Nothing but the engine and the overhead
    takes time: neither a decode that falls behind nor another process makes a part late.
    """
    given_ns = round((overhead_ms or 0.0) * NS_PER_MS)
    overheads, seen_on = [Overhead(given_ns, given_ns)], 0
    if overhead_ms is None:
        few = msgspec.structs.replace(job, parts=min(OVERHEAD_PARTS, job.parts))
        what = f"the overhead, on {few.parts} parts in real time"
        patient_ms = max(line.budget_ms, OVERHEAD_BUDGET_MS)
        overheads = real(few, line, console, what, budget_ms=patient_ms).overheads
        seen_on = len(overheads)
        if not overheads:
            raise ConfigError(
                f"overhead_ms: none of the first {few.parts} parts had a verdict to measure it on; "
                "allowed: 0 to 1000000"
            )
    watch = Watch(console, line, job.parts, "every part, on a virtual clock", real=False)
    driven = drive(job, line, watch, lockstep=True)
    return Times(
        driven=driven,
        measured=measured_of(driven.records, driven.told, overheads),
        overheads=overheads,
        overhead_parts=seen_on,
    )


def laid_out(times: Times, line: Line, margin_ms: float) -> Seen:
    """The line as it would have been with these times."""
    found = timed(times.measured, line, margin_ms)
    unjudged = {record.part for record in times.driven.records if is_deadline_miss(record)}
    late = {one.at_gate.part for one in found if one.missed}
    missed = late | unjudged
    of_pictures = {record.part for record in times.driven.records if is_picture_overrun(record)}
    return Seen(
        driven=times.driven,
        ends=outcomes((one.at_gate for one in found), line.belt, line.gate),
        latency_ms=[one.latency_ns / NS_PER_MS for one in found if one.at_gate.part not in missed],
        overheads=times.overheads,
        overhead_parts=times.overhead_parts,
        overruns=len(missed),
        picture_overruns=len(of_pictures - late),
    )


def measured_after(job: Job, line: Line, console: Console | None, seen: Seen) -> list[Measured]:
    """What each part of a run in real time took; those that were late are run in lock-step too."""
    driven = seen.driven
    measured = measured_of(driven.records, driven.told, seen.overheads)
    if not any(map(is_untimed, driven.records)):
        return measured
    again = times_of(job, line, console, None)
    return completed(driven.records, measured, again.measured)
