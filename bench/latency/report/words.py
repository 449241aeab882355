"""What the summary, the page and the comparison say alike about a run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.latency.report.intervals import clumping
from bench.latency.result import Result
from edge.page.words import count, percent
from edge.replay import Percentiles

Floats = npt.NDArray[np.float64]
Rows = list[tuple[str, str]]
NAMES = ("p50", "p90", "p99", "p99_9", "max")
HEADS = ("p50", "p90", "p99", "p99.9", "max")
CLUMPED = 1.5  # overruns that count as one, from which their bound is too good
STAGE_ENDS = {
    "acquire": "the frame is whole in its slot",
    "hand_over": "the worker has the request",
    "prepare": "session.run begins",
    "session": "session.run has ended",
    "decode": "the answer holds score, map and regions",
    "answer": "the loop has read it",
    "policy": "decided",
    "send": "the command is with ZeroMQ",
    "receive": "the controller has received it",
    "ack": "its ack is with the loop",
}


class Judged(NamedTuple):
    """The kept parts that had a verdict: seconds of the run, and milliseconds."""

    second: Floats
    latency_ms: Floats
    session_ms: Floats


def judged(run: Result) -> Judged:
    """A default has a latency too, that of its deadline, but no whole session.run."""
    columns = (run.series.second, run.series.latency_ms, run.series.session_ms)
    second, latency, session = (np.asarray(column, np.float64) for column in columns)
    whole = (session > 0) & (latency > 0)
    return Judged(second[whole], latency[whole], session[whole])


def name(run: Result) -> str:
    """What was run, in a line."""
    return " ".join(filter(None, (run.model, run.precision, run.provider, run.scenario, pace(run))))


def pace(run: Result) -> str:
    plan = run.plan
    said = [f"{plan.rate_hz:g} parts/s"] if plan.rate_hz else []
    if plan.arrivals:
        said = [f"arrivals of {plan.arrivals}"]
    if plan.gaps_s:
        said.append(f"idle gaps of {', '.join(f'{gap:g}' for gap in plan.gaps_s)} s")
    if plan.burst > 1:
        said.append(f"{plan.burst} at once")
    return ", ".join(said)


def header(run: Result) -> Rows:
    """What ran, on what."""
    host = run.host
    box = [host.cpu, f"{host.cores} cores", f"{host.memory_gib:.1f} GiB"]
    libraries = ", ".join(f"{library} {version}" for library, version in host.libraries.items())
    extras = [] if run.plan.standby else ["no standby"]
    extras += [] if run.plan.publish else ["nothing published"]
    extras += ["records and footage of every part"] if run.plan.keep else []
    return [
        ("box", ", ".join([*box, host.virtual or "no hypervisor", f"machine {host.machine[:12]}"])),
        ("kernel", f"{host.kernel}, isolated cores {host.isolated or 'none'}"),
        ("governor", host.governor or "unknown"),
        ("libraries", libraries or "-"),
        ("commit", host.commit or "not from a checkout"),
        ("package", f"{run.model} {run.precision} {run.model_sha256[:12]}, {run.frame_px} px"),
        ("provider", f"{run.provider}, {count(run.threads, 'thread')}"),
        ("plan", ", ".join(filter(None, (run.scenario, pace(run), *extras)))),
        ("run", f"{run.started}, {span(run.duration_s)}, load before {host.load_before:.2f}"),
        ("ended by", run.ended_by),
    ]


def partial(run: Result) -> str:
    """A warning for a run that did not reach its end; "" for one that did."""
    if run.complete:
        return ""
    planned = f" of {run.plan.parts:,}" if run.plan.parts else ""
    return f"PARTIAL: {run.ended_by}; all of this is of the {run.parts:,}{planned} parts until then"


def verdict(run: Result) -> str:
    """Overruns, their rate and its bound, in one line."""
    if not run.parts:
        return "no part was timed"
    return (
        f"{count(run.overruns, 'overrun')} of {run.parts:,} parts: {percent(run.overrun_rate)}, "
        f"at most {percent(run.overrun_rate_upper_95)} (exact upper 95 % bound)"
    )


def proof(run: Result) -> str:
    """What the run proves, in plain words."""
    bound = run.overrun_rate_upper_95
    if not run.parts or bound >= 1:
        return "This run proves nothing about how often a part is late."
    said = []
    if run.overruns:
        causes = ", ".join(f"{fault} {few:,}" for fault, few in sorted(run.faults.items()))
        said.append(f"1 part in {run.parts / run.overruns:,.0f} was late ({causes or 'no fault'}).")
    rate_hz = run.plan.rate_hz or run.throughput_hz
    often = f", one in {span(1 / (bound * rate_hz))} at {rate_hz:.3g} parts/s" if rate_hz else ""
    said.append(
        "With 95 % confidence, under this load on this box, fewer than 1 part in "
        f"{math.floor(1 / bound):,} is late{often}."
    )
    if not run.overruns:
        finer = 10 ** (math.floor(-math.log10(bound)) + 1)
        needed = math.ceil(math.log(0.05) / math.log1p(-1 / finer))
        said.append(f"Showing 1 in {finer:,} takes {needed:,} parts without an overrun.")
    elif clumping([one.part for one in run.timeline], run.parts) > CLUMPED:
        said.append("The bound takes overruns as single; here they came several in a row.")
    return " ".join(said)


def ratio(run: Result) -> str:
    """The latency beside the limit, and what the limit is."""
    bare = run.bare_session_ms
    spinning = "spinning" if bare.spinning else "not spinning"
    limit = f"{count(bare.runs, 'run')} on {count(bare.threads, 'thread')}, {spinning}"
    if run.ratio_p50 is None:
        return f"bare session.run: {limit}"
    return f"latency p50 is {run.ratio_p50:.2f} times the bare session.run p50 ({limit})"


def accounts(run: Result) -> Rows:
    """What was counted: parts first, then what a part cost besides time."""
    counted = run.counters
    faults = ", ".join(f"{fault} {few:,}" for fault, few in sorted(run.faults.items()))
    rows = [
        ("parts / verdicts", f"{run.parts:,} / {run.verdicts:,}"),
        ("commands / acks", f"{run.commands:,} / {run.acks:,}"),
        ("conservation errors", f"{run.conservation_errors:,}"),
        ("deadline misses", f"{run.deadline_misses:,}"),
        ("late commands", f"{run.late_commands:,} by the controller's own log"),
        ("faults", faults or "none"),
        ("throughput", f"{run.throughput_hz:.1f} parts/s; bare {run.bare_throughput_hz:.1f}"),
        ("page faults", f"{counted.page_faults_a_part:.2f} a part"),
        (
            "context switches",
            f"{counted.context_switches_a_part:.2f} a part, "
            f"{counted.involuntary_switches_a_part:.2f} of them involuntary",
        ),
        ("garbage collections", f"{counted.collections:,} while parts were open"),
        ("picture bytes copied", f"{counted.bytes_copied_a_part:,} a part"),
        ("inputs bound to slots", f"{counted.pointers_checked:,} checked"),
        ("resident, loop", _grown(counted.resident_mib_first, counted.resident_mib_last)),
        (
            "resident, worker",
            _grown(counted.worker_resident_mib_first, counted.worker_resident_mib_last),
        ),
    ]
    if counted.cpu_ms_a_part:
        spent = ", ".join(f"{who} {ms:.2f}" for who, ms in counted.cpu_ms_a_part.items())
        rows.append(("processor time", f"{spent} ms a part"))
    if counted.kept_blocks is not None:
        kept = f"{counted.kept_blocks:,} blocks, {counted.kept_bytes or 0:,} bytes"
        rows.append(("kept after 1,000 parts", kept))
    if counted.frame_sized_blocks is not None:
        rows.append(("blocks as large as a view", f"{counted.frame_sized_blocks:,}"))
    return rows


def after_gaps(run: Result) -> list[tuple[str, Floats]]:
    """Latencies of the first parts after each idle gap, by gap; then of the others.

    Empty without gaps, and where not every part was kept.
    """
    parts = judged(run)
    if not run.plan.gaps_s or run.series.step > 1 or len(parts.second) < 2:
        return []
    idle = np.diff(parts.second, prepend=parts.second[0])
    other = np.ones(len(idle), bool)
    found = []
    for gap in sorted(set(run.plan.gaps_s)):
        first = np.abs(idle - gap) < 0.002  # arrivals are kept to a millisecond
        if first.any():
            found.append((f"after {gap:g} s idle", parts.latency_ms[first]))
            other &= ~first
    return [*found, ("all others", parts.latency_ms[other])] if found else []


def rough(run: Result) -> str:
    """A warning where a percentile has too few parts beyond it; "" where not."""
    few = [
        head
        for head, least in (("p90", 10), ("p99", 100), ("p99.9", 1000))
        if 0 < run.verdicts < least
    ]
    if not few:
        return ""
    return f"{', '.join(few)} of {run.verdicts:,} parts: close to their maximum"


def ms(spread: Percentiles, which: str, digits: int = 2) -> str:
    """A percentile to a hundredth of a millisecond; - where there is none."""
    value = (spread or {}).get(which)
    return "-" if value is None else f"{value:,.{digits}f}"


def span(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def listed(words: Iterable[str]) -> str:
    return "; ".join(word for word in words if word)


def _grown(first: float, last: float) -> str:
    return f"{first:.1f} to {last:.1f} MiB ({last - first:+.1f})"
