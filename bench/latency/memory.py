"""A camera whose pictures lie in the slots before the run: nothing is decoded, nothing copied.

What is left is the station. Each slot keeps the picture it was given; a lease brings it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from bench.latency.arrivals import Schedule
from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.pool import FramePool, View
from edge.core.types import Fault, Frame, NoFrame, Trigger

REPORT_NS = NS_PER_S  # from one report to the next
PAUSE_NS = 12 * NS_PER_MS  # a report takes 0.1 ms: only where no part arrives for so long
OVERDUE_NS = 3 * NS_PER_S  # without any pause, a report is made all the same


class Reporter(Protocol):
    """Who has something to write down when no part is under way."""

    @property
    def awaits_warm(self) -> bool:
        """A report is wanted as soon as there is a pause."""

    def report(self) -> None: ...


class MemoryCamera:
    """A `Camera` over a schedule of arrivals, which lets a reporter write in the pauses.

    at_most: the next part is held back while so many are open, and arrives when it is let in;
    None for an open loop, where a part's trigger is its scheduled arrival. Where parts are held
    back there is no pause: then the next one is let in after the report.
    """

    def __init__(
        self,
        pool: FramePool,
        pictures: Sequence[Mapping[str, View]],
        schedule: Schedule,
        at_most: int | None,
        reporter: Reporter,
    ) -> None:
        """pictures: shown in turn, one a slot; the pool needs as many slots to show them all."""
        for slot in range(pool.slots):
            for name, array in pool.arrays(slot).items():
                np.copyto(array, pictures[slot % len(pictures)][name])
        self._pool, self._schedule, self._at_most = pool, schedule, at_most
        self._reporter = reporter
        # Emptying the queue of an offline run costs it two sessions.
        self._period_ns = REPORT_NS if (at_most or 1) == 1 else 5 * REPORT_NS
        self._never = os.eventfd(0, os.EFD_CLOEXEC)
        self._start_ns = self._report_ns = 0
        self._frame: Frame | NoFrame | None = None
        self._stopped = False
        self.triggers = 0

    @property
    def exhausted(self) -> bool:
        return self._stopped or self.triggers == self._schedule.parts

    def fileno(self) -> int:
        return self._never

    def start(self, now_ns: int) -> None:
        self._start_ns, self._report_ns = now_ns, now_ns + self._period_ns

    def due_ns(self, open_parts: int) -> int | None:
        if self._stopped or self.triggers == self._schedule.parts:
            return None
        if self._at_most is None:
            return self._start_ns + self._schedule.arrival_ns(self.triggers)
        return 0 if open_parts < self._at_most else None

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        if frame := self._frame:
            self._frame = None
            return frame
        due_ns = self.due_ns(open_parts)
        if now_ns >= self._report_ns or self._reporter.awaits_warm:
            if self._is_pause(now_ns, open_parts, due_ns):
                self._report_ns = now_ns + self._period_ns
                self._reporter.report()
                return None  # the next part is let in by the next turn: it pays for no report
            if self._at_most is not None:
                return None
        if due_ns is None or now_ns < due_ns:
            return None
        self.triggers += 1
        part, trigger_ns = self.triggers, due_ns or now_ns
        lease = self._pool.lease(part)
        if lease is None:
            detail = f"all {self._pool.slots} slots of the pool are held"
            self._frame = NoFrame(part, Fault.MISSED_TRIGGER, detail)
        else:
            self._frame = Frame(part, *lease, trigger_ns)
        return Trigger(part, part, trigger_ns)

    def _is_pause(self, now_ns: int, open_parts: int, due_ns: int | None) -> bool:
        if now_ns > self._report_ns + OVERDUE_NS:
            return True
        if open_parts or self._at_most is not None:
            return not open_parts
        return due_ns is None or due_ns - now_ns > PAUSE_NS

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        os.close(self._never)
