"""What a run's records tell of the time each part took, for a belt that runs otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.core.clock import NS_PER_MS
from edge.core.types import Action, Fault, PartRecord
from edge.sim.waiting import Measured, Overhead
from edge.stats import session_ms, spans

# Defaults for want of time: how long the engine takes for such a part was not seen.
UNTIMED = frozenset({Fault.DEADLINE, Fault.NOT_ADMITTED, Fault.ENGINE_DOWN, Fault.STALL})


def is_untimed(record: PartRecord) -> bool:
    return record.decision.fault in UNTIMED


def was_late(record: PartRecord) -> bool:
    """It had no verdict for want of time, or its command came after act_by, or not at all."""
    in_time = 0 < record.received_ns <= record.deadline.act_by_ns
    return is_untimed(record) or not in_time


def alone(records: Sequence[PartRecord]) -> list[bool]:
    """Whether each part, in trigger order, came with the one before it done."""
    found: list[bool] = []
    free_ns = 0
    for record in records:
        found.append(record.deadline.trigger_ns >= free_ns)
        free_ns = max(free_ns, record.received_ns, record.decided_ns)
    return found


def overheads_of(records: Sequence[PartRecord]) -> list[Overhead]:
    """The overheads of the parts that waited for nobody, in a run in real time.

    Of all parts with a verdict, where each waited.
    """
    found: dict[bool, list[Overhead]] = {True: [], False: []}
    for record, waited_not in zip(records, alone(records), strict=True):
        if timed := spans(record):
            latency_ms, _, in_session_ms = timed
            total_ns = round((latency_ms - in_session_ms) * NS_PER_MS)
            wire_ns = record.received_ns - record.decided_ns
            found[waited_not].append(Overhead(total_ns, max(0, wire_ns)))
    return found[True] or found[False]


def measured_of(
    records: Sequence[PartRecord], told: Mapping[int, Action], overheads: Sequence[Overhead]
) -> list[Measured]:
    """What each part took. told: what the machine did with a part; overheads go round in turn."""
    return [
        Measured(
            part=record.part,
            action=told.get(record.part),
            session_ns=round(session_ms(record) * NS_PER_MS),
            overhead=overheads[row % len(overheads)] if overheads else Overhead(0, 0),
        )
        for row, record in enumerate(records)
    ]


def completed(
    records: Sequence[PartRecord], measured: Sequence[Measured], again: Sequence[Measured]
) -> list[Measured]:
    """The same with the parts that were not timed filled in from another run, in lock-step.

    Where nobody was before such a part, it took its whole budget at the least, whatever the other
    run says.
    """
    filled: list[Measured] = []
    for record, first, second, waited_not in zip(
        records, measured, again, alone(records), strict=True
    ):
        if not is_untimed(record):
            filled.append(first)
            continue
        budget_ns = record.deadline.decide_by_ns - record.deadline.trigger_ns
        refused = record.decision.fault is Fault.NOT_ADMITTED
        least_ns = budget_ns - second.overhead.total_ns if waited_not and not refused else 0
        session_ns = max(second.session_ns, least_ns)
        filled.append(Measured(first.part, second.action, session_ns, second.overhead))
    return filled
