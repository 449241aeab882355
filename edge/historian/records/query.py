"""Asking the records: parts by time, verdict, defect, number or lot, while a station writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import msgspec

from edge.core.errors import RecordsError
from edge.core.history import Session, served
from edge.core.types import Fault, Serving, Verdict
from edge.historian.records import bodies, rows, store
from edge.historian.records.rows import PartRow

NONE = "none"  # as a verdict: parts that defaulted or were lost, and so have none
_VERDICTS = (*(verdict.value for verdict in Verdict), NONE)
_FAULTS = frozenset(fault.value for fault in Fault)


class Asked(TypedDict, total=False):
    """Which parts: those for which all that is given holds.

    since_ns and until_ns are of the trigger in UTC, the first included, the last not. verdict is
    one of edge.core.types.Verdict, or none. type is a defect's type, as labelled or, of a part that
    failed and has no label, as its worst region was taken for; or a fault's name. package is
    the name of what judged the part, or at least 8 first digits of its content digest; it is looked
    for along the time, so give one.
    """

    since_ns: int | None
    until_ns: int | None
    verdict: str | None
    type: str | None
    part: int | None
    lot: str | None
    package: str | None


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
    """Everything of one part. row is None while it is open.

    serving: what judged it, or would have; None of one that was not decided.
    """

    session: Session | None
    row: PartRow | None
    events: tuple[Event, ...]
    serving: Serving | None = None


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
            session = next(iter(_sessions_of(connection, part)), 0)
        key = (part, session)
        row = connection.execute(f"{rows.SELECT} WHERE part = ? AND session = ?", key).fetchone()
        told = connection.execute(
            f"{events} WHERE part = ? AND part > 0 AND session = ? ORDER BY event", key
        ).fetchall()
        if row is None and not told:
            raise RecordsError(f"{path}: part {part}: {_elsewhere(connection, *key)}")
        body = connection.execute(
            "SELECT body FROM sessions WHERE session = ?", (session,)
        ).fetchone()
    described = msgspec.json.decode(body[0], type=Session) if body else None
    happened = tuple(map(as_event, told))
    return Shown(described, PartRow(*row) if row else None, happened, _serving(described, happened))


def _sessions_of(connection: sqlite3.Connection, part: int) -> list[int]:
    """The sessions that had a part of this number, the last one first."""
    sql = (
        "SELECT session FROM events WHERE part = ? AND part > 0 "
        "GROUP BY session ORDER BY max(event) DESC"
    )
    return [session for (session,) in connection.execute(sql, (part,))]


def _elsewhere(connection: sqlite3.Connection, part: int, session: int) -> str:
    """Why a part is not found: the sessions that have one of its number, or the numbers here."""
    if others := _sessions_of(connection, part):
        return f"not in session {session}; sessions that have it: {_listed(map(str, others))}"
    first, last = connection.execute("SELECT min(part), max(part) FROM parts").fetchone()
    if first is None:
        return "not in these records; they have no part yet"
    return f"not in these records; they have parts {first} to {last}"


def unknown(path: Path | str, **asked: Unpack[Asked]) -> list[str]:
    """What was asked for and no part on record has, whatever its time; with those that some have.

    One line for a type, lot or package; none where each of them occurs.
    """
    lines = []
    with store.reading(Path(path)) as connection:
        for name, sql in _THERE.items():
            value = asked.get(name)
            if not value:
                continue
            where, values = _where(cast(Asked, {name: value}))
            if connection.execute(f"SELECT 1 FROM parts{where} LIMIT 1", values).fetchone():
                continue
            there = [str(one) for (one,) in connection.execute(sql)]
            lines.append(f"{name} {value!r}: no part on record has it; there are: {_listed(there)}")
    return lines


# Each from an index, but for the packages: what may be asked for instead.
_THERE = {
    "type": "SELECT DISTINCT defect_type FROM parts WHERE defect_type <> '' "
    "UNION SELECT DISTINCT fault FROM parts WHERE fault IS NOT NULL "
    f"UNION SELECT * FROM (SELECT DISTINCT {rows.FOUND_TYPE} AS type FROM parts "
    "WHERE verdict = 'fail') WHERE type <> ''",
    "lot": "SELECT DISTINCT lot FROM parts WHERE lot <> ''",
    "package": "SELECT DISTINCT package FROM parts",
}
_MOST_LISTED = 20


def _listed(names: Iterable[str]) -> str:
    there = list(names)
    more = f" and {len(there) - _MOST_LISTED} more" if len(there) > _MOST_LISTED else ""
    return ", ".join(there[:_MOST_LISTED]) + more if there else "none"


def _serving(session: Session | None, happened: tuple[Event, ...]) -> Serving | None:
    decided = next((one.body for one in happened if one.kind == bodies.DECISION), None)
    if session is None or decided is None:
        return None
    return served(msgspec.json.decode(decided, type=bodies.Decided).served, session)


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
            # Each side from an index of its own: the label's, or that of the verdict.
            found = f"verdict = 'fail' AND {rows.FOUND_TYPE} = ?"
            term(f"(defect_type = ? AND defect_type <> '' OR {found})", kind, kind)
    if (part := asked.get("part")) is not None:
        term("part = ?", part)
    if lot := asked.get("lot"):
        term("lot = ? AND lot <> ''", lot)
    if package := asked.get("package"):
        sql = rows.OF_PACKAGE.format("?")
        term(sql, *(package,) * sql.count("?"))
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), values
