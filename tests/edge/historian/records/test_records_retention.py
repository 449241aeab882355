"""Retention: whole checkpointed spans go, the chain goes on."""

from __future__ import annotations

import os
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.historian.records.query import count, query
from edge.historian.records.retention import Removed
from edge.historian.records.verify import verify


def test_all_that_is_older_goes(make_line):
    line = make_line("old.db", every=20)
    line.begin()
    line.parts(1, 50)
    line.books.evidence(11, 5, "5.png")
    line.books.evidence(11, 50, "50.png")
    line.books.commit(line.told)
    before = verify(line.path)
    cut_ns = next(row.utc_ns for row in query(line.path, part=30))
    removed = line.books.retain(before_utc_ns=cut_ns, reason="a month is over")
    assert removed.first == 1
    assert removed.evidence == ("5.png",)
    assert 24 <= removed.parts < 30
    left = verify(line.path, head=before.head)
    assert left.problems == ()
    assert (left.removed, left.parts) == (removed.last, 50 - removed.parts)
    assert left.head == before.head
    assert min(row.part for row in query(line.path)) == removed.parts + 1
    assert line.books.retain(before_utc_ns=cut_ns) == Removed()
    line.parts(51, 60)
    line.end(60)
    line.books.commit(line.told)
    assert verify(line.path, head=before.head).problems == ()
    line.books.close()


def test_the_newest_parts_stay(make_line):
    line = make_line("many.db", every=20)
    line.begin()
    line.parts(1, 60)
    removed = line.books.retain(keep_parts=25)
    assert 25 <= count(line.path) == 60 - removed.parts <= 30
    assert verify(line.path).problems == ()
    assert line.books.retain(keep_parts=25) == Removed()
    line.books.close()


def test_the_file_shrinks_to_its_limit(make_line):
    line = make_line("large.db", every=100)
    line.begin()
    for part in range(1, 2000, 500):
        line.parts(part, part + 499)
        line.books.commit(line.told)
    line.reopen()
    before = os.path.getsize(line.path)
    line.begin()
    most = before // 2
    removed = line.books.retain(max_bytes=most)
    line.reopen()
    after = os.path.getsize(line.path)
    assert 0.8 * most < after <= most
    assert 700 < removed.parts < 1300
    assert verify(line.path).problems == ()
    line.books.close()


def test_a_call_ends_soon_and_says_that_there_is_more(make_line):
    line = make_line("bit.db", every=20)
    line.begin()
    line.parts(1, 100)
    whole = line.books.head[0]
    calls, more = 0, True
    while more:
        removed = line.books.retain(keep_parts=0, most_events=50)
        assert removed.events <= 50 + 25
        more = removed.more
        calls += 1
    assert calls > 5
    assert verify(line.path).removed > whole - 25
    line.books.close()


def test_what_is_still_open_and_what_its_session_says_stays(make_line):
    line = make_line("open.db", every=10)
    line.begin(11)
    line.parts(1, 10)
    line.end(10)
    line.begin(12, lot="L7")
    line.parts(1, 5)
    line.lot("L7", "L8", 6)
    line.open(6)
    line.parts(7, 20)
    line.note("confirm", 6, "accept")
    removed = line.books.retain(keep_parts=0)
    assert 10 < removed.parts <= 15
    found = verify(line.path)
    assert (found.problems, found.sessions) == ((), 1)
    line.close(6)
    line.books.retain(keep_parts=0)
    line.reopen()
    line.begin(12, lot="L7")
    line.parts(21, 30)
    line.books.commit()
    assert {row.lot for row in query(line.path)} == {"L8"}
    assert verify(line.path).problems == ()
    line.books.close()


def test_words_on_a_part_that_is_gone_harm_nothing(make_line):
    line = make_line("gone.db", every=10)
    line.begin()
    line.parts(1, 20)
    line.books.retain(keep_parts=3)
    line.note("confirm", 1, "accept")
    line.books.evidence(11, 2, "2.png")
    line.reopen()
    line.begin()
    line.note("done", 2, "ok")
    line.books.commit()
    assert verify(line.path).problems == ()
    line.books.close()


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.sampled_from(["parts", "open", "close", "lost", "end", "retain", "reopen", "note"]),
        min_size=5,
        max_size=25,
    )
)
def test_any_course_of_things_verifies(make_anywhere, steps):
    line = make_anywhere(every=15)
    session, part, still_open = 11, 1, []
    line.begin(session)
    for step in steps:
        match step:
            case "parts":
                line.parts(part, part + 4)
                part += 5
            case "open":
                line.open(part)
                still_open.append(part)
                part += 1
            case "close" if still_open:
                line.close(still_open.pop(0), 0.875)
            case "lost" | "end":
                if step == "end":
                    line.end(part)
                session, still_open = session + 1, []
                line.begin(session)
            case "retain":
                line.books.retain(keep_parts=4)
            case "reopen":
                line.reopen()
                line.begin(session)
            case "note" if part > 1:
                line.note("confirm", part - 1, "accept")
                line.books.evidence(session, part - 1, f"{part}.png")
    line.books.commit(line.told)
    head = line.books.head
    line.books.close()
    found = verify(line.path, head=f"{head[0]}:{head[1]}")
    assert found.problems == ()
    assert found.events == head[0] - found.removed


def test_a_removal_that_the_disk_refuses_changes_nothing(make_line):
    line = make_line("refused.db", every=20)
    line.begin()
    line.parts(1, 40)
    line.books.commit(line.told)
    other = sqlite3.connect(line.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    line.books._connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(Exception, match="another program"):
        line.books.retain(keep_parts=0)
    other.execute("ROLLBACK")
    other.close()
    assert verify(line.path).removed == 0
    line.books.retain(keep_parts=0)
    assert verify(line.path).problems == ()
    line.books.close()
