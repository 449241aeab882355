"""What a run over known parts came to: the journal it fills and the report made of it.

The words are ARCHITECTURE's: caught, escape, held, defaulted, overkill, detection, overrun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge.core.figures import PICTURE_FAULTS, auroc
from edge.core.ledger import Balance
from edge.core.types import Action, Fault, PartRecord, Verdict
from edge.stats import (
    DecisionDigest,
    is_deadline_miss,
    is_overrun,
    is_picture_overrun,
    percentiles,
    registration_ms,
    session_ms,
    spans,
)

Label = Callable[[int], str | None]
Percentiles = dict[str, float] | None


class Journal:
    """A recorder that keeps everything; for replays and demonstrations, which end."""

    SHOWN = 3  # warnings of a kind; the others are counted

    def __init__(self, warn: Callable[[str], None] | None = None) -> None:
        """warn: told of the first parts with a missing or broken picture, and of other trouble."""
        self.records: list[PartRecord] = []
        self.events: Counter[str] = Counter()
        self._warn = warn or _nobody
        self._untold: dict[str, Counter[str]] = {}  # of a kind, how often for which reason

    def part(self, record: PartRecord) -> None:
        self.records.append(record)

    def event(self, kind: str, part: int, detail: str) -> None:
        self.events[kind] += 1
        if kind not in _WORTH_A_WARNING:
            return
        if self.events[kind] <= self.SHOWN:
            self._warn(f"part {part}: {kind}: {detail}" if part else f"{kind}: {detail}")
        else:
            reason = detail.rpartition(": ")[2]  # without the file that it is about
            self._untold.setdefault(kind, Counter())[reason] += 1

    def finish(self) -> None:
        """Tell how many more warnings of each kind there were, and the most frequent reasons."""
        for kind, reasons in self._untold.items():
            shown = reasons.most_common(self.SHOWN)
            for reason, times in shown:
                self._warn(f"and {times} more {kind}: {reason}")
            if others := reasons.total() - sum(times for _, times in shown):
                self._warn(f"and {others} more {kind}, for other reasons")
        self._untold.clear()


def _nobody(line: str) -> None:
    """Hears no warnings."""


_WORTH_A_WARNING = frozenset(
    {
        *(Fault.NO_IMAGE, Fault.BAD_FRAME, "worker_replaced", "worker_lost", "conservation"),
        *("historian", "disk", "records", "records_lost"),
    }
)


class Fared(msgspec.Struct, frozen=True, kw_only=True):
    """How labelled parts fared, as every report of known parts says it; None without labels."""

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


UNLABELLED: dict[str, Any] = dict.fromkeys(Fared.__struct_fields__)


class Report(Fared, frozen=True, kw_only=True):
    """The result of a replay.

    actions: parts by what their on-time verdict led to, the others under default. picture_overruns:
    of the overruns, those whose picture could not be judged, and nothing else was late. real_time:
    without, no instant was on a real clock, and there is no latency. session_ms and
    registration_ms: of the parts whose session ran, with 0 where nothing was registered; both are
    measured at any pace. overhead_ms: of each verdict, latency - session - registration.
    """

    parts: int
    scored: int
    actions: dict[str, int]
    deadline_misses: int
    overruns: int
    picture_overruns: int
    late_commands: int
    commands: int
    acks: int
    conservation_errors: int
    faults: dict[str, int]
    latency_ms: Percentiles
    frame_to_command_ms: Percentiles
    session_ms: Percentiles
    registration_ms: Percentiles
    overhead_ms: Percentiles
    real_time: bool
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
    timed = [(*s, registration_ms(r)) for r in records if (s := spans(r))] if real_time else []
    ran = [record for record in records if session_ms(record) > 0]
    return Report(
        **_labelled(records, label),
        parts=balance.triggers,
        scored=sum(record.decision.score is not None for record in records),
        actions=by_action(Counter(map(action, records))),
        deadline_misses=sum(is_deadline_miss(record) for record in records),
        overruns=sum(is_overrun(record) for record in records),
        picture_overruns=sum(is_picture_overrun(record) for record in records),
        late_commands=late_commands(arm_log),
        commands=sum(record.command_id > 0 for record in records),
        acks=balance.acks,
        conservation_errors=balance.errors,
        faults=dict(Counter(str(f) for r in records if (f := r.decision.fault) is not None)),
        latency_ms=percentiles([latency for latency, *_ in timed]),
        frame_to_command_ms=percentiles([after for _, after, *_ in timed]),
        session_ms=percentiles([session_ms(record) for record in ran]),
        registration_ms=percentiles([registration_ms(record) for record in ran]),
        overhead_ms=percentiles(
            [latency - session - registration for latency, _, session, registration in timed]
        ),
        real_time=real_time,
        decisions_sha256=digest.hexdigest(),
        provider=provider,
        model_sha256=model_sha256,
    )


def none_judged(parts: int, faults: Mapping[str, int]) -> bool:
    """Whether there were parts, and no picture of any could be judged."""
    return 0 < parts == sum(faults.get(fault, 0) for fault in PICTURE_FAULTS)


def action(record: PartRecord) -> str:
    """What a part's on-time verdict led to; `default` without one."""
    return _DEFAULT if record.decision.verdict is None else str(record.decision.action)


def by_action(found: Counter[str]) -> dict[str, int]:
    """Counts of `action`, all of them, in their order."""
    return {name: found[name] for name in (*map(str, Action), _DEFAULT)}


_DEFAULT = "default"


def _labelled(records: list[PartRecord], label: Label) -> dict[str, Any]:
    """The fields that need labels; all None when any part has none."""
    labels = [label(record.part) for record in records]
    if not records or None in labels:
        return UNLABELLED
    bad = [name == "defect" for name in labels]
    outcomes = Counter((outcome(record), b) for record, b in zip(records, bad, strict=True))
    scores = [
        (record.decision.score, b)
        for record, b in zip(records, bad, strict=True)
        if record.decision.score is not None
    ]
    return fared(outcomes, auroc([s for s, _ in scores], [b for _, b in scores]))


def fared(outcomes: Counter[tuple[str, bool]], area: float | None) -> dict[str, Any]:
    """The fields of Fared. outcomes: of `outcome`, and whether the part is defective."""
    good, defect = (
        sum(parts for (_, bad), parts in outcomes.items() if bad is kind) for kind in (False, True)
    )
    overkill, held = outcomes["fail", False], outcomes["held", False]
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
        "auroc": area,
    }


def outcome(record: PartRecord) -> str:
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
