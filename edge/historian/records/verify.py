"""Verification: the chain, its signatures, and every row again from the events it follows from.

One pass over the events beside one over the rows, in the order of events, on one snapshot; memory
does not grow with the number of parts. A row, column, event or signature that was changed, removed,
added or moved is found. What nobody can see from the file alone is a tail that was cut off with all
that followed from it, or a database made anew with another key: for these, keep a published hash
and the public key elsewhere, and give them.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import msgspec

from edge.core.errors import RecordsError
from edge.historian.records import bodies, chain, schema, store
from edge.historian.records.problems import Problems
from edge.historian.records.retrace import Event, Retrace
from edge.historian.records.seals import Seals

_HEAD = re.compile(r"(?:(\d{1,18}):)?([0-9a-fA-F]{64})")
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_MOST_FAULTS = 10  # of SQLite's own check
_EVENTS = (
    "SELECT event, session, part, at_ns, utc_ns, CAST(kind AS BLOB), CAST(body AS BLOB), hash "
    "FROM events ORDER BY event"  # as bytes: text that is not UTF-8 would end the reading
)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `problems` is empty where all is well.

    head is the hash of the last event. removed: events that retention took. unsigned: events
    after the last checkpoint.
    """

    events: int
    parts: int
    sessions: int
    checkpoints: int
    removed: int
    unsigned: int
    head_event: int
    head: str
    public_key: str
    problems: tuple[str, ...]


class _Head:
    """A hash that must occur, from somewhere that nobody who edits the file can reach."""

    def __init__(self, text: str | None) -> None:
        self.event, self.digest, self._seen = 0, b"", text is None
        if text is not None:
            found = _HEAD.fullmatch(text.strip())
            if found is None:
                raise RecordsError(f"head {text!r}: allowed: 64 hexadecimal digits | EVENT:HASH")
            self.event, self.digest = int(found[1] or 0), bytes.fromhex(found[2])

    def see(self, event: int, digest: bytes) -> None:
        if digest == self.digest and self.event in (0, event):
            self._seen = True

    def settle(self, removed: int, problems: Problems) -> None:
        if self._seen:
            return
        if 0 < self.event <= removed:
            why = f"retention removed all up to event {removed}: give a later one"
        else:
            why = "not in these records: the tail was cut, or they are other ones"
        problems.add(f"head {self.digest.hex()}: {why}")


def verify(path: Path | str, *, head: str | None = None, public_key: str | None = None) -> Verified:
    """Check a whole database. head: the hash of an event or checkpoint, in hex, or EVENT:HASH.

    public_key: the one that must have signed, in hex. RecordsError where the file cannot be read
    as inspection records at all, or where head or public_key is no such thing.
    """
    wanted = _Head(head)
    if public_key is not None and not _KEY.fullmatch(public_key):
        raise RecordsError(f"public key {public_key!r}: allowed: 64 hexadecimal digits")
    problems, event, digest, count = Problems(), 0, b"", 0
    with store.reading(Path(path)) as connection:
        _check_file(connection, problems)
        seals = Seals(connection, problems)
        if public_key is not None and seals.public_key.hex() != public_key.lower():
            problems.add(f"keys: signed with {seals.public_key.hex()}, not with {public_key}")
        retrace = Retrace(connection, problems, seals.removed)
        try:
            event, digest, count = _follow(connection, seals, retrace, wanted, problems)
            _check_heard(connection, event, digest, problems)
        except sqlite3.Error as error:
            problems.add(f"database: cannot be read any further: {error}")
    wanted.settle(seals.removed, problems)
    return Verified(
        events=count,
        parts=retrace.parts,
        sessions=retrace.sessions,
        checkpoints=seals.checkpoints,
        removed=seals.removed,
        unsigned=event - seals.last_signed,
        head_event=event,
        head=digest.hex(),
        public_key=seals.public_key.hex(),
        problems=problems.lines(),
    )


def _follow(
    connection: sqlite3.Connection,
    seals: Seals,
    retrace: Retrace,
    wanted: _Head,
    problems: Problems,
) -> tuple[int, bytes, int]:
    """Go along the chain; the last event, its hash, and how many events there are."""
    event, previous, count = seals.removed, seals.hash_after, 0
    for at, digest in seals.ends:
        wanted.see(at, digest)
    for number, session, part, at_ns, utc_ns, kind, body, digest in connection.execute(_EVENTS):
        count += 1
        if number <= seals.removed:
            problems.add(f"event {number}: retention had removed all up to {seals.removed}")
            continue
        if number != event + 1:
            problems.add(f"event {event + 1}: missing, {number} comes next")
        elif chain.link(previous, (number, session, part, at_ns, utc_ns), kind, body) != digest:
            problems.add(f"event {number}: its hash does not follow from what it says")
        event, previous = number, digest
        wanted.see(number, digest)
        name = kind.decode("utf-8", "replace")
        if number == 1 or name == bodies.KEY:
            seals.key(number, name, body)
        elif name == bodies.CHECKPOINT:
            seals.checkpoint(number, utc_ns, digest)
        else:
            retrace.take(Event(number, session, part, name, at_ns, body))
    seals.finish()
    retrace.finish()
    return event, previous, count


def _check_file(connection: sqlite3.Connection, problems: Problems) -> None:
    """What SQLite itself finds wrong, and whether the tables are those that we make."""
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_FAULTS})"):
            if line != "ok":
                problems.add(f"database: {line}")
        found = set(connection.execute(_SCHEMA))
    except sqlite3.DatabaseError as error:
        problems.add(f"database: {error}")
        return
    fresh = sqlite3.connect(":memory:")
    for statement in schema.statements(0):
        fresh.execute(statement)
    expected = set(fresh.execute(_SCHEMA))
    fresh.close()
    for kind, name, _ in sorted(found ^ expected, key=str):
        problems.add(f"database: {kind} {name}: not as this version makes it")


_SCHEMA = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'"


def _check_heard(
    connection: sqlite3.Connection, event: int, digest: bytes, problems: Problems
) -> None:
    """The number of the station's last message is tied to the last event."""
    found = connection.execute("SELECT session, number, hash FROM heard").fetchall()
    expected = [
        (session, number, chain.heard(digest, session, number)) for session, number, _ in found
    ]
    if found != expected or len(found) != (event > 0):
        problems.add(f"heard: not as written with event {event}")
