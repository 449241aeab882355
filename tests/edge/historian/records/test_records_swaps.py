"""Packages and providers that change while a station runs: each part says what judged it."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest
from typer.testing import CliRunner

from edge.commands.records import records_app
from edge.core.history import Changed, Closed, served, swapped
from edge.core.types import Fault, Serving
from edge.historian.records import rows
from edge.historian.records.handover import hand_over
from edge.historian.records.query import _where, count, query, sessions, show
from edge.historian.records.verify import verify

OWN = Serving("connector", "", "3f" * 32, "cpu", 1, "int8", 0.4, 0.6)
FALLBACK = msgspec.structs.replace(OWN, provider="openvino", threads=2)
NEXT = Serving("connector", "2", "a1" * 32, "cpu", 1, "int8", 0.3, 0.5)
OTHER = Serving("plug", "1", "b2" * 32, "openvino", 4, "fp32", 0.1, 0.2, 0.7, ("short", "open"))


def tell(line, part: int, serving: Serving | None, score: float = 0.125) -> None:
    line.open(part)
    record = msgspec.structs.replace(line.record(part, score), serving=serving)
    line.tell(Closed(record), record.acked_ns)


def bodies(path, kind: str) -> list[dict]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT body FROM events WHERE kind = ? ORDER BY event", (kind,))
    told = [msgspec.json.decode(body) for (body,) in found]
    connection.close()
    return told


def judge(row) -> tuple:
    return row.package, row.content_sha256, row.provider, row.pass_below, row.fail_from


@pytest.fixture
def swaps(line):
    """A session whose provider gave up after two parts, and whose package was swapped later."""
    line.begin(11)
    for part, serving in enumerate((None, OWN, FALLBACK, NEXT, OTHER, NEXT), start=1):
        tell(line, part, serving)
    line.books.commit()
    return line


CASES = {
    "nobody said": (None, None),
    "as it began": (OWN, None),
    "another provider": (FALLBACK, {"provider": "openvino", "threads": 2}),
    "another package of this name": (
        NEXT,
        {"content_sha256": "a1" * 32, "version": "2", "pass_below": 0.3, "fail_from": 0.5},
    ),
    "all of it": (OTHER, msgspec.json.decode(msgspec.json.encode(OTHER))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_decision_says_no_more_than_differs(line, name):
    serving, told = CASES[name]
    line.begin(11)
    tell(line, 1, serving)
    line.books.commit()
    (body,) = bodies(line.path, "decision")
    assert body.get("served") == told
    (row,) = query(line.path)
    expected = serving or OWN
    assert judge(row) == judge(expected)
    assert show(line.path, 1).serving == expected
    assert verify(line.path).problems == ()


def test_the_difference_and_the_session_are_the_serving_again(line):
    line.begin(11)
    (session,) = sessions(line.path)
    for serving in (OWN, FALLBACK, NEXT, OTHER):
        assert served(swapped(serving, session), session) == serving
    versioned = msgspec.structs.replace(session, version="1")
    assert served(None, versioned).version == "1"
    assert served(swapped(FALLBACK, versioned), versioned).version == "1"
    assert served(swapped(NEXT, versioned), versioned) == NEXT


def test_rows_name_what_judged_and_verify(swaps):
    rows = list(query(swaps.path))
    expected = (OWN, OWN, FALLBACK, NEXT, OTHER, NEXT)
    assert [judge(row) for row in rows] == [judge(one) for one in expected]
    found = verify(swaps.path)
    assert (found.problems, found.parts) == ((), 6)


@pytest.mark.parametrize(
    "alter",
    [
        "UPDATE parts SET provider = 'cpu' WHERE part = 3",
        "UPDATE parts SET content_sha256 = replace(content_sha256, 'a1', '3f') WHERE part = 4",
        "UPDATE parts SET pass_below = 0.4 WHERE part = 4",
        "UPDATE events SET body = replace(body, 'openvino', 'cpu') WHERE part = 3",
    ],
)
def test_who_judged_cannot_be_altered(swaps, tmp_path, alter):
    copy = tmp_path / "copy.db"
    connection, source = sqlite3.connect(copy), sqlite3.connect(swaps.path)
    source.backup(connection)
    source.close()
    assert verify(copy).problems == ()
    connection.execute(alter)
    connection.commit()
    connection.close()
    assert verify(copy).problems


@pytest.mark.parametrize("killed", [False, True])
def test_a_part_left_open_names_what_served_last(swaps, killed):
    swaps.open(7)
    swaps.books.commit()
    if killed:  # another process goes on
        swaps.reopen()
    swaps.begin(12)
    swaps.books.commit()
    (row,) = query(swaps.path, part=7)
    assert (row.cause, judge(row)) == ("lost", judge(NEXT))
    assert verify(swaps.path).problems == ()


def test_the_next_session_is_compared_with_what_served_last(swaps):
    swaps.end(6)
    swaps.begin(12)
    swaps.books.commit()
    told = {(one["what"], one["old"], one["new"]) for one in bodies(swaps.path, "change")}
    assert told == {
        ("content_sha256", "a1" * 32, "3f" * 32),
        ("pass_below", "0.3", "0.4"),
        ("fail_from", "0.5", "0.6"),
    }


def test_a_session_that_begins_with_what_served_last_changes_nothing(swaps):
    swaps.end(6)
    swaps.begin(12, content_sha256="a1" * 32, version="2", pass_below=0.3, fail_from=0.5)
    swaps.books.commit()
    assert bodies(swaps.path, "change") == []


def test_a_historian_that_goes_on_knows_what_served_last(swaps):
    swaps.reopen()
    swaps.begin(11)
    swaps.open(7)
    swaps.end(7)
    swaps.books.commit()
    (row,) = query(swaps.path, part=7)
    assert judge(row) == judge(NEXT)
    assert verify(swaps.path).problems == ()


def test_retention_leaves_rows_that_verify(make_line):
    line = make_line("kept.db", every=10)
    line.begin(11)
    for part in range(1, 31):
        tell(line, part, (OWN, FALLBACK, OTHER)[part // 11])
    removed = line.books.retain(keep_parts=5, reason="a test")
    line.open(31)
    line.begin(12)
    line.books.commit()
    assert removed.parts > 15
    assert verify(line.path).problems == ()
    assert {judge(row) for row in query(line.path)} == {judge(OTHER)}
    line.books.close()


PACKAGES = {
    "connector": 5,
    "plug": 1,
    "a1" * 32: 2,
    "A1A1A1A1": 2,
    "3f3f3f3f3f3f": 3,
    "3f3f": 0,  # too short for a digest, and no name
    "conn": 0,
    "b2' OR '1'='1": 0,
}


@pytest.mark.parametrize("package", PACKAGES)
def test_parts_are_asked_for_by_package(swaps, tmp_path, package):
    found = list(query(swaps.path, package=package))
    assert len(found) == count(swaps.path, package=package) == PACKAGES[package]
    written = hand_over(swaps.path, tmp_path / "out", package=package)
    assert written.parts == PACKAGES[package]


def test_an_index_still_serves_the_time(swaps):
    """So that a package of a shift is looked for in that shift."""
    where, values = _where({"package": "plug", "since_ns": 1})
    connection = sqlite3.connect(swaps.path)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {rows.SELECT}{where}", values).fetchall()
    connection.close()
    assert "parts_by_time" in plan[0][-1]


def ask(*words: object) -> str:
    done = CliRunner().invoke(records_app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_table_says_where_the_judge_changes(swaps):
    lines = ask("query", swaps.path).splitlines()
    assert [line for line in lines if line.startswith("--")] == [
        f"-- judged by connector ({'3f' * 6}) on openvino; before by connector ({'3f' * 6}) on cpu",
        f"-- judged by connector ({'a1' * 6}) on cpu; before by connector ({'3f' * 6}) on openvino",
        f"-- judged by plug ({'b2' * 6}) on openvino; before by connector ({'a1' * 6}) on cpu",
        f"-- judged by connector ({'a1' * 6}) on cpu; before by plug ({'b2' * 6}) on openvino",
    ]
    assert lines[-1] == "6 parts"
    assert ask("query", swaps.path, "--package", "plug").splitlines()[-1] == "1 parts"
    assert "served by        plug 1 (b2b2b2b2b2b2) on openvino, 4 threads, fp32" in ask(
        "show", swaps.path, 5
    )


def test_a_swap_is_an_event_with_old_and_new(line):
    line.begin(11)
    told = Changed("provider", "station", "openvino", "cpu", "3 answers too late", line.told)
    line.tell(told, 5_000_000_000)
    line.books.commit()
    assert bodies(line.path, "change") == [
        {
            "what": "provider",
            "who": "station",
            "old": "openvino",
            "new": "cpu",
            "reason": "3 answers too late",
        }
    ]


def test_a_part_that_defaulted_names_what_would_have_judged_it(line):
    line.begin(11)
    line.open(1)
    record = msgspec.structs.replace(line.record(1, None, Fault.ENGINE_DOWN), serving=FALLBACK)
    line.tell(Closed(record), record.decided_ns)
    line.books.commit()
    (row,) = query(line.path)
    assert (row.fault, judge(row)) == ("engine_down", judge(FALLBACK))
