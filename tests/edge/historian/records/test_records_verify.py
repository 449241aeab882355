"""Whatever is altered is found."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import struct
from contextlib import closing
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.errors import RecordsError
from edge.historian.records import chain
from edge.historian.records.problems import MOST
from edge.historian.records.verify import verify

TEXTS = ("verdict", "fault", "applied", "confirmed", "evidence", "footage")

TABLES = {  # by the column that tells rows apart
    "events": "event",
    "sessions": "session",
    "parts": "event",
    "open_parts": "event",
    "checkpoints": "event",
    "tombstones": "first",
    "keys": "public_key",
    "heard": "session",
}
OTHER = {int: 7, float: 0.5, str: "x", bytes: b"x" * 32, type(None): 1}
CONSTRAINED = {"outcome": {"ended": "lost", "lost": "ended", None: "ended"}}


def edit(path, *statements):
    """Run statements as somebody with the file and an SQL prompt would."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for statement in statements:
            text, values = statement if isinstance(statement, tuple) else (statement, ())
            connection.execute(text, values)
        connection.commit()


def rows_of(path, table):
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return found


@pytest.fixture
def copy(eventful, tmp_path):
    path = tmp_path / "copy.db"

    def fresh():
        shutil.copyfile(eventful, path)
        return path

    return fresh


def altered(value, column):
    """Another value that the column takes."""
    if column in CONSTRAINED:
        return CONSTRAINED[column][value]
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(value, str):
        return f"{value[:-1]}{'x' if value[-1:] != 'x' else 'y'}"
    if isinstance(value, float):
        return value + 2**-40
    if value is None:
        return {"score": 0.5, "late_score": 0.5, "latency_ms": 1.0, "session_ms": 1.0}.get(
            column,
            "x"
            if column in ("verdict", "fault", "applied", "confirmed", "evidence", "footage")
            else 1,
        )
    return value + 1


def test_nothing_is_wrong_with_untouched_records(eventful):
    found = verify(eventful)
    assert found.problems == ()
    assert found.removed > 0
    assert (found.parts, found.sessions, found.checkpoints) == (9, 2, 4)
    assert found.events + found.removed == found.head_event


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_every_row_is_covered(copy, table):
    key = TABLES[table]
    for row in rows_of(copy(), table):
        for column, value in row.items():
            path = copy()
            change = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"
            try:
                edit(path, (change, (altered(value, column), row[key])))
            except sqlite3.IntegrityError:  # the number of another row
                continue
            assert verify(path).problems, f"{table}.{column} of {key} {row[key]!r}"


@pytest.mark.parametrize("table", TABLES)
def test_a_row_less_is_found(copy, table):
    key = TABLES[table]
    for row in rows_of(copy(), table):
        path = copy()
        edit(path, (f"DELETE FROM {table} WHERE {key} = ?", (row[key],)))
        assert verify(path).problems, (table, row[key])


@pytest.mark.parametrize("table", TABLES)
def test_a_row_more_is_found(copy, table):
    key = TABLES[table]
    for row in rows_of(copy(), table):
        for new in (10_000, 0, -1):
            more = row | {key: b"y" * 32 if table == "keys" else new}
            if table == "parts":
                more["part"] = 99
            if table == "sessions":
                more["event"] = new
            marks = ", ".join("?" * len(more))
            path = copy()
            edit(path, (f"INSERT INTO {table} VALUES ({marks})", tuple(more.values())))
            assert verify(path).problems, (table, row[key], new)


@pytest.mark.parametrize("table", ["events", "parts", "checkpoints"])
def test_rows_that_changed_places_are_found(copy, table):
    numbers = [row["event"] for row in rows_of(copy(), table)]
    move = f"UPDATE {table} SET event = ? WHERE event = ?"
    for first, second in pairwise(numbers):
        path = copy()
        edit(path, (move, (-9, first)), (move, (first, second)), (move, (second, -9)))
        assert verify(path).problems, (table, first, second)


def relinked(path, event, **changed):
    """Alter an event, and every hash after it, as somebody who knows the format would."""
    events = rows_of(path, "events")
    previous = rows_of(path, "tombstones")[-1]["hash_after"]
    statements = []
    for row in events:
        if row["event"] == event:
            row |= changed
        numbers = tuple(row[name] for name in ("event", "session", "part", "at_ns", "utc_ns"))
        previous = chain.link(previous, numbers, row["kind"].encode(), row["body"].encode())
        values = (row["kind"], row["body"], row["at_ns"], previous, row["event"])
        update = "UPDATE events SET kind = ?, body = ?, at_ns = ?, hash = ? WHERE event = ?"
        statements.append((update, values))
    edit(path, *statements)
    return previous


def test_a_chain_linked_again_breaks_its_signatures_and_the_published_head(copy, eventful):
    head = verify(eventful).head
    for row in rows_of(eventful, "events"):
        path = copy()
        relinked(path, row["event"], at_ns=row["at_ns"] + 1)
        found = verify(path, head=head)
        assert any("not in these records" in one for one in found.problems)
        signed = max(one["event"] for one in rows_of(path, "checkpoints"))
        if row["event"] <= signed:
            assert any("checkpoint" in one for one in found.problems)


def test_checkpoints_signed_again_with_another_key_are_found(copy):
    """Everything after an edit made anew: only the key is not to be had."""
    forger = Ed25519PrivateKey.generate()
    public = forger.public_key().public_bytes_raw()

    def forge(path, known):
        event = next(row["event"] for row in rows_of(path, "events") if row["kind"] == "decision")
        relinked(path, event, at_ns=1)
        hashes = {row["event"]: row["hash"] for row in rows_of(path, "events")}
        for row in rows_of(path, "checkpoints"):
            digest = hashes[row["event"]]
            text = chain.checkpoint_text(row["event"], row["utc_ns"], digest)
            values = (digest, known or public, forger.sign(text), row["event"])
            update = "UPDATE checkpoints SET hash=?, public_key=?, signature=? WHERE event=?"
            edit(path, (update, values))

    path = copy()
    forge(path, None)
    assert any("signed with another key" in one for one in verify(path).problems)
    path = copy()
    own = rows_of(path, "keys")[0]["public_key"]
    forge(path, own)
    assert any("signature is wrong" in one for one in verify(path).problems)
    path = copy()
    forge(path, None)
    edit(path, ("UPDATE keys SET public_key = ?", (public,)))
    found = verify(path)
    assert any("tombstone" in one for one in found.problems)
    assert any("not with" in one for one in verify(path, public_key=own.hex()).problems)


def test_a_tail_that_was_cut_with_all_that_followed_from_it_needs_the_head(make_line):
    line = make_line("cut.db")
    line.begin()
    line.parts(1, 3)
    middle = line.books.checkpoint()
    line.parts(4, 4)
    after = line.books.checkpoint()
    line.books.close()
    digest = chain.heard(bytes.fromhex(middle.hash), 11, 0)
    edit(
        line.path,
        f"DELETE FROM events WHERE event > {middle.event}",
        f"DELETE FROM parts WHERE event > {middle.event}",
        f"DELETE FROM checkpoints WHERE event > {middle.event}",
        ("UPDATE heard SET hash = ?", (digest,)),
    )
    assert verify(line.path).problems == ()
    assert verify(line.path, head=middle.hash).problems == ()
    for head in (after.hash, f"{after.event}:{after.hash}", f"{after.event}:{middle.hash}"):
        (problem,) = verify(line.path, head=head).problems
        assert "the tail was cut" in problem


def test_a_head_that_retention_removed_is_said_to_be(eventful):
    found = verify(eventful, head=f"1:{'ab' * 32}")
    assert "retention removed all up to event" in found.problems[0]
    last = rows_of(eventful, "tombstones")[-1]
    assert verify(eventful, head=last["hash_after"].hex()).problems == ()


@pytest.mark.parametrize("asked", [{"head": "abc"}, {"head": ""}, {"public_key": "12"}])
def test_a_head_or_key_that_is_none_is_refused(eventful, asked):
    with pytest.raises(RecordsError, match="allowed: 64 hexadecimal digits"):
        verify(eventful, **asked)


SCHEMA_EDITS = {
    "a table more": "CREATE TABLE notes (a)",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON parts BEGIN DELETE FROM events; END",
    "a view": "CREATE VIEW v AS SELECT 1",
    "an index less": "DROP INDEX parts_by_verdict",
    "a column more": "ALTER TABLE parts ADD COLUMN more INTEGER",
    "text that is not UTF-8": "UPDATE parts SET detail = CAST(x'ff' AS TEXT)",
    "a body that is not UTF-8": "UPDATE events SET body = CAST(x'ff' AS TEXT)",
    "all parts gone": "DELETE FROM parts",
    "all events gone": "DELETE FROM events",
    "all tombstones gone": "DELETE FROM tombstones",
}


@pytest.mark.parametrize("name", SCHEMA_EDITS)
def test_edits_at_large_are_found(copy, name):
    path = copy()
    edit(path, SCHEMA_EDITS[name])
    found = verify(path)
    assert 0 < len(found.problems) <= MOST + 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_byte_of_the_file_that_matters_is_found(eventful, tmp_path_factory, data):
    """Bytes of free space and of SQLite's own counters may change without a word."""
    path = tmp_path_factory.getbasetemp() / "bytes.db"
    content = bytearray(eventful.read_bytes())
    at = data.draw(st.integers(100, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = verify(path)
    except RecordsError:  # refused as a whole
        return
    if not found.problems:
        for table in TABLES:
            assert rows_of(path, table) == rows_of(eventful, table)


def test_the_signed_bytes_are_the_documented_ones(eventful):
    key = rows_of(eventful, "keys")[0]["public_key"]
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(key)
    for row in rows_of(eventful, "checkpoints"):
        text = b"edge checkpoint 1\n" + struct.pack(">2q", row["event"], row["utc_ns"])
        public.verify(row["signature"], text + row["hash"])
    for row in rows_of(eventful, "tombstones"):
        numbers = [row[name] for name in ("first", "last", "events", "parts", "utc_ns")]
        text = b"edge tombstone 1\n" + struct.pack(">5q", *numbers) + row["hash_before"]
        text += row["hash_after"] + row["carried"] + row["reason"].encode()
        public.verify(row["signature"], text)
    staying = hashlib.sha256()
    for row in rows_of(eventful, "sessions"):
        if row["event"] <= rows_of(eventful, "tombstones")[-1]["last"]:
            body = row["body"].encode()
            staying.update(struct.pack(">3q", row["session"], row["event"], len(body)) + body)
    assert rows_of(eventful, "tombstones")[-1]["carried"] == staying.digest()
