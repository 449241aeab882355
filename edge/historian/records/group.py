"""What was taken since the last commit, and how it comes to disk: whole or not at all."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from edge.historian.records import chain
from edge.historian.records.bodies import CHECKPOINT
from edge.historian.records.rows import INSERT, KEY_AT, LATE, Row
from edge.signing import Signer

_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_LATE = "UPDATE parts SET {0} = ? WHERE part = ? AND session = ? AND {0} IS NULL"
_LATE_SQL = {column: _LATE.format(column) for column in LATE}


class Signed(NamedTuple):
    """A checkpoint, as the table holds it."""

    event: int
    hash: bytes
    utc_ns: int
    public_key: bytes
    signature: bytes


class Stage(NamedTuple):
    """Where a part stands that is open: its trigger's event."""

    event: int
    session: int
    part: int


class Group:
    """Events with their hashes, and everything that follows from them, in memory until written.

    A write that fails leaves all of it here, to be written by the next one.
    """

    def __init__(self, event: int, head: bytes) -> None:
        """event and head: the number and hash of the last event on record."""
        self.event, self.head = event, head
        self.utc_ns = 0  # of the last event
        self._rows: list[Row] = []
        self._closed: set[tuple[int, int]] = set()  # sessions and parts of the rows
        self._events: list[tuple[int, int, int, str, int, int, str, bytes]] = []
        self._late: list[tuple[str, tuple[object, int, int]]] = []
        self._sessions: list[tuple[str, tuple[object, ...]]] = []
        self._signed: list[Signed] = []
        self.written: dict[int, Stage] = {}  # open parts as the table has them

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._events)

    def add(
        self, kind: str, body: bytes, *, session: int, part: int = 0, at_ns: int, utc_ns: int
    ) -> int:
        """Append an event to the chain; its number."""
        event = self.event + 1
        numbers = (event, session, part, at_ns, utc_ns)
        digest = chain.link(self.head, numbers, kind.encode(), body)
        self._events.append((event, session, part, kind, at_ns, utc_ns, body.decode(), digest))
        self.event, self.head, self.utc_ns = event, digest, utc_ns
        return event

    def late(self, column: str, value: object, session: int, part: int) -> None:
        """What was told of a part after it was closed."""
        self._late.append((_LATE_SQL[column], (value, part, session)))

    def begin(self, session: int, event: int, body: bytes) -> None:
        insert = "INSERT INTO sessions VALUES (?, ?, ?, NULL, NULL)"
        self._sessions.append((insert, (session, event, body.decode())))

    def end(self, session: int, event: int, outcome: str) -> None:
        update = "UPDATE sessions SET closed = ?, outcome = ? WHERE session = ?"
        self._sessions.append((update, (event, outcome, session)))

    def sign(self, signer: Signer, session: int) -> Signed:
        """Append a checkpoint and sign it."""
        utc_ns = self.utc_ns
        event = self.add(CHECKPOINT, b"{}", session=session, at_ns=0, utc_ns=utc_ns)
        signature = signer.sign(chain.checkpoint_text(event, utc_ns, self.head))
        signed = Signed(event, self.head, utc_ns, signer.public, signature)
        self._signed.append(signed)
        return signed

    def close(self, row: Row) -> None:
        """A part is closed: its row."""
        self._rows.append(row)
        self._closed.add((row[KEY_AT[0]], row[KEY_AT[1]]))

    def has_closed(self, session: int, part: int) -> bool:
        """Whether a part's row waits to be written."""
        return (session, part) in self._closed

    def write(
        self,
        connection: sqlite3.Connection,
        open_now: dict[int, Stage],
        heard: tuple[int, int] | None,
    ) -> None:
        """One transaction, synced to disk. open_now: by the event of the trigger.

        heard: the session, and the number of its last message in here; None before any.
        sqlite3.Error where the disk refuses: nothing is written then.
        """
        begun = [stage for event, stage in open_now.items() if event not in self.written]
        done = [(event,) for event in self.written if event not in open_now]
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_EVENT, self._events)
            connection.executemany(INSERT, self._rows)
            for update in self._late:
                connection.execute(*update)
            for change in self._sessions:
                connection.execute(*change)
            connection.executemany("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?)", self._signed)
            connection.executemany("INSERT INTO open_parts VALUES (?, ?, ?)", begun)
            connection.executemany("DELETE FROM open_parts WHERE event = ?", done)
            _write_heard(connection, self.head, heard)
            connection.execute("COMMIT")
        except BaseException:  # whatever it is: no half of a group may stay in the transaction
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.written = dict(open_now)
        waiting = (self._events, self._rows, self._late, self._sessions, self._signed)
        for taken in waiting:
            taken.clear()
        self._closed.clear()


def _write_heard(
    connection: sqlite3.Connection, head: bytes, heard: tuple[int, int] | None
) -> None:
    connection.execute("DELETE FROM heard")
    if heard:
        digest = chain.heard(head, *heard)
        connection.execute("INSERT INTO heard VALUES (?, ?, ?)", (*heard, digest))
