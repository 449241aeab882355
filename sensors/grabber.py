"""The thread behind every camera, and the mailbox through which it reaches the loop.

The thread leases slots and writes their views; everything else happens in the loop's thread.
Events travel through a deque (append and popleft are atomic) and an eventfd that wakes the
loop. The thread spends its time in calls that let go of the interpreter lock (file reads,
OpenCV), so the loop waits for it for tens of microseconds, not for a decode.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

import cv2

from edge.core.pool import FramePool, Holder, View
from edge.core.ports import Clock
from edge.core.types import Fault, Record, Trigger

JOIN_S = 1.0  # how long close waits for a device that does not let go of a read

Write = Callable[[dict[str, View]], int | None]  # see Reader.fill in sensors/scheduled.py


class UnreadError(Exception):
    """A part whose views cannot be had; carries the fault and one line for the record."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault, self.detail = fault, detail


class Filled(Record, frozen=True):
    """A part's views are whole; the slot is the grabber's until the loop takes the event.

    registration_ns: how long registering the references took, which can begin no sooner than the
    picture is taken.
    """

    part: int
    slot: int
    generation: int
    finished_ns: int
    registration_ns: int = 0


class Failed(Record, frozen=True):
    """A part without views; slot is -1 where none was leased."""

    part: int
    fault: Fault
    detail: str
    slot: int = -1


class Note(Record, frozen=True):
    """Something worth a line that belongs to no part, such as a reconnection."""

    kind: str
    detail: str
    part: int = 0


Event = Trigger | Filled | Failed | Note


class Grabber:
    """Runs a camera's work in a thread and carries its events to the loop; owns no schedule."""

    def __init__(self, pool: FramePool, clock: Clock, name: str) -> None:
        self._pool, self._clock = pool, clock
        self._events: deque[Event] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._errand = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._work: Callable[[], None] | None = None
        self._closed = False
        self.stopping = False  # written by the loop, read by the thread
        self.missed = 0  # parts for which no slot was free
        self.crashed = ""  # why the thread ended before its time; nothing is posted after it
        self.done = False  # set by the thread after its last post

    def start(self, work: Callable[[], None]) -> None:
        """Run `work` in the thread; it must return soon after `stopping` is set."""
        self._work = work
        self._thread.start()

    # ---- in the grabber's thread ----

    def _run(self) -> None:
        assert self._work is not None
        # OpenCV's own threads would take the loop's core: on 2 cores, with parts of 256 px
        # rendered at 60/s, the 99th percentile of a poll was 2.4 ms, and is 0.1 ms with one.
        cv2.setNumThreads(1)
        try:
            self._work()
        except Exception as why:  # the thread's boundary: the loop must hear of it, not stderr
            self.crashed = f"camera thread: {type(why).__name__}: {why}"
        self.done = True
        self.ring()

    def fill(self, part: int, write: Write) -> None:
        """Lease a slot, write the part's views, and post what came of it.

        Without a free slot the part is a missed trigger, and counted. Does not ring.
        """
        lease = self._pool.lease(part)
        if lease is None:
            self.missed += 1
            detail = f"all {self._pool.slots} slots of the pool are held"
            self.post(Failed(part, Fault.MISSED_TRIGGER, detail))
            return
        slot, generation = lease
        event: Event
        try:
            registration_ns = write(self._pool.arrays(slot)) or 0
            event = Filled(part, slot, generation, self._clock.now_ns(), registration_ns)
        except UnreadError as why:
            event = Failed(part, why.fault, why.detail, slot)
        except Exception as why:  # whatever a decoder throws costs this part and no other
            event = Failed(part, Fault.BAD_FRAME, f"{type(why).__name__}: {why}", slot)
        self.post(event)

    def post(self, event: Event) -> None:
        self._events.append(event)

    def ring(self) -> None:
        """Make `fileno` readable. Ring after the post, so that a wake never finds nothing."""
        os.eventfd_write(self._wake, 1)

    def await_errand(self) -> None:
        """Sleep until the loop calls `send`; a call made just before is not lost."""
        os.eventfd_read(self._errand)

    @property
    def errand_fd(self) -> int:
        """Readable once the loop has called `send` or `close`; for a wait with a time limit."""
        return self._errand

    # ---- in the loop's thread ----

    def fileno(self) -> int:
        return self._wake

    def send(self) -> None:
        """Wake the thread: a part arrived, a slot may be free, or it is time to stop."""
        os.eventfd_write(self._errand, 1)

    def quiet(self) -> None:
        """Take back the rings so far; look at the events after this, never before."""
        with contextlib.suppress(BlockingIOError):  # nobody rang
            os.eventfd_read(self._wake)

    def head(self) -> Event | None:
        """The oldest event, left in place."""
        return self._events[0] if self._events else None

    def take(self) -> Event:
        """Remove the oldest event; a failed part's slot is released here, in the loop's thread."""
        event = self._events.popleft()
        if isinstance(event, Failed) and event.slot >= 0:
            self._pool.release(event.slot, Holder.PART)
        return event

    def dismiss(self) -> None:
        """Tell the thread to end; what it posted can still be taken."""
        self.stopping = True
        self.send()

    def close(self) -> None:
        """Stop and join the thread, and release what it leased and nobody took; twice is fine."""
        if self._closed:
            return
        self._closed = True
        self.dismiss()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        while self._events:
            event = self.take()
            if isinstance(event, Filled):
                self._pool.release(event.slot, Holder.PART)
        if not self._thread.is_alive():  # a thread stuck in a device still writes to them
            os.close(self._wake)
            os.close(self._errand)
