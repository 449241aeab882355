"""A run played as it was: whatever became of a part then becomes of it again."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.policy import ThresholdPolicy
from edge.core.config import PolicyOptions
from edge.core.pool import FramePool
from edge.core.types import (
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Prediction,
    Serving,
    ViewSpec,
)
from edge.loop import Inspection, inspect
from edge.recorded import (
    RecordedActuator,
    RecordedCamera,
    RecordedClock,
    RecordedEngine,
    RecordedInterlock,
    differences,
    script,
)
from edge.testing import ListRecorder, RecordingActuator, ScriptedEngine

MS = 1_000_000
VIEWS = (ViewSpec("image", "picture", "uint8", (8, 8)),)
POLICY = ThresholdPolicy(0.4, 0.6, PolicyOptions())
# What became of a part: (frame after ms, answer after ms, decided after ms, what came); times from
# the trigger. The deadline is at 45 ms.
FATES = {
    "pass": (2, 8, 8, Prediction(0.1)),
    "fail": (2, 9, 9, Prediction(0.9)),
    "between": (2, 30, 30, Prediction(0.5)),
    "slow but in time": (20, 44, 44, Prediction(0.2)),
    "too slow": (2, 0, 45, Fault.DEADLINE),
    "unfit": (2, 6, 6, Fault.UNFIT_IMAGE),
    "no frame in time": (0, 0, 45, Fault.NO_IMAGE),
    "lost frame": (0, 0, 3, Fault.NO_IMAGE),
    "broken frame": (0, 0, 4, Fault.BAD_FRAME),
    "every slot held": (0, 0, 1, Fault.MISSED_TRIGGER),
    "refused": (2, 0, 2, Fault.NOT_ADMITTED),
    "refused in the queue": (2, 25, 25, Fault.NOT_ADMITTED),
    "worker killed": (2, 11, 11, Fault.ENGINE_DOWN),
    "no worker at the deadline": (2, 0, 45, Fault.ENGINE_DOWN),
    "garbage": (2, 7, 7, Fault.BAD_OUTPUT),
    "an old frame": (2, 5, 5, Fault.STALE_FRAME),
    "nobody there to act": (2, 8, 8, Fault.NO_CONTROLLER),
    "barred by the operator": (2, 0, 0, Fault.NOT_ADMITTED),
    "barred by the station's state": (0, 0, 0, Fault.NOT_ADMITTED),
    "the station stood still": (2, 0, 90, Fault.STALL),
}


def recorded(fate: str, part: int, trigger_ns: int) -> PartRecord:
    frame, answer, decided, came = FATES[fate]
    cause = Cause.OPERATOR if fate.startswith("barred") else None
    decision: Decision = POLICY.decide(part, came, cause)

    def at(ms: int) -> int:
        return trigger_ns + ms * MS if ms else 0

    return PartRecord(
        part=part,
        number=part,
        deadline=Deadline(trigger_ns, trigger_ns + 45 * MS, trigger_ns + 50 * MS),
        decision=decision,
        frame_ns=at(frame),
        answered_ns=at(answer),
        decided_ns=trigger_ns + decided * MS,
    )


class NoPictures:
    def fill(self, row, arrays) -> None:
        arrays["image"].fill(row % 256)

    def close(self) -> None: ...


class Ringing(ScriptedEngine):
    """Says by a descriptor that an answer is there, as a worker's socket does."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)

    def filenos(self):
        return (self._bell,)

    def submit(self, frame, decide_by_ns):
        super().submit(frame, decide_by_ns)
        os.eventfd_write(self._bell, 1)

    def poll(self, now_ns):
        if answer := super().poll(now_ns):
            os.eventfd_read(self._bell)
        return answer

    def end(self) -> None:
        os.close(self._bell)


def played(
    records: list[PartRecord], has_picture=lambda row: True, fates: list[str] | None = None
) -> list[PartRecord]:
    parts = script(records, has_picture)
    clock = RecordedClock(parts)
    pool, recorder = FramePool.create(VIEWS, 32), ListRecorder()
    fates = fates or [fate_of(record) for record in records]
    outcomes = {part: FATES[fate][3] for part, fate in enumerate(fates, start=1)}

    def outcome(part: int) -> Prediction | Fault:
        came = outcomes[part]
        return Prediction(0.3) if came is Fault.NO_CONTROLLER else came

    scripted = Ringing(pool, clock, outcome=outcome)
    engine = RecordedEngine(scripted, parts)
    camera = RecordedCamera(parts, NoPictures, pool)
    arm = RecordingActuator(clock)
    link = RecordedActuator(arm, parts)
    clock.outstanding = lambda: engine.outstanding
    clock.limit_ns, clock.give_up = link.limit_ns, link.give_up
    inspection = Inspection(
        camera=camera,
        engine=engine,
        policy=POLICY,
        actuator=link,
        interlock=RecordedInterlock(parts),
        recorder=recorder,
        pool=pool,
        clock=clock,
        deadline=lambda at: Deadline(at, at + 45 * MS, at + 50 * MS),
        ack_ns=100 * MS,
    )
    inspect(inspection, lambda: False)
    camera.close()
    arm.close()
    scripted.end()
    pool.close()
    return recorder.parts


def fate_of(record: PartRecord) -> str:
    decided_ms = (record.decided_ns - record.deadline.trigger_ns) // MS
    for fate, (frame, answer, decided, _) in FATES.items():
        again = recorded(fate, record.part, record.deadline.trigger_ns)
        if (decided, again.decision) == (decided_ms, record.decision):
            same_frame = bool(frame) == bool(record.frame_ns)
            if same_frame and bool(answer) == bool(record.answered_ns):
                return fate
    raise AssertionError(record)


@pytest.mark.parametrize("fate", FATES)
def test_each_fate_befalls_a_part_again(fate):
    records = [
        recorded(name, part, (5 + 200 * part) * MS)
        for part, name in enumerate(("pass", fate, "fail"), start=1)
    ]
    again = played(records)
    assert differences(records, again) == []
    moved = records[0].deadline.trigger_ns - again[0].deadline.trigger_ns
    for was, now in zip(records, again, strict=True):
        assert abs(now.decided_ns + moved - was.decided_ns) <= 1  # ns


@given(
    fates=st.lists(st.sampled_from(sorted(FATES)), min_size=1, max_size=25),
    spacing_ms=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_so_it_is_for_any_mixture_however_close_together(fates, spacing_ms):
    if "the station stood still" in fates:  # everything around it would have stood still, too
        spacing_ms = 200
    records = [
        recorded(fate, part, (7 + spacing_ms * part) * MS)
        for part, fate in enumerate(fates, start=1)
    ]
    assert differences(records, played(records)) == []


def test_parts_around_one_stall_are_decided_as_they_were_in_the_turns_after_it():
    """Three parts stand still together; one is decided in time at the stall's end, one late."""
    spaced = [recorded("the station stood still", part, part * 20 * MS) for part in (1, 2, 3)]
    ends = [130 * MS, 130 * MS + 400_000, 136 * MS]
    stalled = [
        msgspec.structs.replace(one, decided_ns=end) for one, end in zip(spaced, ends, strict=True)
    ]
    refused = recorded("refused in the queue", 4, 91 * MS)
    refused = msgspec.structs.replace(refused, decided_ns=135 * MS, answered_ns=135 * MS)
    records = [*stalled, refused, recorded("pass", 5, 300 * MS)]
    fates = ["the station stood still"] * 3 + ["refused in the queue", "pass"]
    assert differences(records, played(records, fates=fates)) == []


def test_a_part_whose_picture_was_lost_is_answered_as_it_was():
    records = [recorded("fail", part, 100 * part * MS) for part in (1, 2, 3)]
    assert differences(records, played(records, lambda row: row != 1)) == []


def test_what_another_package_judged_is_decided_by_its_limits_where_its_picture_is_lost():
    strict = Serving("strict", "2", "b" * 64, "openvino", 1, "int8", 0.05, 0.06)
    records = [recorded("pass", part, 100 * part * MS) for part in (1, 2, 3)]
    failed = POLICY.decide(2, Prediction(0.1), serving=strict)
    records[1] = msgspec.structs.replace(records[1], decision=failed, serving=strict)
    again = played(records, lambda row: row != 1, ["pass"] * 3)
    assert [record.decision.verdict for record in again] == ["pass", "fail", "pass"]
    assert again[1].serving == strict
    assert differences(records, again) == []


def test_parts_are_numbered_anew_when_they_begin_in_the_middle():
    records = [recorded("pass", part, 100 * part * MS) for part in (41, 42)]
    assert [record.part for record in played(records)] == [1, 2]


def test_the_first_difference_of_each_part_is_named():
    was = [recorded("pass", 1, MS), recorded("fail", 2, MS)]
    now = [recorded("fail", 1, MS), recorded("fail", 2, MS)]
    (found,) = differences(was, now)
    assert str(found) == "part 1: verdict was pass, is fail"
    assert [one.field for one in differences(was, now[:1])] == ["verdict", "parts"]
