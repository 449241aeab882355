"""Where a writer left off: sessions that did not end, and parts that are still open."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from edge.core.history import Session, Swapped
from edge.historian.records import bodies
from edge.historian.records.bodies import Change, Decided, Detail, Kept, Triggered, Words
from edge.historian.records.group import Stage


class OpenPart:
    """A part's trigger, its event (0: none), and what was told of the part since."""

    __slots__ = ("event", "trigger", "words")

    def __init__(self, event: int, trigger: Triggered, words: Words | None = None) -> None:
        self.event, self.trigger, self.words = event, trigger, words or Words()

    def stage(self, session: int, part: int) -> Stage:
        return Stage(self.event, session, part)


class Known(NamedTuple):
    """A session where its writer left off.

    lot: the one in force. number: of its last message on record. highest: of its parts. served:
    what the last decided part was served by, as far as it is not what the session began with.
    """

    session: Session
    open: dict[int, OpenPart]
    ended: bool = False
    lot: str = ""
    number: int = 0
    highest: int = 0
    served: Swapped | None = None


def stages(connection: sqlite3.Connection) -> dict[int, Stage]:
    """The open parts by the event of their trigger."""
    found = connection.execute("SELECT event, session, part FROM open_parts")
    return {event: Stage(event, session, part) for event, session, part in found}


def known(connection: sqlite3.Connection, number: int) -> Known | None:
    """A session by its number; None where it never began."""
    found = connection.execute(
        "SELECT event, body, closed FROM sessions WHERE session = ?", (number,)
    ).fetchone()
    if found is None:
        return None
    begun, body, closed = found
    session = msgspec.json.decode(body, type=Session)
    heard = connection.execute("SELECT number FROM heard WHERE session = ?", (number,)).fetchone()
    parts = _open(connection, number)
    last = connection.execute(  # along the index of part and session, from its end
        "SELECT part FROM parts WHERE session = ? ORDER BY part DESC LIMIT 1", (number,)
    ).fetchone()
    return Known(
        session,
        parts,
        closed is not None,
        _lot(connection, session, begun),
        heard[0] if heard else 0,
        max((*(last or (0,)), *parts)),
        _served(connection, number),
    )


def unfinished(connection: sqlite3.Connection) -> list[Known]:
    """The sessions that did not end, and what they left open."""
    found = connection.execute("SELECT body FROM sessions WHERE closed IS NULL ORDER BY event")
    those = [msgspec.json.decode(body, type=Session) for (body,) in found.fetchall()]
    return [
        Known(
            session,
            _open(connection, session.session),
            served=_served(connection, session.session),
        )
        for session in those
    ]


def session_before(connection: sqlite3.Connection, station: str) -> Known | None:
    """The last session of a station, its open parts left out; None where there is none."""
    for (body,) in connection.execute("SELECT body FROM sessions ORDER BY event DESC"):
        session = msgspec.json.decode(body, type=Session)
        if session.station == station:
            return Known(session, {}, served=_served(connection, session.session))
    return None


def has_row(connection: sqlite3.Connection, session: int, part: int) -> bool:
    """Whether a part is closed."""
    asked = "SELECT 1 FROM parts WHERE part = ? AND session = ?"
    return connection.execute(asked, (part, session)).fetchone() is not None


def _open(connection: sqlite3.Connection, session: int) -> dict[int, OpenPart]:
    found = connection.execute(
        "SELECT part, event, body FROM open_parts JOIN events USING (event, part) "
        "WHERE open_parts.session = ? ORDER BY event",
        (session,),
    ).fetchall()
    return {
        part: OpenPart(
            event,
            msgspec.json.decode(body, type=Triggered),
            _words(connection, session, part),
        )
        for part, event, body in found
    }


def _words(connection: sqlite3.Connection, session: int, part: int) -> Words:
    """What was told of a part, from its events."""
    words = Words()
    found = connection.execute(
        "SELECT kind, body FROM events WHERE part = ? AND part > 0 AND session = ? ORDER BY event",
        (part, session),
    )
    for kind, body in found:
        if kind == bodies.EVIDENCE:
            words.hear(kind, msgspec.json.decode(body, type=Kept).file)
        elif kind in bodies.LATE_KINDS:
            words.hear(kind, msgspec.json.decode(body, type=Detail).detail)
    return words


def _served(connection: sqlite3.Connection, session: int) -> Swapped | None:
    """What the last decided part was served by; None for what the session began with."""
    last = connection.execute(  # along the index of part and session, from its end
        "SELECT part FROM parts WHERE session = ? AND cause <> 'lost' ORDER BY part DESC LIMIT 1",
        (session,),
    ).fetchone()
    if last is None:
        return None
    found = connection.execute(
        "SELECT body FROM events WHERE part = ? AND part > 0 AND session = ? AND kind = ?",
        (last[0], session, bodies.DECISION),
    ).fetchone()
    return msgspec.json.decode(found[0], type=Decided).served if found else None


def _lot(connection: sqlite3.Connection, session: Session, begun: int) -> str:
    """The lot in force: a person may have changed it since the session began at event `begun`."""
    found = connection.execute(
        "SELECT body FROM events WHERE kind = 'change' AND part = 0 AND session = ? "
        "ORDER BY event DESC",
        (session.session,),
    )
    for (body,) in found:
        change = msgspec.json.decode(body, type=Change)
        if change.what == "lot":
            return change.new
    # Retention may have taken the change, but not the last part's row.
    last = connection.execute(
        "SELECT lot FROM parts WHERE event > ? AND session = ? ORDER BY event DESC",
        (begun, session.session),
    ).fetchone()
    return last[0] if last else session.lot
