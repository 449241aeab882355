"""A warm worker as the station sees it: a process, and what it has been given to do."""

from __future__ import annotations

import socket

from edge.core.types import Frame
from models.crew import Crew
from models.exchange import REQUEST
from models.keeper import Ready, WorkerProcess
from models.service import ServiceTimes


class Warm:
    """A worker that is ready, with at most one frame in flight."""

    def __init__(self, ready: Ready, times: ServiceTimes) -> None:
        """times: of all workers of its crew, those to come included."""
        self.process: WorkerProcess = ready.worker
        self.times = times
        self.crew: Crew = ready.crew
        self.golden: int = ready.head.regions  # pictures in its golden set
        self.frame: Frame | None = None
        self.since_ns = 0
        self.overdue = False  # its part was decided without it
        self.rehearses_since_ns = 0  # it runs its model for nothing, or on a golden picture; 0: no
        self.heard_ns = 0

    @property
    def pid(self) -> int:
        return self.process.process.pid

    @property
    def busy(self) -> bool:
        """It has something to answer: a frame, or an alert."""
        return self.frame is not None or self.rehearses_since_ns > 0

    def silent_ns(self, now_ns: int) -> int:
        return now_ns - self.busy_since_ns() if self.busy else 0

    def busy_since_ns(self) -> int:
        return self.since_ns if self.frame else self.rehearses_since_ns

    def judge(self, frame: Frame, now_ns: int) -> None:
        """Hand it a frame; OSError where it is gone."""
        self.frame, self.since_ns, self.overdue = frame, now_ns, False
        self._ask(frame.slot, frame.generation, frame.part)

    def rehearse(self, what: int, value: int, now_ns: int) -> None:
        """Have it run its model with no part: ALERT and an instant, or CHECK and a picture."""
        self._ask(what, value, 0)
        self.rehearses_since_ns = now_ns

    def is_there(self) -> bool:
        """It lives, as far as its socket knows, and says nothing unasked."""
        try:
            self.process.link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _ask(self, slot: int, generation: int, part: int) -> None:
        request = REQUEST.pack(slot, generation, part)
        self.process.link.send(request, socket.MSG_DONTWAIT)
