"""Parts as fixed rows on disk: what was recorded is what is read, whole rows only."""

from __future__ import annotations

import tracemalloc

from bench.latency import columns
from bench.latency.columns import BUFFERED, FAULTS, Follower, Writer
from edge.core.types import Action, Cause, Deadline, Decision, Fault, PartRecord, Stamps, Verdict

MS = 1_000_000


def record(part: int, fault: Fault | None = None, *, received_ms: int = 12) -> PartRecord:
    trigger = part * 50 * MS
    decision = Decision(
        part,
        Action.REJECT if fault else Action.ACCEPT,
        Cause.FAULT if fault else Cause.VERDICT,
        None if fault else Verdict.PASS,
        fault,
    )
    at = [trigger + n * MS for n in range(12)]
    return PartRecord(
        part,
        part,
        Deadline(trigger, trigger + 45 * MS, trigger + 50 * MS),
        decision,
        frame_ns=at[1],
        stamps=Stamps(at[2], at[3], at[6], at[7]),
        answered_ns=at[8],
        decided_ns=at[9],
        sent_ns=at[10],
        command_id=part,
        received_ns=trigger + received_ms * MS if received_ms else 0,
        acked_ns=trigger + 13 * MS,
    )


def test_rows_come_back_as_they_were_recorded(tmp_path):
    writer = Writer(tmp_path / "parts.bin")
    writer.part(record(1))
    writer.part(record(2, Fault.DEADLINE))
    writer.part(record(3, received_ms=60))
    writer.close()
    rows = columns.read(tmp_path / "parts.bin")
    assert rows["part"].tolist() == [1, 2, 3]
    assert rows["verdict"].tolist() == [1, 0, 1]
    assert rows["miss"].tolist() == [0, 1, 0]
    assert rows["overrun"].tolist() == [0, 1, 1]
    assert FAULTS[rows["fault"][1] - 1] is Fault.DEADLINE
    assert columns.latency_ms(rows).tolist() == [12.0, 12.0, 60.0]
    assert rows["started_ns"][0] == 53 * MS


def test_a_follower_gets_each_row_once_and_no_torn_one(tmp_path):
    path = tmp_path / "parts.bin"
    writer, follower = Writer(path), Follower(path)
    assert len(follower.new()) == 0
    writer.part(record(1))
    assert len(follower.new()) == 0  # not written yet
    writer.flush()
    assert follower.new()["part"].tolist() == [1]
    writer.part(record(2))
    writer.close()
    path.write_bytes(path.read_bytes() + b"torn")
    assert follower.new()["part"].tolist() == [2]
    assert columns.read(path)["part"].tolist() == [1, 2]


def test_a_recorder_of_any_number_of_parts_keeps_nothing(tmp_path):
    writer, one = Writer(tmp_path / "parts.bin"), record(1)
    for _ in range(BUFFERED + 1):
        writer.part(one)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2 * BUFFERED):
        writer.part(one)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    writer.close()
    assert kept < 1000
    assert len(columns.read(tmp_path / "parts.bin")) == 3 * BUFFERED + 1
