"""Every row again from the events it follows from, beside the rows as they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from edge.core.history import Session
from edge.historian.records import bodies, rows
from edge.historian.records.bodies import Acked, Commanded, Decided, Detail, Kept, Lost
from edge.historian.records.problems import Problems
from edge.historian.records.rows import COLUMNS, EVENT_AT, KEY_AT, LATE_AT, Closing, Row

_ROWS = f"{rows.SELECT} ORDER BY event"
_FOLLOWS = (bodies.COMMAND, bodies.ACK)
_OUTCOMES = {bodies.END: "ended", bodies.LOST: "lost"}


class Event(NamedTuple):
    """An event, its hash checked already."""

    event: int
    session: int
    part: int
    kind: str
    at_ns: int
    body: bytes


class _Sitting(msgspec.Struct):
    """A session that has begun: as its event says it, and how its row says that it ended."""

    session: Session
    closed: int | None
    outcome: str | None


class Retrace:
    """Takes the events in their order; `parts` and `sessions` count rows that were found."""

    def __init__(self, connection: sqlite3.Connection, problems: Problems, removed: int) -> None:
        """removed: the last event that retention removed."""
        self._connection, self._problems = connection, problems
        self.parts = self.sessions = 0
        self._sittings: dict[int, _Sitting] = {}
        self._begun: set[int] = set()
        self._open: dict[tuple[int, int], int] = {}
        self._closing: Closing | None = None
        # What rows say beyond their closing, until an event says it too.
        self._claims: dict[tuple[int, int, str], object] = {}
        self._rows: Iterator[Row] = iter(connection.execute(_ROWS))
        self._row = self._next()
        self._carry(removed)

    def take(self, event: Event) -> None:
        """The next event; one whose body is not as bodies.py has it is a problem."""
        try:
            self._take(event)
        except msgspec.MsgspecError as error:
            self._problems.add(f"event {event.event}: no body of kind {event.kind}: {error}")

    def finish(self) -> None:
        """After the last event: what is left over follows from none."""
        self._close()
        while self._row is not None:
            self._extra(self._row)
            self._row = self._next()
        for session, part, column in self._claims:
            self._problems.add(f"parts: {_name(session, part)}: {column}: no event says so")
        for number, sitting in self._sittings.items():
            if (sitting.closed, sitting.outcome) != (None, None):
                self._problems.add(f"sessions: {number}: no event says that it ended")
        found = self._connection.execute("SELECT event, session, part FROM open_parts").fetchall()
        expected = {(event, *key) for key, event in self._open.items()}
        for event, session, part in sorted(expected ^ set(found)):
            self._problems.add(f"open_parts: {_name(session, part)}, event {event}: not so")
        for (session,) in self._connection.execute("SELECT session FROM sessions"):
            self.sessions += 1
            if session not in self._begun:
                self._problems.add(f"sessions: {session}: no event says that it began")

    def _carry(self, removed: int) -> None:
        """Sessions whose own event is removed; their bodies are signed with the tombstone."""
        found = self._connection.execute(
            "SELECT session, CAST(body AS BLOB), closed, outcome FROM sessions WHERE event <= ?",
            (removed,),
        )
        for number, body, closed, outcome in found:
            try:
                self._begin(number, body, closed, outcome)
            except msgspec.MsgspecError as error:
                self._problems.add(f"sessions: {number}: no description of a session: {error}")

    def _take(self, event: Event) -> None:
        key = (event.session, event.part)
        if event.kind in _FOLLOWS:
            self._follow(event)
            return
        self._close()
        match event.kind:
            case bodies.TRIGGER:
                self._open[key] = event.event
            case bodies.DECISION:
                decided = _DECIDED.decode(event.body)
                self._closing = Closing(*key, event.event, event.at_ns, decided)
            case bodies.LOST if event.part:
                lost = _LOST.decode(event.body)
                if sitting := self._sitting(event):
                    expected = rows.lost_row(sitting.session, event.part, event.event, lost)
                    self._compare(expected)
                self._open.pop(key, None)
            case bodies.SESSION:
                self._check_session(event)
            case bodies.END | bodies.LOST:
                self._end(event)
            case bodies.EVIDENCE:
                self._late(event, _KEPT.decode(event.body).file)
            case bodies.DONE | bodies.CONFIRM | bodies.FOOTAGE:
                self._late(event, _DETAIL.decode(event.body).detail)
            case _:  # a note; no row follows from it
                pass

    # ---- sessions ----

    def _check_session(self, event: Event) -> None:
        found = self._connection.execute(
            "SELECT event, CAST(body AS BLOB), closed, outcome FROM sessions WHERE session = ?",
            (event.session,),
        ).fetchone()
        if found is None:
            self._problems.add(f"sessions: {event.session}: no row")
            found = (event.event, event.body, None, None)
        elif found[:2] != (event.event, event.body):
            self._problems.add(f"sessions: {event.session}: not as event {event.event} says")
        self._begin(event.session, event.body, *found[2:])

    def _begin(self, number: int, body: bytes, closed: int | None, outcome: str) -> None:
        self._begun.add(number)
        session = msgspec.json.decode(body, type=Session)
        self._sittings[number] = _Sitting(session, closed, outcome)

    def _end(self, event: Event) -> None:
        sitting = self._sittings.pop(event.session, None)
        if sitting is None:
            self._problems.add(f"event {event.event}: the end of no session")
        elif (sitting.closed, sitting.outcome) != (event.event, _OUTCOMES[event.kind]):
            self._problems.add(f"sessions: {event.session}: its end is not event {event.event}")

    def _sitting(self, event: Event) -> _Sitting | None:
        sitting = self._sittings.get(event.session)
        if sitting is None:
            self._problems.add(f"event {event.event}: of no session that has begun")
        return sitting

    # ---- parts ----

    def _follow(self, event: Event) -> None:
        """A command or an ack, right behind its decision."""
        closing = self._closing
        if closing is None or (closing.session, closing.part) != (event.session, event.part):
            self._problems.add(f"event {event.event}: {event.kind} of no decision")
            return
        closing.event = event.event
        if event.kind == bodies.COMMAND:
            closing.command, closing.sent_ns = _COMMANDED.decode(event.body), event.at_ns
        else:
            closing.ack, closing.acked_ns = _ACKED.decode(event.body), event.at_ns

    def _close(self) -> None:
        closing, self._closing = self._closing, None
        if closing is None:
            return
        self._open.pop((closing.session, closing.part), None)
        if sitting := self._sittings.get(closing.session):
            self._compare(rows.row(sitting.session, closing))
        else:
            self._problems.add(f"event {closing.event}: of no session that has begun")

    def _compare(self, expected: Row) -> None:
        """The row of this event, with nothing before it that follows from none."""
        event = expected[EVENT_AT]
        while self._row is not None and self._row[EVENT_AT] < event:
            self._extra(self._row)
            self._row = self._next()
        row = self._row
        name = _name(*(expected[at] for at in KEY_AT))
        if row is None or row[EVENT_AT] != event:
            self._problems.add(f"parts: {name}: no row, though event {event} closed it")
            return
        self.parts += 1
        if row != expected:
            self._differ(name, row, expected)
        self._row = self._next()

    def _differ(self, name: str, row: Row, expected: Row) -> None:
        session, part = (expected[at] for at in KEY_AT)
        for at, column in enumerate(COLUMNS):
            if row[at] == expected[at]:
                continue
            if at in LATE_AT and expected[at] is None:
                self._claims[session, part, column] = row[at]
            else:
                say = f"{column} is {_short(row[at])}, events say {_short(expected[at])}"
                self._problems.add(f"parts: {name}: {say}")

    def _late(self, event: Event, text: str) -> None:
        """A word on a part: the first one after its closing stands in its row."""
        session, part = event.session, event.part
        column, value = bodies.word(event.kind, text)
        if value is None or (session, part) in self._open:
            return
        missing = object()
        claim = self._claims.pop((session, part, column), missing)
        if claim is missing:
            claim = self._told(column, event)
        elif claim != value:
            say = f"{column} is {_short(claim)}, event {event.event} says {_short(value)}"
            self._problems.add(f"parts: {_name(session, part)}: {say}")
        if claim is None:
            say = f"{column} is not as event {event.event} says"
            self._problems.add(f"parts: {_name(session, part)}: {say}")

    def _told(self, column: str, event: Event) -> object:
        """What the part's row says; "" where it has none, or one that follows later."""
        asked = f"SELECT {column} FROM parts WHERE part = ? AND session = ? AND event < ?"
        numbers = (event.part, event.session, event.event)
        found = self._connection.execute(asked, numbers).fetchone()
        return found[0] if found else ""

    def _extra(self, row: Row) -> None:
        session, part = (row[at] for at in KEY_AT)
        self._problems.add(f"parts: {_name(session, part)}: a row that follows from no event")

    def _next(self) -> Row | None:
        try:
            return next(self._rows, None)
        except sqlite3.Error as error:  # text that is not UTF-8
            self._problems.add(f"parts: cannot be read: {error}")
            return None


_DECIDED = msgspec.json.Decoder(Decided)
_LOST = msgspec.json.Decoder(Lost)
_COMMANDED = msgspec.json.Decoder(Commanded)
_ACKED = msgspec.json.Decoder(Acked)
_KEPT = msgspec.json.Decoder(Kept)
_DETAIL = msgspec.json.Decoder(Detail)


def _name(session: int, part: int) -> str:
    return f"session {session:016x} part {part}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
