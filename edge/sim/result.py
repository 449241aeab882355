"""What a simulated line came to: the bins, the escapes, and how fast it may run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edge.core.types import Record
from edge.replay import Label, Percentiles, Report
from edge.sim.line import Line
from edge.sim.physics import Outcome
from edge.sim.rate import Bound

Pace = Literal["virtual", "real"]


class Bins(Record, frozen=True):
    """Where the parts are: good_bin + reject_bin + stopped = parts, always.

    stopped: still on the belt when the line stopped. late_at_gate: parts of which the machine had
    no command by the last instant it could have acted on. misrouted: parts that left otherwise
    than the machine was told, or than it rests where it was told nothing.

    Truth of a part in a bin, None where no part has any: physical_escapes are the defective ones
    in the good bin, physical_overkill the good ones in the reject bin, held parts among them,
    whoever put them there. Those the machine misrouted are counted once more in
    escapes_by_machine and overkill_by_machine.
    """

    parts: int
    good_bin: int
    reject_bin: int
    stopped: int
    late_at_gate: int
    misrouted: int
    good: int | None
    defect: int | None
    physical_escapes: int | None
    physical_overkill: int | None
    escapes_by_machine: int | None
    overkill_by_machine: int | None


def bins_of(ends: Sequence[Outcome], label: Label) -> Bins:
    """Count where parts ended against what they are; a part without truth is a part only."""
    labels = [label(end.part) for end in ends]
    truth = list(zip(ends, labels, strict=True))
    escaped = [end for end, name in truth if end.bin == "good" and name == "defect"]
    overkilled = [end for end, name in truth if end.bin == "reject" and name == "good"]
    known = any(name is not None for name in labels)
    return Bins(
        parts=len(ends),
        good_bin=sum(end.bin == "good" for end in ends),
        reject_bin=sum(end.bin == "reject" for end in ends),
        stopped=sum(end.bin == "stopped" for end in ends),
        late_at_gate=sum(end.late for end in ends),
        misrouted=sum(_is_misrouted(end) for end in ends),
        good=labels.count("good") if known else None,
        defect=labels.count("defect") if known else None,
        physical_escapes=len(escaped) if known else None,
        physical_overkill=len(overkilled) if known else None,
        escapes_by_machine=sum(map(_is_misrouted, escaped)) if known else None,
        overkill_by_machine=sum(map(_is_misrouted, overkilled)) if known else None,
    )


def _is_misrouted(end: Outcome) -> bool:
    return not end.as_sent and end.bin != "stopped"


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """A run in real time, close to the highest rate, of the parts that the rate rests on.

    picture_overruns: of the overruns, those whose picture could not be judged, and nothing was
    late. They say nothing of the rate, so the line holds with them.
    """

    rate_hz: float
    parts: int
    late_at_gate: int
    misrouted: int
    overruns: int
    picture_overruns: int

    @property
    def holds(self) -> bool:
        late = self.overruns - self.picture_overruns
        return not (self.late_at_gate or self.misrouted or late)


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `edge sim`; the counts are those of `Bins`, flat.

    overruns: parts without a verdict by decide_by, and commands received after act_by;
    picture_overruns: those of them that had a picture which could not be judged, and no delay.
    session_ms is measured on each part. overhead_ms is all the rest from trigger to command:
    measured on each part in real time, and on overhead_parts of them for a virtual run; 0 parts
    where it was given. latency_ms holds the waiting, too. max_rate_hz: see edge.sim.rate;
    None where no rate is slow enough. station: the station's own report on the same run.
    """

    footage: str
    package: str
    model_sha256: str
    provider: str
    pace: Pace
    line: Line
    rate_hz: float
    budget_ms: float
    margin_ms: float
    parts: int
    good_bin: int
    reject_bin: int
    stopped: int
    late_at_gate: int
    misrouted: int
    good: int | None
    defect: int | None
    physical_escapes: int | None
    physical_overkill: int | None
    escapes_by_machine: int | None
    overkill_by_machine: int | None
    overruns: int
    picture_overruns: int
    latency_ms: Percentiles
    session_ms: Percentiles
    overhead_ms: Percentiles
    overhead_parts: int
    max_rate_hz: float | None
    max_rate_bound_by: Bound | None
    max_rate_parts: int
    confirmation: Confirmation | None
    conservation_errors: int
    station: Report
