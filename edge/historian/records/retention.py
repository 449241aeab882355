"""Retention: the oldest events go, whole checkpointed spans with their parts; a tombstone stays.

A span ends at a checkpoint, and before the trigger of the first part that is still open. The chain
goes on across it: the signed tombstone holds the hashes before and after, and how much went.
"""

from __future__ import annotations

import math
import sqlite3
from typing import NamedTuple

import msgspec

from edge.historian.records import chain
from edge.signing import Signer

A_TIME = 20_000  # events a transaction, so that its log stays small
_ENDLESS = (1 << 63) - 1


class Wish(NamedTuple):
    """What may go: whatever any one of these allows.

    before_utc_ns: spans whose last event is older. keep_parts: what is older than the newest so
    many parts. max_bytes: as much as it takes for the database to be no larger, as far as spans
    go. most_events: of one call, so that it ends soon; a span goes as a whole.
    """

    before_utc_ns: int = 0
    keep_parts: int | None = None
    max_bytes: int | None = None
    most_events: int | None = None


class Removed(msgspec.Struct, frozen=True):
    """What went. evidence: the files of the parts that went. more: most_events held it up."""

    events: int = 0
    parts: int = 0
    first: int = 0
    last: int = 0
    evidence: tuple[str, ...] = ()
    more: bool = False


def remove(
    connection: sqlite3.Connection, signer: Signer, wish: Wish, *, reason: str, utc_ns: int
) -> Removed:
    """Remove what the wish allows and give its space back; sqlite3.Error where the disk refuses."""
    floor, by_age = _floor(connection), _aged(connection, wish)
    left = _ENDLESS if wish.most_events is None else wish.most_events
    first = begin = _first(connection)
    parts, evidence = 0, []
    while (stop := _stop(connection, wish, first, by_age, floor)) >= first and left > 0:
        last = _next(connection, first, min(stop, first + min(A_TIME, left) - 1))
        gone, files = _remove_span(connection, signer, (first, last), reason, utc_ns)
        parts, left = parts + gone, left - (last - first + 1)
        evidence += files
        first = last + 1
        # It frees a page a step, and `execute` takes one step only where no row comes of it.
        connection.executescript("PRAGMA incremental_vacuum")
    if first == begin:
        return Removed()
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # only now the file shrinks
    return Removed(first - begin, parts, begin, first - 1, tuple(evidence), stop >= first)


def _first(connection: sqlite3.Connection) -> int:
    """The first event that is not removed."""
    (last,) = connection.execute("SELECT max(last) FROM tombstones").fetchone()
    return (last or 0) + 1


def _floor(connection: sqlite3.Connection) -> int:
    """The last event that may go at all."""
    (still_open,) = connection.execute("SELECT min(event) FROM open_parts").fetchone()
    return _ENDLESS if still_open is None else still_open - 1


def _aged(connection: sqlite3.Connection, wish: Wish) -> int:
    """The last event that may go for its age; 0 for none."""
    (young,) = connection.execute(  # not the last old one: clocks are set back
        "SELECT min(event) FROM checkpoints WHERE utc_ns >= ?", (wish.before_utc_ns,)
    ).fetchone()
    older = _ENDLESS if young is None else young - 1
    aged = older if wish.before_utc_ns else 0
    if wish.keep_parts is not None:
        found = connection.execute(
            "SELECT event FROM parts ORDER BY event DESC LIMIT 1 OFFSET ?", (wish.keep_parts,)
        ).fetchone()
        aged = max(aged, found[0] if found else 0)
    return aged


def _stop(connection: sqlite3.Connection, wish: Wish, first: int, by_age: int, floor: int) -> int:
    """The checkpoint up to which everything goes, as it looks now; below `first` for nothing."""
    stop = _checkpoint(connection, "max", "<=", min(by_age, floor))
    if wish.max_bytes is not None:
        size = _bytes(connection)
        over = size - wish.max_bytes
        (head,) = connection.execute("SELECT max(event) FROM events").fetchone()
        if over > 0 and head is not None:
            events = math.ceil(over / size * (head - first + 1))
            enough = _checkpoint(connection, "min", ">=", first + events - 1)
            most = _checkpoint(connection, "max", "<=", floor)
            stop = max(stop, min(enough or most, most))
    return stop


def _next(connection: sqlite3.Connection, first: int, most: int) -> int:
    """The end of the next piece: the last checkpoint up to `most`, or one whole span."""
    last = _checkpoint(connection, "max", "<=", most)
    return last if last >= first else _checkpoint(connection, "min", ">=", first)


def _checkpoint(connection: sqlite3.Connection, which: str, side: str, event: int) -> int:
    asked = f"SELECT {which}(event) FROM checkpoints WHERE event {side} ?"
    (found,) = connection.execute(asked, (event,)).fetchone()
    return found or 0


def _bytes(connection: sqlite3.Connection) -> int:
    """What the database takes, without its free pages."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _remove_span(
    connection: sqlite3.Connection,
    signer: Signer,
    span: tuple[int, int],
    reason: str,
    utc_ns: int,
) -> tuple[int, list[str]]:
    """Remove one span in one transaction; how many parts went, and their pictures' files."""
    first, last = span
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute(
            "SELECT hash_after FROM tombstones WHERE last = ?", (first - 1,)
        ).fetchone()
        before = found[0] if found else chain.GENESIS
        (after,) = connection.execute("SELECT hash FROM events WHERE event = ?", (last,)).fetchone()
        within = "WHERE event BETWEEN ? AND ?"
        files = connection.execute(
            f"SELECT evidence FROM parts {within} AND evidence IS NOT NULL", span
        ).fetchall()
        parts = connection.execute(f"DELETE FROM parts {within}", span).rowcount
        events = connection.execute(f"DELETE FROM events {within}", span).rowcount
        connection.execute("DELETE FROM checkpoints WHERE event <= ?", (last,))
        connection.execute("DELETE FROM sessions WHERE closed <= ?", (last,))
        staying = connection.execute(
            "SELECT session, event, CAST(body AS BLOB) FROM sessions WHERE event <= ? "
            "ORDER BY event",
            (last,),
        )
        carried = chain.carried(staying.fetchall())
        numbers = (first, last, events, parts, utc_ns)
        hashes = (before, after, carried)
        signature = signer.sign(chain.tombstone_text(numbers, hashes, reason.encode()))
        connection.execute(
            "INSERT INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*numbers, *hashes, reason, signature),
        )
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return parts, [name for (name,) in files]
