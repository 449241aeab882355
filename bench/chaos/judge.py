"""The verdict on a run, from the injectors' log joined with the controllers' own logs.

The station's records say only what it did by itself: causes, overshoot, its own counts. Whether
an ACCEPT was on a fault, or late, is judged without it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.chaos import kept
from bench.chaos.logs import INJECTED, RECORDS, TRIGGERS, Injected, Triggered
from bench.chaos.plan import NO_VERDICT, UNSEEN, Plan
from edge.core.clock import NS_PER_MS
from edge.core.config import Station
from edge.core.ledger import Balance
from edge.core.types import Action, PartRecord, Verdict
from edge.stats import percentiles

# A part is also touched by what happened so shortly before its trigger: queues empty, workers
# change over, a stalled socket drains.
AFTER_NS = 20 * NS_PER_MS
OF_THE_PLANNED = 0.85  # of each kind must have happened: a part that is refused meets no worker


T = TypeVar("T")


class Applied(msgspec.Struct, frozen=True):
    """One line of a controller's log."""

    event: str
    part: int = 0
    action: str = ""
    applied_ns: int = 0
    session: int = 0


class ChaosReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `edge chaos`; `broken` names every promise that did not hold.

    availability: of the parts that no injected fault touched, the share with a verdict that the
    controller obeyed in time. Of those, too: verdicts_changed against a run without faults,
    misapplied (the controller did neither what was decided nor its default, or twice, or
    nothing), untouched_unacked. records_missing: parts that the records lack or hold otherwise than
    the station's own log. pictures_kept, of pictures_lost and those in footage files that open.
    """

    parts: int
    verdicts: int
    accepts: int
    planned: dict[str, int]
    injected: dict[str, int]
    conservation_errors: int
    accepts_on_fault: int
    defective_accepted: int
    late_commands: int
    applied_twice: int
    unacked: int
    defaults: dict[str, int]
    defaults_without_cause: int
    overshoot_ms: dict[str, float] | None
    overshoot_unstalled_ms: dict[str, float] | None
    availability: float | None
    untouched: int
    verdicts_changed: int
    misapplied: int
    untouched_unacked: int
    records_missing: int
    records_problems: int
    pictures_kept: int
    pictures_lost: int
    pictures_in_footage: int
    historian_restarts: int
    wall_s: float
    broken: tuple[str, ...] = ()


class _Logs:
    """Everything written down in a run, joined by part."""

    def __init__(self, folder: Path, budget_ns: int) -> None:
        self.budget_ns = budget_ns
        self.triggers = {t.part: t for t in _read(folder / TRIGGERS, Triggered)}
        self.injected = _read(folder / INJECTED, Injected)
        self.records = _read(folder / RECORDS, PartRecord)
        (self.balance,) = _read(folder / "balance.json", Balance)
        self.applied: defaultdict[int, list[Applied]] = defaultdict(list)
        for path in sorted(folder.glob("arm*.jsonl")):
            for line in _read(path, Applied):
                if line.event == "applied":
                    self.applied[line.part].append(line)
        self.accepts = [
            line
            for lines in self.applied.values()
            for line in lines
            if line.action in (Action.ACCEPT, Action.REWORK)
        ]
        self.touched = _touched(self.triggers, self.injected, budget_ns)

    def is_late(self, line: Applied) -> bool:
        """By the camera's clock and the controller's, whatever the station thought."""
        return line.applied_ns > self.triggers[line.part].trigger_ns + self.budget_ns

    def is_admissible(self, record: PartRecord, default: Action) -> bool:
        """The controller did one thing with the part: what was decided, or its default."""
        actions = [line.action for line in self.applied[record.part]]
        return len(actions) == 1 and actions[0] in (record.decision.action, default)

    def is_as_decided(self, record: PartRecord) -> bool:
        """The controller did what the station decided, once, and in time where that matters."""
        lines = self.applied[record.part]
        same = len(lines) == 1 and lines[0].action == record.decision.action
        return same and not (lines[0] in self.accepts and self.is_late(lines[0]))


def judge(
    plan: Plan, station: Station, folder: Path, expected: dict[int, Verdict], wall_s: float
) -> ChaosReport:
    """Read every log of a finished run. expected: a picture's verdict in a run without faults."""
    logs = _Logs(folder, round(station.budget_ms * NS_PER_MS))
    fatal = {one.part for one in logs.injected if one.kind in NO_VERDICT}
    stalls = [one for one in logs.injected if one.kind == "station_stall"]
    stalled = _touched(logs.triggers, stalls, logs.budget_ns)
    defaults = [r for r in logs.records if r.decision.verdict is None]
    untouched = [r for r in logs.records if r.part not in logs.touched]
    judged = [r for r in untouched if r.decision.verdict is not None]
    missing = set(logs.triggers) ^ {r.part for r in logs.records}

    def shown(part: int) -> Verdict:
        return expected[logs.triggers[part].picture]

    report = ChaosReport(
        parts=len(logs.triggers),
        verdicts=len(logs.records) - len(defaults),
        accepts=sum(line.action == Action.ACCEPT for line in logs.accepts),
        planned=dict(sorted(Counter(one.kind for one in plan.injections).items())),
        injected=dict(sorted(Counter(one.kind for one in logs.injected).items())),
        conservation_errors=logs.balance.errors
        + len(missing)
        + (len(logs.triggers) != logs.balance.triggers)
        + (len(logs.records) != len(logs.triggers)),
        accepts_on_fault=sum(line.part in fatal for line in logs.accepts),
        defective_accepted=sum(shown(line.part) is not Verdict.PASS for line in logs.accepts),
        late_commands=sum(logs.is_late(line) for line in logs.accepts),
        applied_twice=sum(len(lines) > 1 for lines in logs.applied.values()),
        unacked=logs.balance.unacked,
        defaults=dict(sorted(Counter(str(r.decision.fault) for r in defaults).items())),
        defaults_without_cause=sum(r.decision.fault is None for r in defaults),
        overshoot_ms=percentiles(_overshoots(defaults)),
        overshoot_unstalled_ms=percentiles(
            _overshoots([r for r in defaults if r.part not in stalled])
        ),
        availability=sum(map(logs.is_as_decided, judged)) / len(untouched) if untouched else None,
        untouched=len(untouched),
        verdicts_changed=sum(r.decision.verdict is not shown(r.part) for r in judged),
        misapplied=sum(not logs.is_admissible(r, station.policy.default) for r in untouched),
        untouched_unacked=sum(not r.acked_ns for r in untouched),
        **kept.judge(folder, logs.records),
        wall_s=round(wall_s, 1),
    )
    return msgspec.structs.replace(report, broken=tuple(_broken(plan, report)))


def _broken(plan: Plan, report: ChaosReport) -> list[str]:
    happened = all(
        report.injected.get(kind, 0) >= OF_THE_PLANNED * count
        for kind, count in report.planned.items()
    )
    promised = [
        ("every part of the plan was triggered", report.parts == plan.parts),
        ("every kind of fault happened", happened),
        ("conservation is exact", report.conservation_errors == 0),
        ("no ACCEPT on a fault", report.accepts_on_fault == 0),
        ("no defective part accepted", report.defective_accepted == 0),
        ("no late command", report.late_commands == 0),
        ("no part acted on twice", report.applied_twice == 0),
        ("every default has its cause", report.defaults_without_cause == 0),
        ("availability is at least 0.99", (report.availability or 0.0) >= 0.99),
        ("untouched parts are judged as without faults", report.verdicts_changed == 0),
        ("untouched parts are acted on once, as decided or by default", report.misapplied == 0),
        ("untouched parts are acked", report.untouched_unacked == 0),
        ("every part is in the records, as it was", report.records_missing == 0),
        ("the records verify", report.records_problems == 0),
    ]
    return [promise for promise, held in promised if not held]


def _touched(triggers: dict[int, Triggered], injected: list[Injected], budget_ns: int) -> set[int]:
    """Parts at which something was broken, or whose time overlaps one when something was."""
    in_order = sorted(triggers.values(), key=lambda t: t.trigger_ns)
    instants = [t.trigger_ns for t in in_order]
    touched = {one.part for one in injected}
    for one in injected:
        if one.kind in UNSEEN:
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
