"""Asking, exporting, and instants as people write them."""

from __future__ import annotations

import csv
import importlib.util
import io
import sqlite3

import pytest

from edge.core.errors import EdgeError, RecordsError
from edge.core.types import Fault
from edge.historian.records import rows
from edge.historian.records.export import to_csv, to_parquet
from edge.historian.records.query import _where, count, query, sessions, show, unknown
from edge.historian.records.rows import COLUMNS
from edge.historian.records.when import parse_when, utc_text

NOON_NS = 1_763_812_800_000_000_000  # 2025-11-22 12:00 UTC
START_NS = 1_763_791_200_000_000_000  # when the line of conftest begins
PART_NS = 50_000_000


@pytest.fixture
def told(line):
    line.begin(11)
    line.parts(1, 10)
    line.open(11)
    line.close(11, fault=Fault.NO_IMAGE)
    line.begin(12, lot="=L2")
    line.parts(1, 5)
    line.open(6)
    line.begin(13, lot="")
    line.parts(20, 21)
    line.books.commit()
    return line.path


ASKED = {
    "everything": ({}, 19),
    "passed": ({"verdict": "pass"}, 13),
    "failed": ({"verdict": "fail"}, 4),
    "without a verdict": ({"verdict": "none"}, 2),
    "a fault": ({"type": "no_image"}, 1),
    "a defect": ({"type": "scratch"}, 4),
    "a lot": ({"lot": "=L2"}, 6),
    "a part of any session": ({"part": 5}, 2),
    "from an instant on": ({"since_ns": START_NS + 10 * PART_NS}, 4),
    "before an instant": ({"until_ns": START_NS + 2 * PART_NS}, 2),
    "all of it": (
        {"verdict": "fail", "type": "scratch", "lot": "L1", "since_ns": 0, "until_ns": NOON_NS},
        2,
    ),
    "nothing": ({"lot": "L9"}, 0),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_parts_that_are_asked_for_come_by_time(told, name):
    asked, expected = ASKED[name]
    found = list(query(told, **asked))
    assert len(found) == count(told, **asked) == expected
    assert [row.utc_ns for row in found] == sorted(row.utc_ns for row in found)
    assert list(query(told, limit=2, **asked)) == found[:2]


def test_questions_are_answered_from_an_index(told):
    """So that a million parts are no trouble; the whole table is read only for all parts."""
    connection = sqlite3.connect(told)
    for asked, _ in ASKED.values():
        where, values = _where(asked)
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {rows.SELECT}{where} ORDER BY utc_ns, event", values
        ).fetchall()
        read = [line for *_, line in plan if line.startswith(("SCAN", "SEARCH"))]
        assert read, asked
        assert all("USING INDEX" in line for line in read), (asked, plan)
    connection.close()


def test_a_part_without_a_label_is_found_by_what_its_worst_region_was_taken_for(line):
    line.begin(11)
    for part, truth in ((1, ""), (2, "good"), (3, "defect")):
        line.open(part, truth, "short" if truth == "defect" else "")
        line.close(part, score=0.75, types=("spur", "short"))
    line.books.commit()
    assert [row.part for row in query(line.path, type="spur")] == [1]
    assert [row.part for row in query(line.path, type="short")] == [3]
    assert unknown(line.path, type="spur") == []
    (told,) = unknown(line.path, type="open")
    assert told.endswith("there are: short, spur")


@pytest.mark.parametrize("asked", [{"verdict": "good"}, {"limit": -1}])
def test_what_cannot_be_asked_is_said(told, asked):
    with pytest.raises(RecordsError, match="allowed: "):
        list(query(told, **asked))


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ({"lot": "L1", "type": "scratch"}, []),
        ({"type": "no_image", "since_ns": NOON_NS + 1}, []),  # occurs, though not then
        ({"lot": "L9"}, ["lot 'L9': no part on record has it; there are: =L2, L1"]),
        ({"type": "scrtch"}, ["type 'scrtch': no part on record has it; there are: no_image, "]),
        ({"package": "plugg"}, ["package 'plugg': no part on record has it; there are: "]),
    ],
)
def test_what_no_part_has_is_said_with_what_there_is(told, asked, lines):
    found = unknown(told, **asked)
    assert len(found) == len(lines)
    assert all(one.startswith(line) for one, line in zip(found, lines, strict=True))


@pytest.mark.parametrize(
    ("part", "session", "words"),
    [
        (4711, None, "part 4711: not in these records; they have parts 1 to 21"),
        (4711, 11, "part 4711: not in these records; they have parts 1 to 21"),
        (3, 13, "part 3: not in session 13; sessions that have it: 12, 11"),
    ],
)
def test_a_part_that_is_not_there_is_told_where_it_is(told, part, session, words):
    with pytest.raises(RecordsError, match=f"{words}$"):
        show(told, part, session)


def test_sessions_come_as_they_were_told(told):
    assert [one.session for one in sessions(told)] == [11, 12, 13]
    assert sessions(told)[1].lot == "=L2"


def test_csv_has_every_column_and_no_formulas(told):
    text = io.StringIO()
    assert to_csv(query(told), text) == 19
    header, *lines = csv.reader(io.StringIO(text.getvalue()))
    assert tuple(header) == ("utc", *COLUMNS)
    assert len(lines) == 19
    by_name = [dict(zip(header, line, strict=True)) for line in lines]
    assert by_name[0]["utc"] == "2025-11-22T06:00:00.050000Z"
    assert {line["lot"] for line in by_name} == {"L1", "'=L2", ""}
    assert by_name[0]["score"] == "0.125"


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is here")
def test_parquet_without_its_library_names_the_extra(told, tmp_path):
    with pytest.raises(
        EdgeError, match=r"pip install --require-hashes -r requirements/archive.txt"
    ):
        to_parquet(query(told), tmp_path / "parts.parquet")
    assert not (tmp_path / "parts.parquet").exists()


def test_parquet_gives_every_row_back(told, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra archive is not installed")
    path = tmp_path / "parts.parquet"
    assert to_parquet(query(told), path) == 19
    table = parquet.read_table(path).to_pydict()
    for at, row in enumerate(query(told)):
        assert {name: table[name][at] for name in COLUMNS} == {
            name: getattr(row, name) for name in COLUMNS
        }
    assert to_parquet(query(told, lot="L9"), path) == 0
    assert sorted(one.name for one in tmp_path.iterdir() if "parquet" in one.name) == [path.name]
    with pytest.raises(RecordsError, match="cannot be written"):
        to_parquet(query(told), tmp_path / "absent" / "parts.parquet")


WHEN = {
    "2025-11-22": NOON_NS - 12 * 3600 * 10**9,
    "2025-11-22T12:00": NOON_NS,
    "2025-11-22 12:00:00": NOON_NS,
    "2025-11-22T12:00:00.25Z": NOON_NS + 250_000_000,
    "2025-11-22T13:30+01:30": NOON_NS,
    "2h": NOON_NS - 7200 * 10**9,
    "3d": NOON_NS - 3 * 86_400 * 10**9,
    " 1.5m ": NOON_NS - 90 * 10**9,
    "90s": NOON_NS - 90 * 10**9,
    "1w": NOON_NS - 7 * 86_400 * 10**9,
    "1970-01-01": 0,
}


@pytest.mark.parametrize("text", WHEN)
def test_an_instant_as_a_person_writes_it(text):
    assert parse_when(text, NOON_NS) == WHEN[text]


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2025", "2025-02-31", "2h30m", "-2h", "25:00", "2025-11-22T25:00", "٣d"],
)
def test_what_is_no_instant_is_refused(text):
    with pytest.raises(RecordsError, match="allowed: 2026-11-22"):
        parse_when(text, NOON_NS)


def test_an_instant_is_written_so_that_it_can_be_read():
    assert utc_text(NOON_NS + 1_999) == "2025-11-22T12:00:00.000001Z"
    assert parse_when(utc_text(NOON_NS), 0) == NOON_NS
