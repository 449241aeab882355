"""Counts and percentiles of a run: bounded for a station that never ends, exact for a replay."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter

import numpy as np

from edge.core import figures
from edge.core.clock import NS_PER_MS
from edge.core.types import Action, Cause, Fault, PartRecord

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}


def spans(record: PartRecord) -> tuple[float, float, float] | None:
    """(latency, frame to command, session) in ms; None where the part had no verdict."""
    if record.decision.cause is not Cause.VERDICT or not record.received_ns:
        return None
    latency = (record.received_ns - record.deadline.trigger_ns) / NS_PER_MS
    frame_to_command = (record.received_ns - record.frame_ns) / NS_PER_MS
    return latency, frame_to_command, session_ms(record)


def session_ms(record: PartRecord) -> float:
    """session.run of the part alone, in its worker; 0 where it did not run."""
    return (record.stamps.ended_ns - record.stamps.started_ns) / NS_PER_MS


def registration_ms(record: PartRecord) -> float:
    """Registering the part's references; 0 where none was registered."""
    return record.registration_ns / NS_PER_MS


def percentiles(values: list[float]) -> dict[str, float] | None:
    """p50 to max by linear interpolation, rounded to 1 us; None without values."""
    if not values:
        return None
    found = np.percentile(np.asarray(values), list(PERCENTILES.values()))
    return {name: round(float(v), 3) for name, v in zip(PERCENTILES, found, strict=True)}


def is_overrun(record: PartRecord) -> bool:
    """A deadline miss, or a command received after act_by."""
    act_by_ns = record.deadline.act_by_ns
    return figures.is_overrun(record.decision.verdict, record.received_ns, act_by_ns)


def is_picture_overrun(record: PartRecord) -> bool:
    """An overrun of the picture alone: there was none that could be judged, and time was."""
    act_by_ns = record.deadline.act_by_ns
    return figures.is_picture_overrun(record.decision.fault, record.received_ns, act_by_ns)


def is_deadline_miss(record: PartRecord) -> bool:
    """No verdict by decide_by, whatever the reason."""
    return record.decision.verdict is None


class DecisionDigest:
    """`decisions_sha256`: one line a part in trigger order, without times or random ids.

    sequence, verdict, action, cause (with its fault), score as float32 hex, regions as
    integers, each with its type where it has one; the same footage on the same provider gives the
    same digest.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, record: PartRecord) -> None:
        decision = record.decision
        score = "-" if decision.score is None else struct.pack(">f", decision.score).hex()
        cause = decision.cause if decision.fault is None else f"{decision.cause}:{decision.fault}"
        regions = ";".join(
            f"{r.x},{r.y},{r.width},{r.height},{r.area_px}{r.type and f',{r.type}'}"
            for r in decision.regions
        )
        verdict = decision.verdict or "-"
        fields = (str(record.number), verdict, decision.action, cause, score, regions)
        self._hash.update((" ".join(fields) + "\n").encode())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Tally:
    """What a station shows while it runs; memory does not grow with the number of parts."""

    KEPT = 4096  # parts in the rolling percentiles: about 3 minutes at 20 parts/s

    def __init__(self) -> None:
        self.parts = 0
        self.actions: Counter[Action] = Counter()
        self.defaults: Counter[Fault] = Counter()
        self.events: Counter[str] = Counter()
        self.overruns = 0
        self.deadline_misses = 0
        self.commands = 0
        self.acks = 0
        self.last_event = ""
        self._latency = np.zeros(self.KEPT)
        self._session = np.zeros(self.KEPT)
        self._timed = 0

    def part(self, record: PartRecord) -> None:
        self.parts += 1
        self.actions[record.decision.action] += 1
        self.commands += record.command_id > 0
        self.acks += record.acked_ns > 0
        self.overruns += is_overrun(record)
        self.deadline_misses += is_deadline_miss(record)
        if record.decision.fault is not None:
            self.defaults[record.decision.fault] += 1
        if measured := spans(record):
            self._latency[self._timed % self.KEPT] = measured[0]
            self._session[self._timed % self.KEPT] = measured[2]
            self._timed += 1

    def event(self, kind: str, part: int, detail: str) -> None:
        self.events[kind] += 1
        self.last_event = f"{kind}{f' part {part}' if part else ''}: {detail}"

    def latency_ms(self) -> dict[str, float] | None:
        return percentiles(self._latency[: min(self._timed, self.KEPT)].tolist())

    def session_ms(self) -> dict[str, float] | None:
        return percentiles(self._session[: min(self._timed, self.KEPT)].tolist())
