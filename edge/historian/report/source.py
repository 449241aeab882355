"""The inspection records as the report reads them: read-only, one snapshot, one period.

Everything that depends on the records' tables and event bodies is in this file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edge.core.figures import PICTURE_FAULTS
from edge.core.history import Session
from edge.historian.records.rows import OF_PACKAGE
from edge.historian.records.store import reading
from edge.historian.report.shift import Checkpoint

# What became of a part, in the words of shift.KINDS. The controller's word on what left the machine
# counts: a part that it never acked, or did its default with, is no catch.
_KIND = """CASE
    WHEN cause = 'lost' THEN 'lost'
    WHEN applied = 'accept' THEN 'accepted'
    WHEN applied IS NOT action OR verdict IS NULL THEN 'defaulted'
    WHEN action = 'reject' THEN 'rejected'
    WHEN action = 'rework' THEN 'reworked'
    ELSE 'held' END"""
_SCOPE = f"""WITH scope AS (
    SELECT *, {_KIND} AS kind, (utc_ns - :start_ns) / :step_ns AS period,
        CASE truth WHEN 'good' THEN 'good' WHEN 'defect' THEN 'defect' ELSE 'unknown' END AS known,
        CASE cause WHEN 'lost' THEN 'lost' WHEN 'operator' THEN 'held_by_operator'
            ELSE coalesce(fault, 'not_as_commanded') END AS reason
    FROM parts
    WHERE utc_ns >= :since_ns AND utc_ns < :until_ns {{narrower}}) """
# As edge/core/figures.py has it: nothing was late, there was no picture that could be judged.
_OF_PICTURES = ", ".join(f"'{fault}'" for fault in sorted(PICTURE_FAULTS))
PICTURE_OVERRUN = f"fault IN ({_OF_PICTURES}) AND received_ns BETWEEN 1 AND act_by_ns"
_ENDLESS_NS = (1 << 63) - 1


class Told(NamedTuple):
    """An event of the records, with its body as plain values."""

    kind: str
    session: int
    utc_ns: int
    body: dict[str, Any]


class Known(NamedTuple):
    """A session as it began; how it ended (ended | lost | open), with the last word on it."""

    session: Session
    outcome: str
    end: dict[str, Any]


class Source:
    """A snapshot of the records, and the parts of it that were asked for.

    `rows` selects from `scope`: the asked parts with their columns, and besides `kind`, `period`
    (its number, by start_ns and step_ns), `known` (good | defect | unknown) and `reason`.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        since_ns: int,
        until_ns: int,
        lot: str,
        package: str = "",
    ) -> None:
        self._connection, self.lot, self.package = connection, lot, package
        of_lot = "AND lot = :lot AND lot <> ''" if lot else ""
        of_package = f"AND {OF_PACKAGE.format(':package')}" if package else ""
        self._scope = _SCOPE.format(narrower=f"{of_lot} {of_package}")
        self.since_ns, self.until_ns = since_ns, min(until_ns or _ENDLESS_NS, _ENDLESS_NS)
        self._asked = {
            "since_ns": since_ns,
            "until_ns": self.until_ns,
            "lot": lot,
            "package": package,
        }
        self._asked |= {"start_ns": 0, "step_ns": 1}

    def divide(self, start_ns: int, step_ns: int) -> None:
        """Number the periods from here on; both in nanoseconds of UTC."""
        self._asked |= {"start_ns": start_ns, "step_ns": step_ns}

    def rows(self, select: str, **more: float | str) -> list[Any]:
        return self._connection.execute(self._scope + select, self._asked | more).fetchall()

    def row(self, select: str, **more: float | str) -> Any:
        return self.rows(select, **more)[0]

    def plain(self, select: str, *values: object) -> list[Any]:
        """Rows of any table, outside of the scope."""
        return self._connection.execute(select, values).fetchall()

    def sessions(self, wanted: Iterable[int]) -> dict[int, Known]:
        """Those of the wanted sessions that the records know and this version understands."""
        found = self.plain(
            "SELECT s.session, s.body, s.outcome, e.body FROM sessions AS s "
            "LEFT JOIN events AS e ON e.event = s.closed "
            "WHERE s.session IN (SELECT value FROM json_each(?))",
            listed(wanted),
        )
        return {
            number: Known(session, outcome or "open", _decoded(end, dict) or {})
            for number, body, outcome, end in found
            if (session := _decoded(body, Session)) is not None
        }

    def checkpoint(self) -> Checkpoint | None:
        """The last one of the whole database."""
        found = self.plain(
            "SELECT event, lower(hex(hash)), utc_ns, lower(hex(public_key)) FROM checkpoints "
            "ORDER BY event DESC LIMIT 1"
        )
        if not found:
            return None
        event, digest, utc_ns, public_key = found[0]
        return Checkpoint(event=event, hash=digest, utc_ns=utc_ns, public_key=public_key)

    def removed(self) -> int:
        """Parts that retention has removed from the whole database."""
        return int(self.plain("SELECT coalesce(sum(parts), 0) FROM tombstones")[0][0])

    def told(self, kinds: tuple[str, ...], since_ns: int) -> list[Told]:
        """The station's own events of some kinds from an instant on (UTC), in their order."""
        found = self.plain(
            "SELECT kind, session, utc_ns, body FROM events WHERE kind IN "
            "(SELECT value FROM json_each(?)) AND part = 0 AND utc_ns >= ? ORDER BY event",
            listed(kinds),
            since_ns,
        )
        return [
            Told(kind, session, utc_ns, _decoded(body, dict) or {})
            for kind, session, utc_ns, body in found
        ]


def listed(values: Iterable[int | str]) -> str:
    """One SQL parameter for a list of any length, read by json_each."""
    return msgspec.json.encode(list(values)).decode()


def _decoded(body: Any, kind: Any) -> Any:
    """A decoded body; None where it is no such thing, which `edge records verify` finds."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError):
        return None


@contextmanager
def opened(
    path: Path, *, since_ns: int, until_ns: int, lot: str, package: str = ""
) -> Iterator[Source]:
    """The parts of a database from since_ns up to until_ns (0: no limit), of a lot ("": of all).

    package: of this one alone, by its name or the first 8 or more digits of its content digest.
    RecordsError where it is absent, damaged, of a newer version, or no inspection records.
    """
    # A command line may hold what no text can.
    lot, package = (text.encode("utf-8", "replace").decode() for text in (lot, package))
    with reading(path) as connection:
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        yield Source(connection, since_ns, until_ns, lot, package)
