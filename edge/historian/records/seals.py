"""What is signed: checkpoints and tombstones, against the one key of a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from edge.historian.records import bodies, chain
from edge.historian.records.problems import Problems
from edge.signing import is_signed

_CHECKPOINTS = "SELECT event, hash, utc_ns, public_key, signature FROM checkpoints ORDER BY event"
_TOMBSTONES = (
    "SELECT first, last, events, parts, utc_ns, hash_before, hash_after, carried, "
    "CAST(reason AS BLOB), signature FROM tombstones ORDER BY first"
)
Checkpoint = tuple[int, bytes, int, bytes, bytes]


class Seals:
    """Checks the key and the tombstones at once, the checkpoints as their events come."""

    def __init__(self, connection: sqlite3.Connection, problems: Problems) -> None:
        """removed: the last event that retention removed, with hash_after.

        ends: the events whose hashes tombstones keep.
        """
        self._problems = problems
        keys = connection.execute("SELECT public_key FROM keys").fetchall()
        self.public_key: bytes = keys[0][0] if keys else b""
        if len(keys) != 1:
            problems.add(f"keys: {len(keys)} of them; there is one")
        self.removed, self.hash_after = 0, chain.GENESIS
        self.ends: list[tuple[int, bytes]] = []
        self._tombstones(connection)
        self.checkpoints, self.last_signed = 0, self.removed
        self._rows: Iterator[Checkpoint] = iter(connection.execute(_CHECKPOINTS))
        self._row = next(self._rows, None)

    def _tombstones(self, connection: sqlite3.Connection) -> None:
        last_carried: bytes | None = None
        for *numbers, before, after, carried, reason, signature in connection.execute(_TOMBSTONES):
            first, last, events, parts, utc_ns = numbers
            name = f"tombstone of events {first} to {last}"
            if first != self.removed + 1 or before != self.hash_after or last < first:
                self._problems.add(f"{name}: does not go on from event {self.removed}")
            text = chain.tombstone_text(
                (first, last, events, parts, utc_ns), (before, after, carried), reason
            )
            if not is_signed(self.public_key, signature, text):
                self._problems.add(f"{name}: its signature is wrong")
            self.removed, self.hash_after, last_carried = last, after, carried
            self.ends.append((last, after))
        if last_carried is None:
            return
        staying = connection.execute(
            "SELECT session, event, CAST(body AS BLOB) FROM sessions WHERE event <= ? "
            "ORDER BY event",
            (self.removed,),
        )
        if chain.carried(staying) != last_carried:
            self._problems.add(f"sessions: those begun up to event {self.removed} were changed")

    def key(self, event: int, kind: str, body: bytes) -> None:
        """The first event says whose checkpoints they are."""
        try:
            told = msgspec.json.decode(body, type=bodies.Key).public_key
        except msgspec.MsgspecError:
            told = ""
        if (event, kind, told) != (1, bodies.KEY, self.public_key.hex()):
            self._problems.add(f"event {event}: not the key that signs")

    def checkpoint(self, event: int, utc_ns: int, digest: bytes) -> None:
        """An event of kind checkpoint: its signature lies in the table, and is right."""
        self._extra(event)
        row = self._row
        if row is None or row[0] != event:
            self._problems.add(f"checkpoint at event {event}: its signature is missing")
            return
        _, signed, signed_utc_ns, public_key, signature = row
        text = chain.checkpoint_text(event, signed_utc_ns, signed)
        if (signed, signed_utc_ns) != (digest, utc_ns):
            self._problems.add(f"checkpoint at event {event}: not of this event's hash and time")
        elif public_key != self.public_key:
            self._problems.add(f"checkpoint at event {event}: signed with another key")
        elif not is_signed(self.public_key, signature, text):
            self._problems.add(f"checkpoint at event {event}: its signature is wrong")
        else:
            self.checkpoints, self.last_signed = self.checkpoints + 1, event
        self._row = next(self._rows, None)

    def finish(self) -> None:
        self._extra(None)

    def _extra(self, event: int | None) -> None:
        """Signatures before the event (None: all that are left) that no event asks for."""
        while self._row is not None and (event is None or self._row[0] < event):
            self._problems.add(
                f"checkpoint at event {self._row[0]}: no event says that it was made"
            )
            self._row = next(self._rows, None)
