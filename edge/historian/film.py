"""Pictures on their way to the disk: footage and evidence, in a thread of their own.

A disk that stands still holds up this thread and nobody else; what does not fit in the queue
meanwhile is refused, and counted by the caller.
"""

from __future__ import annotations

import struct
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.core.clock import NS_PER_S, now_ns
from edge.core.config import RecordingOptions, RecordsOptions
from edge.core.history import Closed, Noted, Opened, Session
from edge.core.pool import View
from edge.core.types import Verdict
from edge.historian import evidence
from edge.historian.disk import Disk, Given, thin
from edge.historian.footage import FootageWriter

SUFFIX = ".mcap"
MOST_WAITING_BYTES = 64 << 20
THIN_NS = 60 * NS_PER_S  # between two looks for files to delete
FLUSH_NS = NS_PER_S  # what is lost at most with the power, beside what the disk itself loses


class Shot(NamedTuple):
    """A finished part, with copies of its views and map where its picture was kept."""

    opened: Opened
    closed: Closed
    views: Mapping[str, View] | None
    defect_map: View | None

    @property
    def size(self) -> int:
        arrays = self.views.values() if self.views else ()
        return sum(array.nbytes for array in arrays) + 1000

    @property
    def is_event(self) -> bool:
        """Whether people will want to see what was around it."""
        return self.closed.record.decision.verdict is not Verdict.PASS


Told = Callable[[str, int, str], None]


class Film:
    """Takes shots and events, and writes them; `close` writes what is left."""

    def __init__(
        self,
        session: Session,
        records: RecordsOptions,
        recording: RecordingOptions,
        *,
        tell: Told,
        kept: Callable[[str, int, str], None],
        utc_ns: Callable[[], int],
    ) -> None:
        """tell: hears of troubles; kept: of each part's evidence and footage, once it is on disk.

        Both are called in the thread.

        RecordsError or OSError where the folders cannot be made.
        """
        self._session, self._tell, self._kept, self._utc_ns = session, tell, kept, utc_ns
        self._evidence = _evidence_folder(records)
        self._sample = _Sample(records.pass_share)
        self._keeping = _Keeping(records, recording)
        self._reel = _Reel(session, recording, kept) if recording.path else None
        least = round(records.min_free_gib * 2**30)
        self._footage_disk = Disk(footage_folder(recording), least) if recording.path else None
        self._records_disk = (
            Disk(Path(records.path).absolute().parent, least) if records.path else None
        )
        self._queue: deque[Shot | Noted] = deque()
        self._waiting = self._let_go = 0
        self._lock = threading.Condition()
        self._closing = self._broken = False
        self._thin_ns = self._flush_ns = 0
        self._thread = threading.Thread(target=self._run, name="edge-film", daemon=True)
        self._thread.start()

    @property
    def given(self) -> Given:
        """What the disk of the records has been given up for."""
        return self._records_disk.given if self._records_disk else Given.NOTHING

    def has_room(self, size: int) -> bool:
        """Whether a shot of so many bytes would be taken now."""
        return not self._broken and self._waiting + size <= MOST_WAITING_BYTES

    def await_room(self, size: int) -> None:
        """Wait for it: in a replay whose time stands still meanwhile, nothing need be lost."""
        with self._lock:
            self._lock.wait_for(lambda: self._broken or self.has_room(size))

    def take(self, item: Shot | Noted) -> None:
        """Queue it; words that come in spite of a full queue are let go, and counted."""
        size = item.size if isinstance(item, Shot) else 1000
        with self._lock:
            if self._broken or self._waiting > 2 * MOST_WAITING_BYTES:
                self._let_go += 1
                return
            self._queue.append(item)
            self._waiting += size
            self._lock.notify_all()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()

    # ---- the thread ----

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # the thread's boundary: the records go on without it
            traceback.print_exc()
            self._broken = True
            self._tell("disk", 0, f"no footage and no evidence any more: {error!r}")

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._queue and not self._closing:
                    self._lock.wait(timeout=1.0)
                item = self._queue.popleft() if self._queue else None
                done = item is None and self._closing
            if done:
                break
            self._look()
            if item is not None:
                self._write(item)
                with self._lock:
                    self._waiting -= item.size if isinstance(item, Shot) else 1000
                    self._lock.notify_all()
        if self._reel:
            self._guarded(Given.FOOTAGE, self._reel.close)

    def _look(self) -> None:
        at_ns = now_ns()
        for watched in (self._footage_disk, self._records_disk):
            if watched and (changed := watched.look(at_ns)):
                self._tell("disk", 0, changed)
        if self._let_go and self.has_room(0):
            count, self._let_go = self._let_go, 0
            self._tell("footage_gap", 0, f"{count} parts and events are in no footage at all")
        if at_ns >= self._thin_ns:
            self._thin_ns = at_ns + THIN_NS
            lacking = self._footage_disk.lacking_bytes() if self._footage_disk else 0
            self._keeping.thin(self._utc_ns(), self._reel.file if self._reel else None, lacking)
        if self._reel and at_ns >= self._flush_ns:
            self._flush_ns = at_ns + FLUSH_NS
            self._guarded(Given.FOOTAGE, self._reel.flush)

    def _write(self, item: Shot | Noted) -> None:
        if self._reel and self._has_disk():
            reel = self._reel
            if not self._guarded(Given.FOOTAGE, lambda: reel.take(item)):
                self._lose(item)
        elif self._reel:
            self._lose(item)
        if not isinstance(item, Shot) or item.views is None or self._evidence is None:
            return
        if not (item.is_event or self._sample.takes(item.closed)):
            return
        there = self.given < Given.EVIDENCE
        if not (there and self._guarded(Given.EVIDENCE, lambda: self._show(item))):
            self._lose(item)

    def _has_disk(self) -> bool:
        return self._footage_disk is not None and self._footage_disk.given < Given.FOOTAGE

    def _show(self, shot: Shot) -> None:
        assert self._evidence is not None
        assert shot.views is not None
        views = self._session.views
        number, closed = self._session.session, shot.closed
        name = evidence.write(self._evidence, number, closed, views, shot.views, shot.defect_map)
        self._kept("evidence", closed.record.part, name)

    def _lose(self, item: Shot | Noted) -> None:
        if isinstance(item, Shot) and item.views is not None:
            self._tell("picture_lost", item.closed.record.part, "no room on the disk")

    def _guarded(self, what: Given, write: Callable[[], object]) -> bool:
        """Write; a disk that refuses costs what is given up first, never the process."""
        try:
            write()
        except (OverflowError, ValueError, TypeError, struct.error) as error:  # fits in no file
            self._tell("unrecordable", 0, f"not in footage: {error!r}"[:1000])
            return False
        except OSError as error:
            self._tell("disk", 0, f"{error.strerror or error}")
            watched = self._footage_disk if what is Given.FOOTAGE else self._records_disk
            if watched and (changed := watched.full(what, now_ns())):
                self._tell("disk", 0, changed)
            if what is Given.FOOTAGE and self._reel:
                for part in self._reel.abandon():
                    self._tell("picture_lost", part, "its file could not be finished")
            return False
        return True


class _Sample:
    """Every so many-th part that passed."""

    def __init__(self, share: float) -> None:
        self._every = round(1 / share) if share else 0

    def takes(self, closed: Closed) -> bool:
        return self._every > 0 and closed.record.part % self._every == 0


class _Keeping:
    """Which files go when, by age and size."""

    def __init__(self, records: RecordsOptions, recording: RecordingOptions) -> None:
        # One file of a given name lies in somebody's own folder, where nothing is ours to delete.
        single = recording.path.endswith(SUFFIX)
        self._footage = Path(recording.path) if recording.path and not single else None
        self._footage_bytes = round(recording.keep_gib * 2**30)
        self._footage_days = recording.keep_days
        self._evidence = _evidence_folder(records)
        self._evidence_bytes = round(records.keep_gib * 2**30)
        self._evidence_days = records.keep_days

    def thin(self, utc_ns: int, writing: Path | None, lacking: int) -> None:
        """Delete what is too old or too much; and for want of space so many bytes of footage."""
        if self._footage and self._footage.is_dir():
            files = [file for file in self._footage.glob(f"*{SUFFIX}") if file != writing]
            own = _size(writing) if writing else 0
            most = max(1, self._footage_bytes - own) if self._footage_bytes else 0
            if lacking:
                left = max(1, sum(map(_size, files)) - lacking)
                most = min(most, left) if most else left
            thin(files, most_bytes=most, oldest_ns=_before(utc_ns, self._footage_days))
        if self._evidence and (self._evidence_bytes or self._evidence_days):
            files = list(self._evidence.glob("*.png"))
            oldest_ns = _before(utc_ns, self._evidence_days)
            thin(files, most_bytes=self._evidence_bytes, oldest_ns=oldest_ns)


class _Reel:
    """Footage files, one after another; all parts, or those around events from a ring."""

    def __init__(
        self, session: Session, options: RecordingOptions, kept: Callable[[str, int, str], None]
    ) -> None:
        self._session, self._options, self._kept = session, options, kept
        self._written: list[int] = []  # parts with views, not known to be on disk yet
        self._single = options.path.endswith(SUFFIX)  # one file of that name, whatever its size
        footage_folder(options).mkdir(parents=True, exist_ok=True)
        self._ring: deque[Shot] = deque()
        self._until_ns = 0  # of a part's trigger: kept until then
        self._files = 0
        self._writer: FootageWriter | None = None
        self.file: Path | None = None

    def take(self, item: Shot | Noted) -> None:
        if isinstance(item, Noted):
            if self._writer:
                self._writer.event(item.kind, item.part, item.detail, item.at_ns)
            return
        if self._options.keep == "all":
            self._put(item)
            return
        trigger_ns = _trigger_ns(item)
        self._ring.append(item)
        first_ns = trigger_ns - round(self._options.pre_s * NS_PER_S)
        while _trigger_ns(self._ring[0]) < first_ns or self._is_full():
            self._ring.popleft()
        if item.is_event:
            self._until_ns = trigger_ns + round(self._options.post_s * NS_PER_S)
        if trigger_ns <= self._until_ns:
            while self._ring:
                self._put(self._ring.popleft())

    def _is_full(self) -> bool:
        return sum(shot.size for shot in self._ring) > MOST_WAITING_BYTES and len(self._ring) > 1

    def _put(self, shot: Shot) -> None:
        if self._writer is None:
            self.file = self._name()
            self._writer = FootageWriter(
                self.file,
                self._session,
                codec=self._options.codec,
                quality=self._options.jpeg_quality,
            )
        self._writer.part(shot.opened, shot.closed, shot.views)
        if shot.views is not None:
            self._written.append(shot.closed.record.part)
        assert self.file is not None
        if not self._single and self._writer.size >= self._options.file_mib << 20:
            self.close()

    def _name(self) -> Path:
        path = Path(self._options.path)
        self._files += 1
        if self._single:  # never over what is there already, of this run or another
            while path.exists():
                self._files += 1
                path = path.with_name(f"{Path(self._options.path).stem}-{self._files}{SUFFIX}")
            return path
        return path / f"{self._session.session:016x}-{now_ns():020d}{SUFFIX}"

    def flush(self) -> None:
        """End the chunk: what is written so far outlives a kill."""
        if self._writer:
            self._writer.flush()
            self._tell()

    def _tell(self) -> None:
        assert self.file is not None
        for part in self._written:
            self._kept("footage", part, self.file.name)
        self._written.clear()

    def close(self) -> None:
        """Write the footer of the current file; the next part begins another."""
        if self._writer:
            self._writer.close()
            self._tell()
            self._writer = self.file = None

    def abandon(self) -> list[int]:
        """Leave the file, readable to its last whole chunk; which parts are not in it."""
        lost, self._written = self._written, []
        if self._writer:
            writer, self._writer, self.file = self._writer, None, None
            writer.abandon()
        return lost


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _trigger_ns(shot: Shot) -> int:
    return shot.closed.record.deadline.trigger_ns


def footage_folder(options: RecordingOptions) -> Path:
    """Where the files are: the path itself, or the folder of the one file it names."""
    path = Path(options.path)
    return path.absolute().parent if options.path.endswith(SUFFIX) else path


def copied(views: Mapping[str, View]) -> dict[str, View]:
    """The views, to be kept beyond their lease."""
    return {name: np.array(array) for name, array in views.items()}


def _evidence_folder(records: RecordsOptions) -> Path | None:
    if not records.path or not records.evidence:
        return None
    folder = evidence.folder_of(Path(records.path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _before(utc_ns: int, days: float) -> int:
    return round(utc_ns - days * 86_400 * NS_PER_S) if days else 0
