"""The verdict on a run, from the injectors' log joined with the controllers' own logs.

The station's records say only what it did by itself: causes, overshoot, its own counts. Whether
an ACCEPT was on a fault, or late, is judged without it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.chaos.logs import INJECTED, RECORDS, TRIGGERS, Injected, Triggered
from bench.chaos.plan import NO_VERDICT, Plan
from edge.core.clock import NS_PER_MS
from edge.core.config import Station
from edge.core.ledger import Balance
from edge.core.types import Action, PartRecord, Verdict
from edge.stats import percentiles

# A part is also touched by what happened so shortly before its trigger: queues empty, workers
# change over, a stalled socket drains.
AFTER_NS = 20 * NS_PER_MS


T = TypeVar("T")


class Applied(msgspec.Struct, frozen=True):
    """One line of a controller's log."""

    event: str
    part: int = 0
    action: str = ""
    applied_ns: int = 0
    session: int = 0


class ChaosReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `edge chaos`; `broken` names every promise that did not hold."""

    parts: int
    verdicts: int
    accepts: int
    injected: dict[str, int]
    conservation_errors: int
    accepts_on_fault: int
    late_commands: int
    unacked: int
    defaults: dict[str, int]
    defaults_without_cause: int
    overshoot_ms: dict[str, float] | None
    overshoot_unstalled_ms: dict[str, float] | None
    availability: float | None
    untouched: int
    untouched_verdicts_changed: int
    applied_twice: int
    wall_s: float
    broken: tuple[str, ...] = ()


def judge(
    plan: Plan,
    station: Station,
    folder: Path,
    expected: dict[int, Verdict],
    wall_s: float,
) -> ChaosReport:
    """Read every log of a finished run. expected: a picture's verdict in a run without faults."""
    triggers = {t.part: t for t in _read(folder / TRIGGERS, Triggered)}
    injected = _read(folder / INJECTED, Injected)
    records = _read(folder / RECORDS, PartRecord)
    (balance,) = _read(folder / "balance.json", Balance)
    applied = [
        line
        for path in sorted(folder.glob("arm*.jsonl"))
        for line in _read(path, Applied)
        if line.event == "applied"
    ]
    budget_ns = round(station.budget_ms * NS_PER_MS)
    touched = _touched(triggers, injected, budget_ns)
    stalls = [one for one in injected if one.kind == "station_stall"]
    stalled = _touched(triggers, stalls, budget_ns)
    fatal = {one.part for one in injected if one.kind in NO_VERDICT}
    accepts = [line for line in applied if line.action in (Action.ACCEPT, Action.REWORK)]
    untouched = [record for record in records if record.part not in touched]
    changed = sum(
        record.decision.verdict is not expected[triggers[record.part].picture]
        for record in untouched
        if record.decision.verdict is not None
    )
    judged = sum(record.decision.verdict is not None for record in untouched)
    counted = Counter(line.part for line in applied)
    timed_out = [r for r in records if r.decision.fault is not None]
    report = ChaosReport(
        parts=len(triggers),
        verdicts=sum(record.decision.verdict is not None for record in records),
        accepts=sum(line.action == Action.ACCEPT for line in applied),
        injected=dict(sorted(Counter(one.kind for one in injected).items())),
        conservation_errors=balance.errors
        + (len(triggers) != balance.triggers)
        + (len(records) != len(triggers)),
        accepts_on_fault=sum(line.part in fatal for line in accepts),
        late_commands=sum(
            line.applied_ns > triggers[line.part].trigger_ns + budget_ns for line in accepts
        ),
        unacked=balance.unacked,
        defaults=dict(sorted(Counter(str(r.decision.fault) for r in timed_out).items())),
        defaults_without_cause=sum(
            r.decision.verdict is None and r.decision.fault is None for r in records
        ),
        overshoot_ms=percentiles(_overshoots(timed_out)),
        overshoot_unstalled_ms=percentiles(
            _overshoots([r for r in timed_out if r.part not in stalled])
        ),
        availability=judged / len(untouched) if untouched else None,
        untouched=len(untouched),
        untouched_verdicts_changed=changed,
        applied_twice=sum(count > 1 for count in counted.values()),
        wall_s=round(wall_s, 1),
    )
    return msgspec.structs.replace(report, broken=tuple(_broken(plan, report)))


def _broken(plan: Plan, report: ChaosReport) -> list[str]:
    promised = [
        ("every part of the plan was triggered", report.parts == plan.parts),
        ("conservation is exact", report.conservation_errors == 0),
        ("no ACCEPT on a fault", report.accepts_on_fault == 0),
        ("no late command", report.late_commands == 0),
        ("no part acted on twice", report.applied_twice == 0),
        ("every default has its cause", report.defaults_without_cause == 0),
        ("availability is at least 0.99", (report.availability or 0.0) >= 0.99),
        ("untouched parts are judged as without faults", report.untouched_verdicts_changed == 0),
    ]
    return [promise for promise, held in promised if not held]


def _touched(triggers: dict[int, Triggered], injected: list[Injected], budget_ns: int) -> set[int]:
    """Parts at which something was broken, or whose time overlaps one when something was."""
    in_order = sorted(triggers.values(), key=lambda t: t.trigger_ns)
    instants = [t.trigger_ns for t in in_order]
    touched = {one.part for one in injected}
    for one in injected:
        if one.kind in ("lost_ack", "hostile_bytes", "camera_freeze", "unfit_picture"):
            continue  # none of these may touch another part
        first = bisect_left(instants, one.from_ns - budget_ns)
        last = bisect_left(instants, one.until_ns + AFTER_NS)
        touched.update(t.part for t in in_order[first:last])
    return touched


def _overshoots(records: list[PartRecord]) -> list[float]:
    """Milliseconds by which defaults left after decide_by; 0 for those that left before."""
    return [
        max(0.0, (record.decided_ns - record.deadline.decide_by_ns) / NS_PER_MS)
        for record in records
    ]


def _read(path: Path, of: type[T]) -> list[T]:
    decoder = msgspec.json.Decoder(of)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]
