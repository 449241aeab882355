"""What the station tells, as events and rows."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from itertools import pairwise

import msgspec
import pytest

from edge import stats
from edge.core.errors import RecordsError
from edge.core.history import Closed
from edge.core.types import Fault
from edge.historian.records import bodies, books, rows
from edge.historian.records.query import query, show
from edge.historian.records.rows import PartRow
from edge.historian.records.verify import verify


def sql(path, text, *values):
    connection = sqlite3.connect(path)
    found = connection.execute(text, values).fetchall()
    connection.close()
    return found


def kinds(path, session=11):
    return [kind for (kind,) in sql(path, "SELECT kind FROM events WHERE session = ?", session)]


def test_a_part_is_four_events_and_a_row(line):
    line.begin()
    line.open(1, "defect", "scratch")
    line.close(1, 0.875, picture="kept")
    line.books.commit()
    assert kinds(line.path) == ["session", "trigger", "decision", "command", "ack"]
    (row,) = query(line.path)
    told = {
        "session": 11,
        "part": 1,
        "number": 1001,
        "encoder": 40,
        "lot": "L1",
        "package": "connector",
        "pass_below": 0.4,
        "verdict": "fail",
        "action": "reject",
        "cause": "verdict",
        "fault": None,
        "score": 0.875,
        "truth": "defect",
        "defect_type": "scratch",
        "command_id": 3,
        "applied": "reject",
        "latency_ms": 13.0,
        "session_ms": 3.0,
        "overrun": 0,
        "picture": "kept",
        "done": None,
        "confirmed": None,
        "evidence": None,
        "footage": None,
        "event": 6,  # of the ack; the first event is the key's
    }
    assert {name: getattr(row, name) for name in told} == told
    assert row.utc_ns - row.trigger_ns == 1_763_791_200_000_000_000 - 5_000_000_000
    assert [region["x"] for region in msgspec.json.decode(row.regions)] == [1, 5]


def test_a_default_has_a_fault_and_neither_verdict_nor_latency(line):
    line.begin()
    line.open(1)
    line.close(1, fault=Fault.NO_IMAGE)
    line.books.commit()
    assert kinds(line.path) == ["session", "trigger", "decision", "command"]
    (row,) = query(line.path)
    found = (row.verdict, row.fault, row.cause, row.action, row.overrun, row.late_score)
    assert found == (None, "no_image", "fault", "reject", 1, 0.75)
    assert (row.latency_ms, row.session_ms, row.acked_ns, row.applied) == (None, None, 0, None)


def test_overrun_and_spans_are_as_the_statistics_have_them(line):
    line.begin()
    found = []
    for part, score, fault, late in (
        (1, 0.125, None, 0),
        (2, 0.875, None, 60),  # received after act_by
        (3, 0.5, Fault.DEADLINE, 0),
        (4, 0.25, None, -13),  # never received
    ):
        line.open(part)
        line.close(part, score, fault)
        line.open(part + 10)
        record = line.record(part + 10, score, fault)
        received_ns = record.received_ns + late * 1_000_000 if late != -13 else 0
        record = msgspec.structs.replace(record, received_ns=received_ns)
        line.tell(Closed(record), record.decided_ns)
        found.append(record)
    line.books.commit()
    by_part = {row.part: row for row in query(line.path)}
    for record in found:
        row = by_part[record.part]
        assert row.overrun == stats.is_overrun(record)
        assert row.latency_ms == (spans[0] if (spans := stats.spans(record)) else None)
        assert (row.session_ms or 0) == stats.session_ms(record)


def test_columns_of_the_table_are_the_fields_of_a_row(line):
    found = [name for _, name, *_ in sql(line.path, "PRAGMA table_info(parts)")]
    assert tuple(found) == PartRow.__struct_fields__ == rows.COLUMNS


def test_an_auditor_follows_the_chain_with_the_documented_bytes(line):
    line.begin()
    line.parts(1, 20)
    line.books.commit()
    previous, expected = bytes(32), 1
    for *numbers, kind, body, found in sql(
        line.path, "SELECT event, session, part, at_ns, utc_ns, kind, body, hash FROM events"
    ):
        head = struct.pack(">5qI", *numbers, len(kind.encode()))
        previous = hashlib.sha256(previous + head + kind.encode() + body.encode()).digest()
        assert (numbers[0], found) == (expected, previous)
        expected += 1
    assert verify(line.path).head == previous.hex() == line.books.head[1]


def test_bodies_are_canonical_json(eventful):
    for (body,) in sql(eventful, "SELECT body FROM events"):
        again = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
        assert again.decode() == body


def test_a_session_that_ended_says_so_and_is_signed(line):
    line.begin()
    line.parts(1, 3)
    line.end(3)
    signed = line.books.commit(line.told)
    assert signed
    assert (signed.event, signed.hash) == line.books.head
    assert kinds(line.path)[-2:] == ["end", "checkpoint"]
    ((closed, outcome),) = sql(line.path, "SELECT closed, outcome FROM sessions")
    assert (closed, outcome) == (signed.event - 1, "ended")
    assert line.books.checkpoint() == signed  # nothing came since
    line.begin(12)
    assert kinds(line.path, 12) == ["session"]
    assert verify(line.path).problems == ()


def test_open_parts_of_a_lost_station_are_lost(line):
    line.begin()
    line.parts(1, 2)
    line.open(3, "defect", "dent")
    line.open(4)
    line.note("confirm", 4, "reject")  # before its decision, which never came
    line.books.commit(line.told)
    line.reopen()
    assert line.begin(12) == 0
    assert kinds(line.path)[-3:] == ["lost", "lost", "lost"]
    lost = [row for row in query(line.path) if row.cause == "lost"]
    assert [(row.part, row.truth, row.defect_type) for row in lost] == [
        (3, "defect", "dent"),
        (4, "good", ""),
    ]
    assert {(row.verdict, row.action, row.overrun, row.lot) for row in lost} == {
        (None, "", 1, "L1")
    }
    assert lost[1].confirmed == "reject"
    assert sql(line.path, "SELECT outcome FROM sessions WHERE session = 11") == [("lost",)]
    assert verify(line.path).problems == ()


def test_parts_open_at_the_end_are_lost(line):
    line.begin()
    line.open(1)
    line.end(1)
    line.books.commit()
    (row,) = query(line.path)
    assert row.cause == "lost"
    assert verify(line.path).problems == ()


def test_the_next_historian_goes_on_where_the_last_one_committed(line):
    line.begin()
    line.parts(1, 3)
    line.lot("L1", "L2", 4)
    line.open(4, "defect", "dent")
    line.note("done", 4, "failed")
    line.books.commit(line.told)
    line.reopen()
    assert line.begin() == line.told == 9
    assert kinds(line.path).count("session") == 1
    line.close(4, 0.875)
    line.open(5)
    line.close(5)
    line.end(5)
    line.books.commit(line.told)
    *_, four, five = query(line.path)
    assert (four.part, four.truth, four.lot, four.done) == (4, "defect", "L2", 0)
    assert (five.part, five.lot) == (5, "L2")
    line.reopen()
    assert line.begin() == line.told
    line.open(6)  # after its end: kept, and no part
    line.books.commit(line.told)
    assert kinds(line.path)[-1] == "stray"
    assert verify(line.path).problems == ()


def test_what_changed_since_the_session_before_is_on_record(line):
    line.begin()
    line.begin(12, station="another")
    line.begin(
        13,
        pass_below=0.25,
        settings={"budget_ms": "60", "policy.default": "reject", "new": "1"},
        who="ann (1001)",
        versions={"numpy": "2.3"},
    )
    found = [
        msgspec.json.decode(body)
        for (body,) in sql(line.path, "SELECT body FROM events WHERE kind = 'change'")
    ]
    changed = {(one["what"], one["old"], one["new"]) for one in found}
    assert changed == {
        ("pass_below", "0.4", "0.25"),
        ("budget_ms", "50", "60"),
        ("new", "", "1"),
        ("versions.numpy", "", "2.3"),
    }
    assert {one["who"] for one in found} == {"ann (1001)"}
    assert kinds(line.path, 12) == ["session", "lost"]  # of another station: nothing to compare


WORDS = {  # kind and detail of a note -> done, confirmed
    ("done", "ok"): (1, None),
    ("done", "failed"): (0, None),
    ("confirm", "accept"): (None, "accept"),
    ("confirm", "failed"): (None, None),  # not seen at all
    ("other", "ok"): (None, None),
}


@pytest.mark.parametrize("early", [True, False], ids=["before its closing", "after it"])
@pytest.mark.parametrize("note", WORDS)
def test_the_first_word_on_a_part_is_in_its_row(line, note, early):
    kind, detail = note
    line.begin()
    line.open(1)
    if not early:
        line.close(1)
        line.books.commit()
    line.note(kind, 1, detail)
    line.note(kind, 1, {"ok": "failed", "accept": "reject"}.get(detail, detail))
    if early:
        line.close(1)
    line.books.commit()
    (row,) = query(line.path)
    assert (row.done, row.confirmed) == WORDS[note]
    assert verify(line.path).problems == ()


def test_evidence_is_an_event_and_in_the_row_also_of_an_earlier_session(line):
    line.begin()
    line.parts(1, 2)
    line.books.evidence(11, 1, "1.png")
    line.begin(12)
    line.books.evidence(11, 2, "2.png")
    line.books.evidence(11, 2, "again.png")
    line.books.commit()
    assert [row.evidence for row in query(line.path)] == ["1.png", "2.png"]
    assert verify(line.path).problems == ()


def test_a_message_that_fits_no_open_part_is_kept_as_it_was_told(line):
    line.begin()
    line.open(1)
    line.open(1)
    line.close(1)
    line.close(1)
    line.open(1)
    line.close(2)  # its trigger was given up by a full station
    line.open(4)
    line.note("done", 3, "ok")  # of a part that nobody told of yet
    line.close(3)
    line.close(4)
    line.books.commit()
    assert kinds(line.path).count("stray") == 3
    assert [(row.part, row.number, row.done) for row in query(line.path)] == [
        (1, 1001, None),
        (2, 1002, None),
        (3, 1003, None),
        (4, 1004, None),
    ]
    assert verify(line.path).problems == ()


@pytest.mark.parametrize("kind", sorted(bodies.OURS))
def test_a_note_cannot_pass_for_an_event_of_ours(line, kind):
    line.begin()
    line.open(1)
    line.note(kind, 1, "{}")
    line.close(1)
    line.books.commit()
    assert f"noted.{kind}" in kinds(line.path)
    assert verify(line.path).problems == ()


def test_numbers_that_json_lacks_are_none(line):
    line.begin()
    line.open(1)
    record = msgspec.structs.replace(line.record(1, 0.875), late_score=float("nan"))
    odd = msgspec.structs.replace(record.decision.regions[0], peak=float("inf"))
    decision = msgspec.structs.replace(
        record.decision, score=float("inf"), regions=(odd,), detail='NUL \0, "quotes", ж'
    )
    line.tell(Closed(msgspec.structs.replace(record, decision=decision)), record.decided_ns)
    line.books.commit()
    (row,) = query(line.path)
    assert (row.score, row.late_score, row.detail) == (None, None, 'NUL \0, "quotes", ж')
    assert verify(line.path).problems == ()


def test_a_checkpoint_comes_after_so_many_events(make_line):
    line = make_line("often.db", every=10)
    line.begin()
    line.parts(1, 10)
    signed = line.books.commit()
    found = [event for (event,) in sql(line.path, "SELECT event FROM checkpoints")]
    assert len(found) == 3
    assert all(9 < after - before < 16 for before, after in pairwise(found))
    assert signed
    assert signed.event == found[-1]
    assert line.books.commit() is None
    line.books.close()


def test_nothing_is_told_before_a_session(line):
    with pytest.raises(RecordsError, match="no session has begun"):
        line.open(1)
    with pytest.raises(RecordsError, match="no session has begun"):
        line.books.checkpoint()


def test_what_waits_for_the_disk_is_bounded(line, monkeypatch):
    monkeypatch.setattr(books, "MOST_WAITING", 20)
    line.begin()
    line.parts(1, 5)
    assert line.books.full
    with pytest.raises(RecordsError, match="20 events wait for the disk"):
        line.open(6)
    line.books.commit()
    assert not line.books.full
    line.open(6)


def test_everything_told_of_one_part_is_shown(line):
    line.begin()
    line.parts(1, 2)
    line.note("late_answer", 2, "came after decide_by")
    line.begin(12)
    line.open(2)
    line.books.commit()
    found = show(line.path, 2)
    assert found.row is None
    assert found.session
    assert (found.session.session, [one.kind for one in found.events]) == (12, ["trigger"])
    found = show(line.path, 2, 11)
    assert found.row
    assert found.row.part == 2
    told = ["trigger", "decision", "command", "ack", "late_answer"]
    assert [one.kind for one in found.events] == told
    with pytest.raises(RecordsError, match="part 3: not in these records"):
        show(line.path, 3)
