"""Asking the records: parts by time, verdict, defect, number or lot, while a station writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgspec

from edge.core.errors import RecordsError
from edge.core.history import Session
from edge.core.types import Fault, Verdict
from edge.historian.records import rows, store
from edge.historian.records.rows import PartRow

NONE = "none"  # as a verdict: parts that defaulted or were lost, and so have none
_VERDICTS = (*(verdict.value for verdict in Verdict), NONE)
_FAULTS = frozenset(fault.value for fault in Fault)


class Asked(TypedDict, total=False):
    """Which parts: those for which all that is given holds.

    since_ns and until_ns are of the trigger in UTC, the first included, the last not. verdict is
    one of edge.core.types.Verdict, or none. type is a defect's type, or a fault's name.
    """

    since_ns: int | None
    until_ns: int | None
    verdict: str | None
    type: str | None
    part: int | None
    lot: str | None


class Event(msgspec.Struct, frozen=True):
    """An event as it is on record; body is JSON, hash is hex."""

    event: int
    session: int
    part: int
    kind: str
    at_ns: int
    utc_ns: int
    body: str
    hash: str


class Shown(msgspec.Struct, frozen=True):
    """Everything of one part. row is None while it is open."""

    session: Session | None
    row: PartRow | None
    events: tuple[Event, ...]


def query(
    path: Path | str, *, limit: int | None = None, **asked: Unpack[Asked]
) -> Iterator[PartRow]:
    """The parts that are asked for, by time, at most `limit`; read as they are taken.

    RecordsError, with the first one taken, where the database cannot be read or asked that.
    """
    where, values = _where(asked)
    if limit is not None and limit < 0:
        raise RecordsError(f"limit {limit}: allowed: 0 and more")
    sql = f"{rows.SELECT}{where} ORDER BY utc_ns, event LIMIT ?"
    with store.reading(Path(path)) as connection:
        for row in connection.execute(sql, (*values, -1 if limit is None else limit)):
            yield PartRow(*row)


def count(path: Path | str, **asked: Unpack[Asked]) -> int:
    """How many parts `query` would give."""
    where, values = _where(asked)
    with store.reading(Path(path)) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM parts{where}", values).fetchone()
    return int(found)


def show(path: Path | str, part: int, session: int | None = None) -> Shown:
    """One part, of the session given or the last that had it; RecordsError where none had."""
    events = "SELECT event, session, part, kind, at_ns, utc_ns, body, hash FROM events"
    with store.reading(Path(path)) as connection:
        if session is None:
            found = connection.execute(
                "SELECT session FROM events WHERE part = ? AND part > 0 ORDER BY event DESC",
                (part,),
            ).fetchone()
            session = found[0] if found else 0
        key = (part, session)
        row = connection.execute(f"{rows.SELECT} WHERE part = ? AND session = ?", key).fetchone()
        told = connection.execute(
            f"{events} WHERE part = ? AND part > 0 AND session = ? ORDER BY event", key
        ).fetchall()
        if row is None and not told:
            raise RecordsError(f"{path}: part {part}: not in these records")
        body = connection.execute(
            "SELECT body FROM sessions WHERE session = ?", (session,)
        ).fetchone()
    return Shown(
        msgspec.json.decode(body[0], type=Session) if body else None,
        PartRow(*row) if row else None,
        tuple(map(as_event, told)),
    )


def sessions(path: Path | str) -> list[Session]:
    """The sessions that parts or events are on record of, the oldest first."""
    with store.reading(Path(path)) as connection:
        found = connection.execute("SELECT body FROM sessions ORDER BY event").fetchall()
    return [msgspec.json.decode(body, type=Session) for (body,) in found]


def as_event(row: tuple[Any, ...]) -> Event:
    """An event from all of its columns in the table's order."""
    event, session, part, kind, at_ns, utc_ns, body, digest = row
    return Event(event, session, part, kind, at_ns, utc_ns, body, digest.hex())


def _where(asked: Asked) -> tuple[str, list[int | str]]:
    """The condition and its values; each term is one that an index serves (schema.py)."""
    terms: list[str] = []
    values: list[int | str] = []

    def term(sql: str, *given: int | str) -> None:
        terms.append(sql)
        values.extend(given)

    if (since_ns := asked.get("since_ns")) is not None:
        term("utc_ns >= ?", since_ns)
    if (until_ns := asked.get("until_ns")) is not None:
        term("utc_ns < ?", until_ns)
    if verdict := asked.get("verdict"):
        if verdict not in _VERDICTS:
            raise RecordsError(f"verdict {verdict!r}: allowed: {' | '.join(_VERDICTS)}")
        if verdict == NONE:
            term("verdict IS NULL")
        else:
            term("verdict = ?", verdict)
    if kind := asked.get("type"):
        if kind in _FAULTS:
            term("fault = ?", kind)
        else:
            term("defect_type = ? AND defect_type <> ''", kind)
    if (part := asked.get("part")) is not None:
        term("part = ?", part)
    if lot := asked.get("lot"):
        term("lot = ? AND lot <> ''", lot)
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), values
