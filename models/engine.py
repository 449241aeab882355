"""The station's side of inference: a worker process that may hang, die or lie.

The loop's thread only sends, receives and kills; starting and reaping run in the keeper
thread (models/keeper.py), because they take milliseconds. A killed worker's slot stays in
quarantine until it is reaped: until then it could still read it.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Callable, Sequence

from edge.core.clock import NS_PER_MS
from edge.core.errors import EngineError
from edge.core.pool import FramePool, Holder
from edge.core.types import Answer, Fault, Frame, Prediction, Region, Stamps
from models.decode import MAX_REGIONS
from models.exchange import ANSWER, FAULTS, REQUEST, Result, said
from models.keeper import Keeper, Lost, Ready, Reaped, WorkerProcess

Event = Callable[[str, int, str], None]


class WorkerEngine:
    """One worker at a time, one frame in flight; what is queued waits for the next worker.

    hang_ns: a worker silent for so long over one frame is killed; None kills it as soon as
    its part is abandoned (lock-step replay, whose clock does not move meanwhile).
    """

    def __init__(
        self,
        pool: FramePool,
        command: Callable[[int], list[str]],
        *,
        hang_ns: int | None,
        event: Event,
    ) -> None:
        """command: the worker's command line for a socket's descriptor."""
        self._pool, self._hang_ns, self._event = pool, hang_ns, event
        self._queue: deque[Frame] = deque()
        self._answers: deque[Answer] = deque()
        self._worker: WorkerProcess | None = None
        self._flying: Frame | None = None
        self._flying_since_ns = 0
        self._hung = self._closed = False
        self._result = Result()
        self._keeper = Keeper(command, pool.fd)
        self.replaced = 0

    def start(self, timeout_s: float = 60.0) -> None:
        """Block until the first worker is warm; EngineError with its own words if it is not."""
        match self._keeper.first(timeout_s):
            case Ready(worker):
                self._worker = worker
            case Lost(detail):
                raise EngineError(detail)

    @property
    def ready(self) -> bool:
        return self._worker is not None

    @property
    def worker_pid(self) -> int:
        """The serving worker's process id, 0 while there is none."""
        return self._worker.process.pid if self._worker else 0

    def filenos(self) -> Sequence[int]:
        if self._worker is None:
            return (self._keeper.fileno(),)
        return (self._worker.link.fileno(), self._keeper.fileno())

    def submit(self, frame: Frame) -> None:
        self._pool.hold(frame.slot, Holder.ENGINE)
        self._queue.append(frame)
        self._feed(frame.ready_ns)

    def abandon(self, part: int) -> None:
        for frame in self._queue:
            if frame.part == part:
                self._queue.remove(frame)
                self._pool.release(frame.slot, Holder.ENGINE)
                return
        if self._hang_ns is None and self._flying and self._flying.part == part:
            self._hung = True

    def poll(self, now_ns: int) -> Answer | None:
        self._hear_keeper()
        self._receive()
        flying = self._flying
        if flying and (self._hung or now_ns >= (self.due_ns() or math.inf)):
            silent_ms = (now_ns - self._flying_since_ns) / NS_PER_MS
            self._replace(Fault.ENGINE_DOWN, f"the worker hangs: silent for {silent_ms:.0f} ms")
        self._feed(now_ns)
        return self._answers.popleft() if self._answers else None

    def due_ns(self) -> int | None:
        if self._flying is None or self._hang_ns is None:
            return None
        return self._flying_since_ns + self._hang_ns

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._worker:
            self._worker.link.close()  # an idle worker ends by itself
            self._keeper.bury(self._worker, None)
            self._worker = None
        self._keeper.close()

    def _hear_keeper(self) -> None:
        for news in self._keeper.news():
            match news:
                case Ready(worker):
                    self._worker = worker
                    self._event("worker_ready", 0, f"pid {worker.process.pid}")
                case Lost(detail):
                    self._event("worker_lost", 0, detail)
                case Reaped(slot) if slot is not None:
                    self._pool.release(slot, Holder.QUARANTINE)
                case Reaped():
                    pass

    def _feed(self, now_ns: int) -> None:
        if self._worker is None or self._flying is not None or not self._queue:
            return
        frame = self._queue.popleft()
        self._flying, self._flying_since_ns, self._hung = frame, now_ns, False
        try:
            self._worker.link.send(REQUEST.pack(frame.slot, frame.generation, frame.part))
        except OSError as error:
            self._replace(Fault.ENGINE_DOWN, f"the worker is gone: {error.strerror}")

    def _receive(self) -> None:
        if self._worker is None:
            return
        try:
            size = self._worker.link.recv_into(self._result.data, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._replace(Fault.ENGINE_DOWN, f"the worker is gone: {error.strerror}")
            return
        if size == 0:
            self._replace(Fault.ENGINE_DOWN, "the worker ended")
            return
        answer = None if size != len(self._result.data) else self._read()
        if answer is None:
            self._replace(Fault.BAD_OUTPUT, "the worker's answer is garbage")
        elif answer.outcome is Fault.BAD_OUTPUT:
            self._replace(Fault.BAD_OUTPUT, answer.detail)
        else:
            self._pool.release(answer.slot, Holder.ENGINE)
            self._flying = None
            self._answers.append(answer)

    def _read(self) -> Answer | None:
        """The answer in the buffer; None if any field is not what a sane worker would send."""
        head, frame = self._result.read(), self._flying
        if frame is None or head.kind != ANSWER:
            return None
        lease = (head.part, head.slot, head.generation)
        if lease != _lease(frame) or head.regions > MAX_REGIONS or head.fault >= len(FAULTS):
            return None
        outcome: Prediction | Fault
        if (named := FAULTS[head.fault]) is not None:
            outcome = named
        elif math.isfinite(head.score):
            outcome = Prediction(head.score, self._regions(head.regions), bool(head.overflow))
        else:
            outcome = Fault.BAD_OUTPUT
        stamps = Stamps(head.received_ns, head.started_ns, head.ended_ns, head.sent_ns)
        return Answer(*lease, outcome, stamps, said(head.detail))

    def _regions(self, count: int) -> tuple[Region, ...]:
        if not count:
            return ()
        return tuple(Region(*row) for row in self._result.regions[:count].tolist())

    def _replace(self, fault: Fault, detail: str) -> None:
        """Kill the worker, answer its frame with the fault, and ask for another worker."""
        worker, frame = self._worker, self._flying
        self._worker, self._flying, self._hung = None, None, False
        self.replaced += 1
        self._event("worker_replaced", frame.part if frame else 0, detail)
        if frame:
            self._pool.quarantine(frame.slot)
            self._answers.append(Answer(*_lease(frame), fault, detail=detail))
        if worker:
            worker.process.kill()
            worker.link.close()
            self._keeper.bury(worker, frame.slot if frame else None)
            self._keeper.spawn()


def _lease(frame: Frame) -> tuple[int, int, int]:
    return frame.part, frame.slot, frame.generation
