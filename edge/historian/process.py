"""The historian: a child of the station that writes records, footage and evidence.

It may be slow, hang or die: the station goes on, and tells the next one what this one had not
committed. Records are committed in groups, at most COMMIT_NS after the first of a group came.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns, utc_ns
from edge.core.config import RecordsOptions
from edge.core.errors import EdgeError
from edge.core.history import (
    Changed,
    Checkpointed,
    Closed,
    Committed,
    Ended,
    Envelope,
    Heard,
    HistorianPlan,
    Noted,
    Opened,
    Refused,
    Session,
    Started,
    Told,
    Trouble,
)
from edge.core.pool import FramePool, View
from edge.core.process import die_with_parent
from edge.historian import evidence
from edge.historian.disk import Given
from edge.historian.film import Film, Shot, copied

if TYPE_CHECKING:
    from edge.historian.records.books import Books

COMMIT_NS = 50 * NS_PER_MS  # an fsync took up to 40 ms here: together below the promised 100
MOST_AT_ONCE = 256  # messages between two looks at the time
GENTLE = 19  # nice: the line's own processes come first, always
RETAIN_NS, RETAIN_EVENTS = 3600 * NS_PER_S, 5000  # 5,007 events took 70 ms
PAGE_NS = 60 * NS_PER_S
RETRY_NS = NS_PER_S  # after a commit that the disk refused
CLOCK_JUMP_NS = NS_PER_S  # of UTC against the station's clock: worth an event

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Envelope)


class Historian:
    """The books, the film and the socket of one station."""

    def __init__(self, plan: HistorianPlan, link: socket.socket) -> None:
        """RecordsError, FootageError or OSError where the files cannot be opened."""
        self._plan, self._link = plan, link
        session = plan.session
        self._pool = FramePool(plan.pool_fd, session.views, plan.slots, session.map_shape)
        self._utc = _Utc(session)
        self._books = _books(plan.records)
        self._number = self._books.begin(session) if self._books else 0
        self._told = self._committed = self._number
        # What other threads have for the books; deque's ends are safe to share.
        self._asides: deque[tuple[str, int, str]] = deque()
        self._film: Film | None = None
        if plan.recording.path or plan.records.path:
            self._film = Film(
                session,
                plan.records,
                plan.recording,
                tell=lambda kind, part, detail: self._asides.append((kind, part, detail)),
                kept=lambda kind, part, name: self._asides.append((kind, part, name)),
                utc_ns=self._utc.now_ns,
            )
        self._page = _Page(plan) if plan.records.report else None
        self._open: dict[int, Opened] = {}
        self._commit_ns = self._retain_ns = 0
        self._refusal = ""  # why the last commit failed
        self._ended = False

    def run(self) -> None:
        """Serve until the station closes the socket, and then write what is left."""
        self._say(Started(self._number))
        while self._hear():
            self._settle(now_ns())
        if self._film:
            self._film.close()
        self._settle(now_ns(), at_once=True)
        if self._books:
            if self._page:
                self._page.close()
            if self._ended:  # with the names of the last files, which came after the station's end
                self._books.checkpoint()
            self._books.close()

    # ---- hearing ----

    def _hear(self) -> bool:
        """Take what has come, for a while; False at the end of the socket."""
        wait_s = 0.2
        if self._commit_ns:
            wait_s = max(0.0, (self._commit_ns - now_ns()) / NS_PER_S)
        if self._is_full():  # the disk refuses: the station keeps the rest
            select.select((), (), (), wait_s)
            return True
        if not select.select((self._link,), (), (), wait_s)[0]:
            return True
        for _ in range(MOST_AT_ONCE):
            if self._is_full():
                return True
            try:
                data = self._link.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            envelope = _decoder.decode(data)
            if envelope.number > self._told:  # else told again after a predecessor's death
                self._told = envelope.number
                self._take(envelope.told)
        return True

    def _is_full(self) -> bool:
        return self._books is not None and self._books.full

    def _take(self, told: Told) -> None:
        self._commit_ns = self._commit_ns or now_ns() + COMMIT_NS
        match told:
            case Opened():
                self._open[told.part] = told
            case Closed():
                told = self._shoot(told)
            case Noted():
                if self._film:
                    self._film.take(told)
            case Ended():
                self._ended = True
            case Changed():
                pass
        self._record(told, self._utc.of(told))

    def _record(self, told: Told, at_utc_ns: int) -> None:
        """Put a message on record; one that the books cannot take is there as words."""
        books = self._books
        if books is None:
            return
        try:
            books.take(told, at_utc_ns)
        except Exception as error:  # told again to every successor, it would stop all records
            words = f"{error!r}: {told!r}"[:1000]
            self._say(Trouble("unrecordable", words))
            books.take(Noted("unrecordable", 0, words, 0), self._utc.now_ns())

    def _shoot(self, closed: Closed) -> Closed:
        """Copy the part's views, and let its slot go."""
        record = closed.record
        opened = self._open.pop(record.part, None) or Opened(
            record.part, record.number, record.encoder, record.deadline
        )
        views: dict[str, View] | None = None
        defect_map: View | None = None
        film = self._film
        if closed.slot >= 0:
            slot, generation = closed.slot, closed.generation
            arrays = self._pool.arrays(slot)
            size = sum(array.nbytes for array in arrays.values())
            if film and self._plan.session.virtual:
                film.await_room(size)
            if film and film.has_room(size) and self._pool.generation(slot) == generation:
                views, kept = copied(arrays), self._pool.map(slot)
                if kept is not None and record.decision.score is not None:
                    defect_map = kept.copy()
                if self._pool.generation(slot) != generation:
                    views = defect_map = None
            self._pool.see(slot, generation)
        if closed.picture == "kept" and views is None:
            closed = msgspec.structs.replace(closed, picture="lost")
        if film:
            film.take(Shot(opened, closed, views, defect_map))
        return closed

    # ---- writing ----

    def _settle(self, at_ns: int, *, at_once: bool = False) -> None:
        """Commit what is due, and say so."""
        while self._asides and not self._is_full():
            self._take_aside(*self._asides.popleft())
        if jumped := self._utc.jump():
            self._take_aside("clock", 0, jumped)
        if not at_once and (not self._commit_ns or at_ns < self._commit_ns):
            return
        self._commit_ns = 0
        if self._page:
            self._page.look(at_ns)
        if self._books and not self._commit(self._books):
            self._commit_ns = now_ns() + RETRY_NS
            self._say(Committed(self._committed))  # nothing new, but a sign of life
            return
        if self._told > self._committed:
            self._committed = self._told
            self._say(Committed(self._committed))
        if self._books and at_ns >= self._retain_ns and self._plan.records.keep_days:
            self._retain(self._books, at_ns)

    def _retain(self, books: Books, at_ns: int) -> None:
        """Remove some of what is too old; soon again while there is more, else in an hour."""
        days_ns = round(self._plan.records.keep_days * 86_400 * NS_PER_S)
        before_ns = self._utc.now_ns() - days_ns
        try:
            removed = books.retain(before_utc_ns=before_ns, most_events=RETAIN_EVENTS, reason="age")
        except EdgeError as error:  # tried again in an hour
            self._retain_ns = at_ns + RETAIN_NS
            self._say(Trouble("records", str(error)))
            return
        self._retain_ns = at_ns + (NS_PER_S if removed.more else RETAIN_NS)
        folder = evidence.folder_of(Path(self._plan.records.path))
        for name in removed.evidence:
            evidence.delete(folder, name)

    def _commit(self, books: Books) -> bool:
        if self._film and self._film.given >= Given.RECORDS:
            return False
        try:
            signed = books.commit(self._told)
        except EdgeError as error:
            if str(error) != self._refusal:  # not again every second
                self._refusal = str(error)
                self._say(Trouble("records", self._refusal))
            return False
        self._refusal = ""
        if signed:
            self._say(signed)
        return True

    def _take_aside(self, kind: str, part: int, detail: str) -> None:
        """What the film's thread has to tell: what of a part is on disk, and troubles of it."""
        if kind == "disk":
            self._say(Trouble(kind, detail))
        if not self._books:
            return
        self._commit_ns = self._commit_ns or now_ns() + COMMIT_NS
        if kind == "evidence":
            self._books.evidence(self._plan.session.session, part, detail)
        else:
            noted = Noted(kind, part, detail, self._utc.station_ns())
            self._record(noted, self._utc.now_ns())

    def _say(self, heard: Heard | Checkpointed) -> None:
        try:
            self._link.send(_encode(heard), socket.MSG_DONTWAIT)
        except OSError:  # gone, or not listening: what is on disk is on disk
            return


class _Page:
    """The report of the running session, in a thread: it takes a second of 100,000 parts."""

    def __init__(self, plan: HistorianPlan) -> None:
        self._records, self._since_ns = plan.records, plan.session.started_utc_ns
        self._thread: threading.Thread | None = None
        self._due_ns = 0

    def look(self, at_ns: int) -> None:
        """Begin a new page when one is due and the last one is done."""
        if at_ns < self._due_ns or (self._thread and self._thread.is_alive()):
            return
        self._due_ns = at_ns + PAGE_NS
        self._thread = threading.Thread(target=self._write, name="edge-page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The last page, of the whole session."""
        if self._thread:
            self._thread.join()
        self._write()

    def _write(self) -> None:
        from edge.historian.report.page import write

        offset_s = time.localtime(utc_ns() // NS_PER_S).tm_gmtoff
        with suppress(EdgeError):  # the next one is tried in a minute
            write(
                Path(self._records.report),
                Path(self._records.path),
                since_ns=self._since_ns,
                utc_offset_s=offset_s,
                written_utc_ns=utc_ns(),
                reload_s=PAGE_NS // NS_PER_S,
            )


class _Utc:
    """UTC of instants on the station's clock; a virtual clock began at the session's start."""

    def __init__(self, session: Session) -> None:
        self._virtual_ns = session.started_utc_ns - session.started_ns if session.virtual else None
        self._offset_ns = utc_ns() - now_ns()

    def jump(self) -> str:
        """What to say of UTC having jumped against the station's clock; "" where it has not."""
        offset_ns = utc_ns() - now_ns()
        jumped_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        if abs(jumped_ns) < CLOCK_JUMP_NS:
            return ""
        return f"this machine's UTC jumped by {jumped_ns / NS_PER_S:+.3f} s"

    def now_ns(self) -> int:
        return utc_ns()

    def station_ns(self) -> int:
        """The station's clock now; 0 for a virtual one, which nobody knows here."""
        return 0 if self._virtual_ns is not None else now_ns()

    def of(self, told: Told) -> int:
        """When it happened: of a part its trigger, else its own instant."""
        match told:
            case Opened():
                at_ns = told.deadline.trigger_ns
            case Closed():
                at_ns = told.record.decided_ns
            case Noted() | Changed() | Ended():
                at_ns = told.at_ns
        if self._virtual_ns is not None:
            return at_ns + self._virtual_ns
        return utc_ns() - (now_ns() - at_ns)


def _books(options: RecordsOptions) -> Books | None:
    if not options.path:
        return None
    from edge.historian.records.books import Books

    key = Path(options.key) if options.key else None
    return Books(Path(options.path), key=key, every=options.checkpoint_events)


def main(argument: str) -> None:
    """Be the historian of a plan: open everything, say whether it worked, and serve."""
    plan = msgspec.json.decode(argument, type=HistorianPlan)
    die_with_parent(plan.parent_pid)
    os.nice(GENTLE)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # it ends with the station's last word
    with socket.socket(fileno=plan.socket_fd) as link:
        try:
            historian = Historian(plan, link)
        except (EdgeError, OSError) as error:  # the reason must reach the person who started it
            reason = str(error) if isinstance(error, EdgeError) else _told(error)
            link.send(_encode(Refused(reason)))
            sys.exit(1)
        gc.freeze()
        historian.run()


def _told(error: OSError) -> str:
    return f"{error.filename or 'records'}: {error.strerror or error}"


if __name__ == "__main__":
    main(sys.argv[1])
