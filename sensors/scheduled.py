"""ScheduledCamera: parts that arrive on a schedule, decoded or rendered ahead of it.

The thread works up to `ahead` rows in front of the schedule, so that a decode costs the part
none of its budget; a part still appears at its arrival and not before. Where decoding falls
behind, the trigger comes on time and the frame later. What a station spends on a picture after it
was taken (a reference's registration) counts: the frame comes that much after the trigger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Literal, Protocol

from edge.core.pool import FramePool, View
from edge.core.ports import Clock
from edge.core.types import Fault, Frame, NoFrame, Trigger
from sensors.grabber import Filled, Grabber, Note

Label = Literal["good", "defect"]


class Reader(Protocol):
    """Writes rows into slots; made, used and closed in the grabber's thread."""

    def fill(self, row: int, arrays: Mapping[str, View]) -> int | None:
        """Write every view of a row; rows come in rising order. Raises UnreadError.

        Returns how many nanoseconds of it registered the references, which a camera's station
        would spend after the trigger.
        """

    def close(self) -> None: ...


class Rows(Protocol):
    """A series of parts and when each of them arrives. Rows count from 0, parts from 1."""

    @property
    def parts(self) -> int | None:
        """How many there are; None for no end."""

    def arrival_ns(self, row: int) -> int:
        """Nanoseconds from the start of the series; never falls from row to row."""

    def label(self, part: int) -> Label | None:
        """What the part is known to be, for scoring by the caller."""

    def defect_type(self, part: int) -> str:
        """Which defect it has; "" for none, or where nobody knows."""

    def encoder(self, row: int) -> int | None:
        """The belt's position as the row arrives, in counts; None without an encoder."""

    def reader(self) -> Reader: ...


class ScheduledCamera:
    """A `Camera` over rows; part n is row n - 1.

    The schedule starts at `start`, or at the first poll. at_most: the next part is held back
    while so many are open (1 is lock-step); if that makes it late, it arrives when it is let
    go, so that no part pays for the one before it.
    """

    def __init__(
        self,
        rows: Rows,
        pool: FramePool,
        clock: Clock,
        *,
        at_most: int | None = None,
        ahead: int = 3,
        spare: int | None = None,
    ) -> None:
        """ahead: rows decoded before they arrive. spare: free slots that decoding ahead leaves
        alone, a quarter of the pool (at least one) by default; a part that has arrived may
        take them.
        """
        if ahead < 0:
            raise ValueError(f"ahead {ahead}: 0 or more")
        self._rows, self._pool, self._at_most, self._ahead = rows, pool, at_most, ahead
        self._spare = max(1, pool.slots // 4) if spare is None else spare
        self._start_ns: int | None = None
        self._triggers = 0  # written by the loop, read by the thread
        self._starved = False  # written by the thread, read by the loop
        self._held_back = False
        self._moved = False  # parts have arrived that the thread has not been told of
        self._stopped = False
        self._arrivals: deque[int] = deque()  # trigger instants of the parts without outcome
        self._grabber = Grabber(pool, clock, "edge-footage")
        self._grabber.start(self._work)

    # ---- in the grabber's thread ----

    def _work(self) -> None:
        reader = self._rows.reader()
        try:
            for row in count():
                if row == self._rows.parts:
                    return
                self._await_turn(row)
                if self._grabber.stopping:
                    return
                self._grabber.fill(row + 1, partial(reader.fill, row))
                # Decoding ahead wakes nobody. The loop raises `triggers` before it looks for
                # events, and this reads it after the post: one of the two sees the other.
                if row < self._triggers:
                    self._grabber.ring()
        finally:
            reader.close()

    def _await_turn(self, row: int) -> None:
        """Return when the row has arrived, or may be decoded ahead into a slot that is free."""
        while not self._grabber.stopping and row >= self._triggers:
            room = row - self._triggers < self._ahead
            if room and self._pool.free > self._spare:
                return
            self._starved = room
            if not (room and self._pool.free > self._spare):  # again: it may have changed
                self._grabber.await_errand()
            self._starved = False

    # ---- in the loop's thread ----

    @property
    def triggers(self) -> int:
        return self._triggers

    @property
    def missed(self) -> int:
        """Parts that came while every slot was held."""
        return self._grabber.missed

    @property
    def exhausted(self) -> bool:
        return self._stopped or self._triggers == self._rows.parts

    def label(self, part: int) -> Label | None:
        """What a part (from 1) is known to be, or None."""
        return self._rows.label(part)

    def truth(self, part: int) -> tuple[str, str]:
        """(label or "", type of its defect or "") of a part, for the records."""
        return self._rows.label(part) or "", self._rows.defect_type(part)

    def fileno(self) -> int:
        return self._grabber.fileno()

    def start(self, now_ns: int) -> None:
        """Begin the schedule at this instant."""
        self._start_ns = now_ns

    def due_ns(self, open_parts: int) -> int | None:
        ready_ns, next_ns = self._ready_ns(), self._next_ns(open_parts)
        if ready_ns is None or next_ns is None:
            return next_ns if ready_ns is None else ready_ns
        return min(ready_ns, next_ns)

    def _next_ns(self, open_parts: int) -> int | None:
        """When to look for the next part."""
        if self.exhausted or self._holds_back(open_parts):
            return None
        if self._start_ns is None or (self._moved and not open_parts):
            return 0  # at once: to start the schedule, or to decode in the pause after a part
        return self._start_ns + self._rows.arrival_ns(self._triggers)

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        if self._start_ns is None:
            self.start(now_ns)
        event = self._trigger(now_ns, open_parts) or self._outcome(now_ns)
        if event is None and self._may_decode(open_parts):
            self._moved = False
            self._grabber.send()
        return event

    def _may_decode(self, open_parts: int) -> bool:
        """Whether to wake the thread now: with every event taken, and no part under way.

        A decode beside an open part takes a core from its inference, and holds up the hops to
        the controller: the next part is decoded in the pause between two, unless nothing is
        left decoded. Where parts are held back there is no pause, and no hurry.
        """
        if self._starved and self._pool.free > self._spare:
            return True
        behind = self._at_most is not None or not open_parts or self._grabber.head() is None
        return self._moved and behind

    def _holds_back(self, open_parts: int) -> bool:
        return self._at_most is not None and open_parts >= self._at_most

    def _trigger(self, now_ns: int, open_parts: int) -> Trigger | None:
        assert self._start_ns is not None
        if self.exhausted:
            return None
        arrival_ns = self._start_ns + self._rows.arrival_ns(self._triggers)
        if now_ns < arrival_ns:
            return None
        if self._holds_back(open_parts):
            self._held_back = True
            return None
        trigger_ns = now_ns if self._held_back else arrival_ns
        self._held_back = False
        encoder = self._rows.encoder(self._triggers)
        self._triggers += 1
        self._arrivals.append(trigger_ns)
        self._moved = True
        return Trigger(self._triggers, self._triggers, trigger_ns, encoder)

    def _ready_ns(self) -> int | None:
        """When the oldest arrived part's frame may appear, where that is not at once.

        Parts that are held back for one another are in no real time (at_most), nor is this.
        """
        event = self._grabber.head()
        if self._at_most is not None or not (self._arrivals and isinstance(event, Filled)):
            return None
        return self._arrivals[0] + event.registration_ns if event.registration_ns else None

    def _outcome(self, now_ns: int) -> Frame | NoFrame | None:
        """The oldest arrived part's frame, or why there is none. Outcomes come in part order."""
        self._grabber.quiet()
        if not self._arrivals:
            return None
        part = self._triggers - len(self._arrivals) + 1
        crashed = self._grabber.crashed  # read first: nothing is posted after it is set
        if self._grabber.head() is None:
            if not crashed:
                return None
            self._arrivals.popleft()
            return NoFrame(part, Fault.NO_IMAGE, crashed)
        earliest_ns = self._ready_ns() or 0
        if now_ns < earliest_ns:
            return None
        event = self._grabber.take()
        assert not isinstance(event, Trigger | Note)
        assert event.part == part
        trigger_ns = self._arrivals.popleft()
        if isinstance(event, Filled):
            ready_ns = max(trigger_ns, event.finished_ns, earliest_ns)
            return Frame(part, event.slot, event.generation, ready_ns, event.registration_ns)
        return NoFrame(part, event.fault, event.detail)

    def stop(self) -> None:
        """Let no further part arrive; outcomes of those that have still come."""
        self._stopped = True

    def close(self) -> None:
        """Stop the thread and release every slot that was filled and never handed over."""
        self._grabber.close()
