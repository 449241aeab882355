"""What is read out of records and the controller's log, and how parts are counted into bins."""

from __future__ import annotations

import msgspec
import pytest

from edge.core.types import Action, Cause, Deadline, Decision, Fault, PartRecord, Stamps, Verdict
from edge.sim.drive import read_arm_log
from edge.sim.measure import alone, completed, measured_of, overheads_of, was_late
from edge.sim.physics import Outcome
from edge.sim.result import bins_of
from edge.sim.waiting import Measured, Overhead

MS = 1_000_000
A, R = Action.ACCEPT, Action.REJECT


def record(part, trigger_ms, *, session_ms=5.0, received_ms=8.0, fault=None):
    """One part of a station with 45 ms to decide; received_ms counts from its trigger."""
    at = round(trigger_ms * MS)
    received = at + round(received_ms * MS)
    timed = fault is None
    return PartRecord(
        part=part,
        number=part,
        deadline=Deadline(at, at + 45 * MS, at + 50 * MS),
        decision=Decision(part, A, Cause.VERDICT, Verdict.PASS)
        if timed
        else Decision(part, R, Cause.FAULT, None, fault),
        stamps=Stamps(at, at + MS, at + MS + round(session_ms * MS)) if timed else Stamps(),
        decided_ns=received - MS // 4,
        received_ns=received,
    )


def test_overheads_are_those_of_the_parts_that_waited_for_nobody():
    records = [
        record(1, 100),
        record(2, 105, received_ms=14),  # behind the first
        record(3, 150, received_ms=7),
        record(4, 200, fault=Fault.BAD_FRAME),
    ]
    assert alone(records) == [True, False, True, True]
    quarter = MS // 4
    assert overheads_of(records) == [Overhead(3 * MS, quarter), Overhead(2 * MS, quarter)]
    assert overheads_of(records[1:2]) == [Overhead(9 * MS, quarter)]  # nobody is before it
    assert overheads_of(records[3:]) == []


def test_overheads_of_a_queue_without_end_are_better_than_none():
    records = [record(1, 100, fault=Fault.STALL), record(2, 101, received_ms=10)]
    assert overheads_of(records) == [Overhead(5 * MS, MS // 4)]


def test_parts_that_were_not_timed_are_filled_in_from_another_run():
    overhead = [Overhead(2 * MS, MS)]
    records = [
        record(1, 100),
        record(2, 200, fault=Fault.DEADLINE, received_ms=46),  # alone: it took 45 ms at least
        record(3, 230, fault=Fault.DEADLINE, received_ms=46),  # behind the second
        record(4, 300, fault=Fault.NOT_ADMITTED, received_ms=1),
        record(5, 400, fault=Fault.BAD_FRAME, received_ms=1),
    ]
    first = measured_of(records, dict.fromkeys(range(1, 6), R), overhead)
    again = [Measured(n, A, 4 * MS, overhead[0]) for n in range(1, 6)]
    found = completed(records, first, again)
    assert [one.session_ns / MS for one in found] == [5, 43, 4, 4, 0]
    assert [one.action for one in found] == [R, A, A, A, R]
    assert [was_late(one) for one in records] == [False, True, True, True, False]
    assert was_late(record(6, 500, received_ms=50.001))


def test_a_part_that_no_command_reached_has_no_action():
    assert measured_of([record(1, 100)], {}, []) == [Measured(1, None, 5 * MS, Overhead(0, 0))]


def test_the_controllers_log_gives_the_first_action_of_each_part(tmp_path):
    entries = [
        {"event": "session", "session": 1},
        {"event": "applied", "part": 1, "action": "accept", "cause": "command", "applied_ns": 5},
        {"event": "applied", "part": 2, "action": "reject", "cause": "silence", "applied_ns": 9},
        {"event": "applied", "part": 1, "action": "reject", "cause": "command", "applied_ns": 7},
        {"event": "line_stop", "session": 1, "at_ns": 11},
        {"event": "line_stop", "session": 1, "at_ns": 19},
    ]
    path = tmp_path / "arm.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    applied, stopped_ns = read_arm_log(path)
    assert {part: (one.action, one.applied_ns) for part, one in applied.items()} == {
        1: (A, 5),
        2: (R, 9),
    }
    assert stopped_ns == 11


def end(part, where, *, as_sent=True, late=False):
    return Outcome(part, where, as_sent, late, 0)


ENDS = [
    end(1, "good"),  # good
    end(2, "reject"),  # defect
    end(3, "good"),  # defect: the model's escape
    end(4, "good", as_sent=False),  # defect: the machine's
    end(5, "reject", as_sent=False, late=True),  # good: came too late
    end(6, "reject"),  # good: the model's overkill
    end(7, "good"),  # nobody knows
    end(8, "stopped", as_sent=False),  # defect
]
TRUTH = {1: "good", 2: "defect", 3: "defect", 4: "defect", 5: "good", 6: "good", 8: "defect"}


def test_each_part_is_counted_into_one_bin_and_against_its_truth():
    found = bins_of(ENDS, TRUTH.get)
    assert (found.parts, found.good_bin, found.reject_bin, found.stopped) == (8, 4, 3, 1)
    assert (found.good, found.defect) == (3, 4)
    assert (found.physical_escapes, found.escapes_by_machine) == (2, 1)
    assert (found.physical_overkill, found.overkill_by_machine) == (2, 1)
    assert (found.late_at_gate, found.misrouted) == (1, 2)


@pytest.mark.parametrize("ends", [ENDS, []])
def test_without_truth_there_are_parts_only(ends):
    found = bins_of(ends, {}.get)
    assert found.parts == len(ends)
    assert (found.good, found.physical_escapes, found.overkill_by_machine) == (None, None, None)
    assert found.misrouted == (2 if ends else 0)
