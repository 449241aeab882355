"""From the parts of a run to its figures; nothing here runs or times anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.latency.columns import FAULTS, Rows, latency_ms
from bench.latency.result import STAGES, Minute, Overrun, Series
from bench.latency.station import Event
from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.replay import Percentiles
from edge.stats import percentiles

MOST_SERIES = 10_000
MOST_OVERRUNS = 1000
# A stage is named for an overrun when it took so many times its median and so much longer.
MUCH, MUCH_MS = 3.0, 1.0
_NEAR_NS = 100 * NS_PER_MS  # an event of no part, so shortly before or after an overrun, is named

Floats = npt.NDArray[np.float64]

_INSTANTS = (
    *("trigger_ns", "frame_ns", "received_by_worker_ns", "started_ns", "ended_ns"),
    *("answered_by_worker_ns", "answered_ns", "decided_ns", "sent_ns", "received_ns", "acked_ns"),
)
assert len(_INSTANTS) == len(STAGES) + 1


class Timed(NamedTuple):
    """The figures of the timed parts, by field of result.Result."""

    latency_ms: Percentiles
    session_ms: Percentiles
    overhead_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    faults: dict[str, int]
    timeline: list[Overrun]
    minutes: list[Minute]
    series: Series
    duration_s: float
    throughput_hz: float


def timed(rows: Rows, events: Sequence[Event], resident_mib: Mapping[int, float]) -> Timed:
    """Figures of the timed parts: every row here, in part order, warm-up left out.

    resident_mib: of the loop's process, by minute.
    """
    judged = rows[rows["verdict"] == 1]
    stages = stages_ms(judged)
    latency, session = latency_ms(judged), session_ms(judged)
    faults = Counter(str(FAULTS[number - 1]) for number in rows["fault"].tolist() if number)
    duration_s = _duration_s(rows)
    return Timed(
        latency_ms=percentiles(latency.tolist()),
        session_ms=percentiles(session.tolist()),
        overhead_ms=percentiles((latency - session).tolist()),
        stages_ms={name: percentiles(spans.tolist()) for name, spans in stages.items()},
        faults=dict(faults),
        timeline=_timeline(rows, stages, events),
        minutes=_minutes(rows, resident_mib),
        series=_series(rows),
        duration_s=duration_s,
        throughput_hz=len(rows) / duration_s if duration_s else 0.0,
    )


def stages_ms(rows: Rows) -> dict[str, Floats]:
    """How long each stage took, of rows; one that never came is NaN."""
    found: dict[str, Floats] = {}
    rows = rows.copy()
    # The controller may have the command before the loop is back from ZeroMQ to say that it went.
    early = (rows["received_ns"] > 0) & (rows["received_ns"] < rows["sent_ns"])
    rows["sent_ns"][early] = rows["received_ns"][early]
    for name, first, last in zip(STAGES, _INSTANTS, _INSTANTS[1:], strict=False):
        span: Floats = (rows[last] - rows[first]) / NS_PER_MS
        there = (rows[first] > 0) & (rows[last] > 0)
        found[name] = np.where(there, span, np.nan)
    # A part that was never acked has a verdict all the same.
    return {
        name: spans[~np.isnan(spans)] if name == "ack" else spans for name, spans in found.items()
    }


def session_ms(rows: Rows) -> Floats:
    span: Floats = (rows["ended_ns"] - rows["started_ns"]) / NS_PER_MS
    return np.maximum(span, 0.0)  # begun and never ended: a worker was lost


def _duration_s(rows: Rows) -> float:
    """From the first part's trigger to the last instant of any."""
    if not len(rows):
        return 0.0
    last_ns = max(int(rows[name].max()) for name in ("acked_ns", "received_ns", "sent_ns"))
    return max(0.0, (last_ns - int(rows["trigger_ns"][0])) / NS_PER_S)


def _seconds(rows: Rows) -> Floats:
    """Of each part's scheduled arrival, from the first one."""
    span: Floats = (rows["trigger_ns"] - rows["trigger_ns"][:1]) / NS_PER_S
    return span


def _series(rows: Rows) -> Series:
    step = max(1, -(-len(rows) // MOST_SERIES))
    seconds, heard = _seconds(rows)[::step], rows[::step]
    received = heard["received_ns"] > 0
    heard, seconds = heard[received], seconds[received]
    return Series(
        step=step,
        second=np.round(seconds, 3).tolist(),
        latency_ms=np.round(latency_ms(heard), 3).tolist(),
        session_ms=np.round(session_ms(heard), 3).tolist(),
    )


def _minutes(rows: Rows, resident_mib: Mapping[int, float]) -> list[Minute]:
    """One row a minute, for a run of two minutes or more."""
    minute_of = (_seconds(rows) // 60).astype(int)
    if not len(rows) or minute_of[-1] < 1:
        return []
    found = []
    for minute in range(int(minute_of[-1]) + 1):
        those = rows[minute_of == minute]
        judged = those[those["verdict"] == 1]
        spread = percentiles(latency_ms(judged).tolist()) or dict.fromkeys(
            ("p50", "p99", "max"), 0.0
        )
        session = percentiles(session_ms(judged).tolist()) or {"p50": 0.0}
        found.append(
            Minute(
                minute=minute,
                parts=len(those),
                overruns=int(those["overrun"].sum()),
                p50=spread["p50"],
                p99=spread["p99"],
                max=spread["max"],
                session_p50=session["p50"],
                resident_mib=round(resident_mib.get(minute, 0.0), 2),
            )
        )
    return found


def _timeline(rows: Rows, stages: Mapping[str, Floats], events: Sequence[Event]) -> list[Overrun]:
    """Every overrun with what was seen of it, up to MOST_OVERRUNS."""
    usual = {name: float(np.median(spans)) for name, spans in stages.items() if len(spans)}
    seconds, found = _seconds(rows), []
    for place in np.flatnonzero(rows["overrun"])[:MOST_OVERRUNS]:
        row = rows[place]
        received = int(row["received_ns"])
        span_ms = (received - int(row["trigger_ns"])) / NS_PER_MS
        found.append(
            Overrun(
                part=int(row["part"]),
                second=round(float(seconds[place]), 3),
                latency_ms=round(span_ms, 3) if received else None,
                why=_why(row, rows[place : place + 1], usual, events),
            )
        )
    return found


def _why(row: Any, alone: Rows, usual: Mapping[str, float], events: Sequence[Event]) -> str:
    """The fault, the stages that were much longer than usual, and what else happened then."""
    number = int(row["fault"])
    seen = [str(FAULTS[number - 1]) if number else "the command came late"]
    for name, spans in stages_ms(alone).items():
        if len(spans) and spans[0] > MUCH * usual.get(name, np.inf) + MUCH_MS:
            seen.append(f"{name} {spans[0]:.1f} ms, usually {usual[name]:.1f}")
    part, trigger_ns = int(row["part"]), int(row["trigger_ns"])
    until_ns = max(int(row["decided_ns"]), trigger_ns) + _NEAR_NS
    for event in events:
        own = event.part == part
        near = not event.part and trigger_ns - _NEAR_NS <= event.at_ns <= until_ns
        if own or near:
            seen.append(f"{event.kind}: {event.detail}")
    return "; ".join(dict.fromkeys(seen))
