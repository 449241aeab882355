"""A recorded run as ports: the same parts, frames, answers and faults at the same instants.

The pictures are judged again by a real worker; everything that took time is as it was recorded, on
a virtual clock. So a deadline missed then is missed now, and what the loop, the policy and the
model make of each part can be compared with what they made of it then.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol

import msgspec

from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.pool import FramePool, Holder, View
from edge.core.ports import Actuator, Engine
from edge.core.types import (
    Ack,
    Action,
    Answer,
    Cause,
    Deadline,
    Decision,
    Fault,
    Frame,
    NoFrame,
    Outcome,
    PartRecord,
    Prediction,
    Serving,
    Trigger,
)
from edge.judged import was_judged
from models.decode import MAX_REGIONS
from sensors.grabber import UnreadError

START_NS = NS_PER_S  # of the virtual clock: an instant of 0 in a record means that it never came
WATCHDOG_NS = 10 * NS_PER_S  # for a worker that hangs over a picture; then the clock goes on
ACK_NS = 50 * NS_PER_MS  # after act_by; a quarter of the usual ack_ms


class Reader(Protocol):
    """Writes a row's views as they were recorded; rows count from 0 and rise."""

    def fill(self, row: int, arrays: Mapping[str, View]) -> None: ...

    def close(self) -> None: ...


class Scripted(NamedTuple):
    """A part as recorded, its instants moved to the virtual clock; row -1: its picture was lost."""

    record: PartRecord
    row: int

    @property
    def is_judged(self) -> bool:
        """Its answer came in time, from a picture that can be looked at again."""
        return self.row >= 0 and was_judged(self.record)


def script(records: Sequence[PartRecord], has_picture: Callable[[int], bool]) -> list[Scripted]:
    """Recorded parts as parts 1, 2, 3... of a run that begins now.

    has_picture: of a row, counted as in `records`.
    """
    if not records:
        return []
    shift_ns = START_NS - records[0].deadline.trigger_ns
    moved = [_moved(record, row + 1, shift_ns) for row, record in enumerate(records)]
    stalls = _stalls(moved)
    return [
        Scripted(_before_stalls(record, stalls), row if has_picture(row) else -1)
        for row, record in enumerate(moved)
    ]


def _moved(record: PartRecord, part: int, shift_ns: int) -> PartRecord:
    def at(instant_ns: int) -> int:
        return instant_ns + shift_ns if instant_ns else 0

    deadline = record.deadline
    return msgspec.structs.replace(
        record,
        part=part,
        number=part,
        deadline=Deadline(
            at(deadline.trigger_ns), at(deadline.decide_by_ns), at(deadline.act_by_ns)
        ),
        decision=msgspec.structs.replace(record.decision, part=part),
        frame_ns=at(record.frame_ns),
        answered_ns=at(record.answered_ns),
        decided_ns=at(record.decided_ns),
    )


class RecordedClock:
    """Virtual time that moves only while nothing is under way outside, and stalls as recorded."""

    def __init__(self, parts: Sequence[Scripted]) -> None:
        self._now_ns = START_NS - 1
        self._stalls = deque(_stalls([one.record for one in parts]))
        self.outstanding: Callable[[], bool] = lambda: False
        self.limit_ns: Callable[[], int | None] = lambda: None  # time may go on until then
        self.give_up: Callable[[], None] = lambda: None  # nothing came for WATCHDOG_NS

    def now_ns(self) -> int:
        return self._now_ns

    def wait(
        self, fds: Sequence[int], until_ns: int | None, *, busy: bool = False, look_ns: int = 0
    ) -> list[int]:
        if until_ns is not None and until_ns <= self._now_ns:
            return select.select(fds, [], [], 0)[0]
        waits = self.outstanding()
        if not waits and until_ns is not None and (limit_ns := self.limit_ns()) is not None:
            waits = until_ns > limit_ns
        patience_s = WATCHDOG_NS / NS_PER_S if waits else 0.0
        ready = select.select(fds, [], [], patience_s)[0]
        if waits and not ready:
            self.give_up()
        if until_ns is not None and not ready:
            self._now_ns = until_ns
            while self._stalls and self._stalls[0][0] <= until_ns:
                self._now_ns = max(self._now_ns, self._stalls.popleft()[1])
        return ready


def _stalls(records: Sequence[PartRecord]) -> list[tuple[int, int]]:
    """From and until when the loop stood still over deadlines; those that overlap are one."""
    spans = sorted(
        (record.deadline.decide_by_ns, record.decided_ns)
        for record in records
        if record.decision.fault is Fault.STALL
    )
    merged: list[tuple[int, int]] = []
    for start_ns, end_ns in spans:
        if merged and start_ns <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_ns)
        else:
            merged.append((start_ns, end_ns))
    return merged


def _before_stalls(record: PartRecord, stalls: list[tuple[int, int]]) -> PartRecord:
    """What was done in time, in the turns that a stall ended with, is done just before it.

    The clock goes over a stall in one step, to when the last of its parts was decided; what came
    up to some milliseconds earlier would be late. A part that was triggered meanwhile and got a
    fault in time gets it with its trigger.
    """
    decision, deadline = record.decision, record.deadline
    if decision.fault in (Fault.STALL, Fault.DEADLINE) or not (
        record.decided_ns < deadline.decide_by_ns
    ):
        return record
    for start_ns, end_ns in stalls:
        if not start_ns <= record.decided_ns <= end_ns:
            continue
        if deadline.trigger_ns >= start_ns - 1:
            if decision.fault is None:
                return record
            return msgspec.structs.replace(
                record, frame_ns=0, answered_ns=0, decided_ns=deadline.trigger_ns
            )
        before_ns = start_ns - 1
        return msgspec.structs.replace(
            record,
            frame_ns=min(record.frame_ns, before_ns),
            answered_ns=min(record.answered_ns, before_ns),
            decided_ns=before_ns,
        )
    return record


class _Due(NamedTuple):
    """Something the camera tells the loop, and when."""

    at_ns: int
    part: int
    kind: int  # _TRIGGER, _FRAME or _NO_FRAME


_TRIGGER, _FRAME, _NO_FRAME = range(3)


class RecordedCamera:
    """Triggers and frames at their recorded instants.

    Pictures are decoded between two parts, in the loop's thread: a thread beside the session was
    no quicker on 2 cores (205 to 246 parts/s of `deeppcb`, 225 so).
    """

    def __init__(
        self,
        parts: Sequence[Scripted],
        reader: Callable[[], Reader],
        pool: FramePool,
        truth: Callable[[int], tuple[str, str]] = lambda part: ("", ""),
    ) -> None:
        """truth: of a part as numbered here, as ScheduledCamera.truth."""
        self._parts, self._reader, self._pool = parts, reader(), pool
        self.truth = truth
        self._due = deque(sorted(due for one in parts for due in _told(one)))
        self._never = os.eventfd(0, os.EFD_CLOEXEC)
        self._stopped = False
        self.triggers = 0

    @property
    def exhausted(self) -> bool:
        return self._stopped or self.triggers == len(self._parts)

    def fileno(self) -> int:
        return self._never

    def start(self, now_ns: int) -> None:
        """The recorded instants say when."""

    def due_ns(self, open_parts: int) -> int | None:
        return self._due[0].at_ns if self._due and not self._stopped else None

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        if self._stopped or not self._due or self._due[0].at_ns > now_ns:
            return None
        due = self._due.popleft()
        one = self._parts[due.part - 1]
        if due.kind == _FRAME:
            return self._frame(due, one.row)
        if due.kind == _NO_FRAME:
            decision = one.record.decision
            assert decision.fault is not None
            return NoFrame(due.part, decision.fault, decision.detail)
        self.triggers += 1
        return Trigger(due.part, self.triggers, due.at_ns, one.record.encoder)

    def _frame(self, due: _Due, row: int) -> Frame | NoFrame:
        lease = self._pool.lease(due.part)
        if lease is None:
            return NoFrame(due.part, Fault.MISSED_TRIGGER, "more slots are held than were then")
        slot, generation = lease
        if row >= 0:  # else its answer is as recorded, and nobody looks at the slot
            try:
                self._reader.fill(row, self._pool.arrays(slot))
            except UnreadError as why:
                self._pool.release(slot, Holder.PART)
                return NoFrame(due.part, why.fault, why.detail)
        return Frame(due.part, slot, generation, due.at_ns)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._reader.close()
        os.close(self._never)


def _told(one: Scripted) -> list[_Due]:
    """What the camera said of a part."""
    record, part = one.record, one.record.part
    told = [_Due(record.deadline.trigger_ns, part, _TRIGGER)]
    if record.frame_ns:
        told.append(_Due(record.frame_ns, part, _FRAME))
    else:
        # At once, and not by silence; one that was not admitted from its trigger on is barred.
        at_once = record.decided_ns < record.deadline.decide_by_ns
        if at_once and record.decision.fault not in (None, Fault.NOT_ADMITTED):
            told.append(_Due(record.decided_ns, part, _NO_FRAME))
    return told


class RecordedEngine:
    """Has pictures judged by a real engine, and hands each answer out when it came then."""

    def __init__(self, engine: Engine, parts: Sequence[Scripted]) -> None:
        self._engine, self._parts = engine, parts
        self._judging: set[int] = set()
        self._answers: list[tuple[int, int, Answer]] = []  # (when, part, answer), the next last
        self.ready, self.trouble = True, ""

    @property
    def serving(self) -> Serving | None:
        return self._engine.serving

    @property
    def outstanding(self) -> bool:
        """A worker is at it."""
        return bool(self._judging)

    def refusal(self, now_ns: int, decide_by_ns: int) -> None:
        """Who was refused then is answered so."""

    def filenos(self) -> Sequence[int]:
        return self._engine.filenos()

    def alert_ns(self) -> int | None:
        return None

    def alert(self, now_ns: int, due_ns: int) -> None:
        """Time stands still while a worker works."""

    def submit(self, frame: Frame, decide_by_ns: int) -> None:
        one = self._parts[frame.part - 1]
        if one.is_judged:
            self._judging.add(frame.part)
            self._engine.submit(frame, decide_by_ns)
        elif (outcome := _outcome(one)) is not None:
            record = one.record
            at_ns = record.answered_ns if record.answered_ns else record.decided_ns
            answer = Answer(
                frame.part,
                frame.slot,
                frame.generation,
                outcome,
                detail=record.decision.detail,
                serving=record.serving,  # nobody judges it now
            )
            self._keep(min(at_ns, decide_by_ns - 1), answer)

    def _keep(self, at_ns: int, answer: Answer) -> None:
        self._answers.append((at_ns, answer.part, answer))
        self._answers.sort(key=lambda kept: kept[:2], reverse=True)

    def abandon(self, part: int) -> None:
        self._judging.discard(part)
        self._answers = [kept for kept in self._answers if kept[1] != part]
        self._engine.abandon(part)

    def poll(self, now_ns: int) -> Answer | None:
        while answer := self._engine.poll(now_ns):
            if answer.part in self._judging:
                self._judging.remove(answer.part)
                record = self._parts[answer.part - 1].record
                self._keep(
                    record.answered_ns, msgspec.structs.replace(answer, stamps=record.stamps)
                )
        if self._answers and self._answers[-1][0] <= now_ns:
            return self._answers.pop()[2]
        return None

    def due_ns(self) -> int | None:
        return self._answers[-1][0] if self._answers else None

    def close(self) -> None:
        self._engine.close()


def _outcome(one: Scripted) -> Prediction | Fault | None:
    """The answer of a part whose picture is not judged again; None if none came in time."""
    decision = one.record.decision
    if decision.verdict is not None:
        assert decision.score is not None
        return Prediction(decision.score, decision.regions, len(decision.regions) >= MAX_REGIONS)
    if decision.fault is Fault.NO_CONTROLLER:
        return Prediction(0.0, (), False)  # whatever it was, nobody could act on it
    silent = decision.fault in (Fault.DEADLINE, Fault.STALL, Fault.NO_IMAGE)
    return None if silent else decision.fault


class RecordedActuator:
    """A simulated arm's link that was cut when the recorded one was, for a part's verdict."""

    def __init__(self, actuator: Actuator, parts: Sequence[Scripted]) -> None:
        self._actuator, self._parts = actuator, parts
        self._unheard: dict[int, int] = {}  # commanded, and no word of it yet: part -> act_by

    def give_up(self) -> None:
        """What is unheard for so long is waited for no more."""
        self._unheard.clear()

    def limit_ns(self) -> int | None:
        """How far time may go on while an arm has not acked yet; None where all have.

        It acks beside the next parts' inspection, and long before an ack counts as lost.
        """
        return min(self._unheard.values()) + ACK_NS if self._unheard else None

    @property
    def controller(self) -> str:
        return self._actuator.controller

    @property
    def counts(self) -> dict[Action, int] | None:
        return self._actuator.counts

    @property
    def backlog(self) -> bool:
        return self._actuator.backlog

    def fileno(self) -> int:
        return self._actuator.fileno()

    def _is_cut(self, part: int) -> bool:
        return self._parts[part - 1].record.decision.fault is Fault.NO_CONTROLLER

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> str:
        if self._is_cut(part):
            return ""
        return self._actuator.expect(part, number, default, deadline)

    def command(self, decision: Decision, deadline: Deadline) -> int:
        if self._is_cut(decision.part):
            return 0
        told = self._actuator.command(decision, deadline)
        if told:
            self._unheard[decision.part] = deadline.act_by_ns
        return told

    def nudge(self) -> None:
        self._actuator.nudge()

    def hold(self, on: bool) -> None:
        self._actuator.hold(on)

    def poll(self, now_ns: int) -> Ack | Outcome | None:
        word = self._actuator.poll(now_ns)
        if isinstance(word, Ack):
            self._unheard.pop(word.part, None)
        return word

    def due_ns(self) -> int | None:
        return self._actuator.due_ns()

    def close(self) -> None:
        self._actuator.close()


class RecordedInterlock:
    """Bars the parts that were barred; nothing that happens now holds a line."""

    hold_line = False

    def __init__(self, parts: Sequence[Scripted]) -> None:
        self._barred = [_barred(one.record) for one in parts]
        self._triggers = count()

    def bar(self) -> Cause | None:
        """Called once a trigger, in their order."""
        return self._barred[next(self._triggers)]

    def part(self, record: PartRecord) -> None: ...

    def outcome(self, outcome: Outcome) -> None: ...

    def conservation(self, rule: str) -> None: ...

    def engine(self, trouble: str) -> None: ...


def _barred(record: PartRecord) -> Cause | None:
    """Why a part was not to be inspected from its trigger on: a person, or the station's state."""
    decision = record.decision
    at_its_trigger = decision.fault is Fault.NOT_ADMITTED and not record.frame_ns
    return decision.cause if at_its_trigger or decision.cause is Cause.OPERATOR else None


class Difference(NamedTuple):
    """Where a replay and its recording part ways first."""

    part: int  # as recorded
    field: str
    recorded: object
    replayed: object

    def __str__(self) -> str:
        return f"part {self.part}: {self.field} was {self.recorded}, is {self.replayed}"


def differences(recorded: Sequence[PartRecord], replayed: Sequence[PartRecord]) -> list[Difference]:
    """The first differing field of each part that was decided otherwise; parts are in order.

    verdict, action, cause, fault, score and regions to the bit, pose; never a time.
    """
    found = []
    for was, now in zip(recorded, replayed, strict=False):
        for field in ("verdict", "action", "cause", "fault", "score", "regions", "pose"):
            old, new = getattr(was.decision, field), getattr(now.decision, field)
            if old != new:
                found.append(Difference(was.part, field, old, new))
                break
    if len(recorded) != len(replayed):
        found.append(Difference(0, "parts", len(recorded), len(replayed)))
    return found
