"""The writer of the inspection records: events in a hash chain, and the rows that follow from them.

Everything taken between two commits is one transaction, synced to disk: a process killed at any
instant leaves a database that opens, verifies, and holds exactly the committed groups.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge.core.errors import RecordsError
from edge.core.history import Checkpointed, Ended, Session, Told
from edge.historian.records import bodies, open_parts, retention, store
from edge.historian.records.group import Group
from edge.historian.records.open_parts import Known
from edge.historian.records.retention import Removed
from edge.historian.records.sitting import Sitting

MOST_WAITING = 50_000  # events in memory while the disk refuses them: about 60 MB


class Books:
    """One database open for writing; one thread uses it."""

    def __init__(self, path: Path | str, *, key: Path | None = None, every: int = 1000) -> None:
        """Open or make the database at `path`. key: signs it, NAME.key beside it by default.

        A checkpoint is signed after every so many events. RecordsError where the database or its
        key cannot be used, or somebody else writes to it.
        """
        self.path = Path(path)
        self._connection, self._signer, self._lock = store.open_writing(self.path, key)
        self._every = every
        with store.in_words(self.path):
            self._group = Group(*store.head(self._connection))
            self._group.written = open_parts.stages(self._connection)
            self._last = store.last_checkpoint(self._connection)
        self._new: Checkpointed | None = None  # signed, and not returned by a commit yet
        self._sitting: Sitting | None = None
        self._number = 0

    @property
    def head(self) -> tuple[int, str]:
        """The number and the hash, in hex, of the last event taken."""
        return self._group.event, self._group.head.hex()

    @property
    def full(self) -> bool:
        """Too much waits for the disk: `take` refuses until a commit succeeds."""
        return len(self._group) >= MOST_WAITING

    def begin(self, session: Session) -> int:
        """Begin a session, or go on with it; commits. The number of its last message on record.

        A session that never ended is closed as lost with its open parts, and what decides about
        parts and has changed since the session before is recorded.
        """
        self.commit()
        with store.in_words(self.path):
            known = open_parts.known(self._connection, session.session)
            if known is not None:  # another process wrote some of it, and was killed
                self._sitting, self._number = self._sit(known), known.number
                return known.number
            self._lose_others(session.started_utc_ns)
            before = open_parts.session_before(self._connection, session.station)
        if self._group.event == 0:
            body = bodies.encode(bodies.Key(self._signer.public.hex()))
            utc_ns = session.started_utc_ns
            self._group.add(bodies.KEY, body, session=0, at_ns=0, utc_ns=utc_ns)
        self._sitting, self._number = self._sit(Known(session, {}, lot=session.lot)), 0
        self._sitting.begin(before)
        self._sign_when_due()
        self.commit()
        return 0

    def take(self, told: Told, utc_ns: int) -> None:
        """Put a message of the session on record, in memory until the next commit.

        RecordsError while too much waits for a disk that refuses it, or before `begin`.
        """
        self._ready().take(told, utc_ns)
        if isinstance(told, Ended):
            self._sign()
        self._sign_when_due()

    def evidence(self, session: int, part: int, file_name: str, *, utc_ns: int = 0) -> None:
        """A part's picture lies in the folder of evidence; errors as of `take`.

        utc_ns: 0 for that of the last event.
        """
        self._ready().evidence(session, part, file_name, utc_ns or self._group.utc_ns)
        self._sign_when_due()

    def commit(self, number: int = 0) -> Checkpointed | None:
        """Write what was taken, synced; the last checkpoint in it, None without one.

        number: of the station's last message in it, for `begin` to return. RecordsError where the
        disk refuses: nothing is written then, and the next commit tries all of it again.
        """
        if len(self._group) == 0 and number <= self._number:
            return None
        number = max(number, self._number)
        sitting = self._sitting
        heard = (sitting.session.session, number) if sitting else None
        with store.in_words(self.path):
            self._group.write(self._connection, sitting.stages() if sitting else {}, heard)
        self._number = number
        new, self._new = self._new, None
        return new

    def checkpoint(self) -> Checkpointed:
        """Sign the chain as it stands, and commit; the last checkpoint where nothing came since."""
        if self._last is None or self._group.event > self._last.event:
            self._sign()
        self.commit()
        assert self._last is not None
        return self._last

    def retain(
        self,
        *,
        before_utc_ns: int = 0,
        keep_parts: int | None = None,
        max_bytes: int | None = None,
        most_events: int | None = None,
        reason: str = "",
        utc_ns: int = 0,
    ) -> Removed:
        """Commit, then remove the oldest whole checkpointed spans: retention.Wish says which.

        utc_ns: when it is done; 0 for the last event's.
        """
        self.commit()
        wish = retention.Wish(before_utc_ns, keep_parts, max_bytes, most_events)
        at_ns = utc_ns or self._group.utc_ns
        with store.in_words(self.path):
            return retention.remove(
                self._connection, self._signer, wish, reason=reason, utc_ns=at_ns
            )

    def close(self) -> None:
        """Commit and close; RecordsError where the last commit fails, closed all the same."""
        try:
            self.commit()
        finally:
            self._connection.close()
            os.close(self._lock)

    def _sit(self, known: Known) -> Sitting:
        def is_written(session: int, part: int) -> bool:
            with store.in_words(self.path):
                return open_parts.has_row(self._connection, session, part)

        return Sitting(self._group, known, is_written)

    def _lose_others(self, utc_ns: int) -> None:
        """Close the sessions that did not end; all is committed, so the tables say what is open."""
        for left in open_parts.unfinished(self._connection):
            self._sitting = self._sit(left)
            self._sitting.lose(utc_ns)

    def _ready(self) -> Sitting:
        if self.full:
            waits = f"{len(self._group)} events wait for the disk"
            raise RecordsError(f"{self.path}: {waits}; no more is taken until it takes them")
        return self._running()

    def _running(self) -> Sitting:
        if self._sitting is None:
            raise RecordsError(f"{self.path}: no session has begun")
        return self._sitting

    def _sign_when_due(self) -> None:
        if self._group.event - (self._last.event if self._last else 0) >= self._every:
            self._sign()

    def _sign(self) -> None:
        signed = self._group.sign(self._signer, self._running().session.session)
        self._last = self._new = Checkpointed(
            signed.event, signed.hash.hex(), signed.signature.hex()
        )
