"""What a run over known parts came to: the journal it fills and the report made of it.

The words are ARCHITECTURE's: caught, escape, held, defaulted, overkill, detection, overrun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.core.figures import auroc
from edge.core.ledger import Balance
from edge.core.types import Action, Fault, PartRecord, Verdict
from edge.stats import (
    DecisionDigest,
    is_deadline_miss,
    is_overrun,
    percentiles,
    session_ms,
    spans,
)

Label = Callable[[int], str | None]
Percentiles = dict[str, float] | None


class Journal:
    """A recorder that keeps everything; for replays and demonstrations, which end."""

    def __init__(self, warn: Callable[[str], None] | None = None) -> None:
        """warn: told once for each part whose picture is missing or broken."""
        self.records: list[PartRecord] = []
        self.events: Counter[str] = Counter()
        self._warn = warn

    def part(self, record: PartRecord) -> None:
        self.records.append(record)

    def event(self, kind: str, part: int, detail: str) -> None:
        self.events[kind] += 1
        if self._warn and kind in _WORTH_A_WARNING:
            self._warn(f"part {part}: {kind}: {detail}" if part else f"{kind}: {detail}")


_WORTH_A_WARNING = frozenset(
    {
        *(Fault.NO_IMAGE, Fault.BAD_FRAME, "worker_replaced", "worker_lost", "conservation"),
        *("historian", "disk", "records", "records_lost"),
    }
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a replay; counts of labelled parts are None for unlabelled footage."""

    parts: int
    scored: int
    good: int | None
    defect: int | None
    caught: int | None
    escapes: int | None
    overkill: int | None
    held_good: int | None
    held_defect: int | None
    defaulted_good: int | None
    defaulted_defect: int | None
    detection: float | None
    overkill_rate: float | None
    auroc: float | None
    deadline_misses: int
    overruns: int
    late_commands: int
    commands: int
    acks: int
    conservation_errors: int
    faults: dict[str, int]
    latency_ms: Percentiles
    frame_to_command_ms: Percentiles
    session_ms: Percentiles
    overhead_ms: Percentiles
    decisions_sha256: str
    provider: str
    model_sha256: str


def report(
    records: list[PartRecord],
    label: Label,
    *,
    balance: Balance,
    arm_log: Path,
    real_time: bool,
    provider: str,
    model_sha256: str,
) -> Report:
    """Score a finished run. real_time: whether its clock was real, so that latencies mean anything.

    late_commands are judged from the controller's own log, never from the station's records.
    """
    digest = DecisionDigest()
    for record in records:
        digest.add(record)
    timed = [s for record in records if (s := spans(record))] if real_time else []
    sessions = [ms for record in records if (ms := session_ms(record)) > 0]
    return Report(
        **_labelled(records, label),
        parts=balance.triggers,
        scored=sum(record.decision.score is not None for record in records),
        deadline_misses=sum(is_deadline_miss(record) for record in records),
        overruns=sum(is_overrun(record) for record in records),
        late_commands=late_commands(arm_log),
        commands=sum(record.command_id > 0 for record in records),
        acks=balance.acks,
        conservation_errors=balance.errors,
        faults=dict(Counter(str(f) for r in records if (f := r.decision.fault) is not None)),
        latency_ms=percentiles([latency for latency, _, _ in timed]),
        frame_to_command_ms=percentiles([after for _, after, _ in timed]),
        session_ms=percentiles(sessions),
        overhead_ms=percentiles([latency - session for latency, _, session in timed]),
        decisions_sha256=digest.hexdigest(),
        provider=provider,
        model_sha256=model_sha256,
    )


def _labelled(records: list[PartRecord], label: Label) -> dict[str, Any]:
    """The fields that need labels; all None when any part has none."""
    labels = [label(record.part) for record in records]
    if not records or None in labels:
        fields = Report.__struct_fields__
        return dict.fromkeys(fields[fields.index("good") : fields.index("auroc") + 1])
    bad = [name == "defect" for name in labels]
    outcomes = Counter((_outcome(record), b) for record, b in zip(records, bad, strict=True))
    good, defect = bad.count(False), bad.count(True)
    overkill, held = outcomes["fail", False], outcomes["held", False]
    scores = [
        (record.decision.score, b)
        for record, b in zip(records, bad, strict=True)
        if record.decision.score is not None
    ]
    return {
        "good": good,
        "defect": defect,
        "caught": outcomes["fail", True],
        "escapes": outcomes["accepted", True],
        "overkill": overkill,
        "held_good": held,
        "held_defect": outcomes["held", True],
        "defaulted_good": outcomes["defaulted", False],
        "defaulted_defect": outcomes["defaulted", True],
        "detection": outcomes["fail", True] / defect if defect else None,
        "overkill_rate": (overkill + held) / good if good else None,
        "auroc": auroc([s for s, _ in scores], [b for _, b in scores]),
    }


def _outcome(record: PartRecord) -> str:
    """What became of a part: accepted | fail | held | defaulted.

    An ACCEPT that the controller could not prove fresh became its default there; a part that
    it never acked, or that no command reached, is no catch either.
    """
    decision = record.decision
    if record.applied is Action.ACCEPT and decision.action is not Action.ACCEPT:
        return "accepted"  # the controller's word on what left the machine counts
    if record.applied is not decision.action:
        return "defaulted"
    match decision.verdict:
        case Verdict.PASS:
            return "accepted"
        case Verdict.FAIL:
            return "fail"
        case Verdict.INDETERMINATE:
            return "held"
        case None:
            return "defaulted"


def late_commands(arm_log: Path) -> int:
    """ACCEPTs and REWORKs that the controller applied after act_by, in its own words."""
    late = 0
    for line in arm_log.read_bytes().splitlines():
        entry = msgspec.json.decode(line)
        if entry["event"] == "applied" and entry["action"] in (Action.ACCEPT, Action.REWORK):
            late += entry["applied_ns"] > entry["act_by_ns"]
    return late
