"""The station's side of inference: a worker process that may hang, die or lie, and its standby.

Two warm workers are bound to the same pool; one serves, one frame in flight. When it dies,
answers garbage or lets its part's deadline pass, the other takes the next frame at once. One
that was only slow comes back as the standby; one silent for `hang_ns` is killed.

The loop's thread only sends, receives and kills; starting and reaping run in the keeper
thread (models/keeper.py), because they take milliseconds. A killed worker's slot stays in
quarantine until it is reaped: until then it could still read it.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from edge.core.clock import NS_PER_MS
from edge.core.errors import EngineError
from edge.core.pool import FramePool, Holder
from edge.core.types import Answer, Fault, Frame, Prediction, Region, Stamps
from models.decode import MAX_REGIONS
from models.exchange import ALERT, ANSWER, FAULTS, REHEARSED, REQUEST, Result, said
from models.keeper import Command, Keeper, Lost, Ready, Reaped, WorkerProcess
from models.service import ServiceTimes

Event = Callable[[str, int, str], None]

# A frame that waits is given to the standby when the one before it takes this many times longer
# than the median flight, and at least so long: a slow answer is late for one part, not the next.
# Not twice within SETTLE_NS: where both are slow because the box is, each switch sets a second
# session beside the first, on the same processors. At 80 % of the rate a box can reach, one stall
# of 10 ms became a second of deadline misses, both workers taking turns.
SLOW_TIMES, SLOW_NS = 4, 20 * NS_PER_MS
SETTLE_NS = 100 * NS_PER_MS
LOOK_NS = 100 * NS_PER_MS  # an idle worker that died is noticed this often
# A slower model is not run for nothing: a pause makes it slower by the same 0.3 to 0.5 ms.
LONGEST_REHEARSAL_NS = 10 * NS_PER_MS
HEALTHY = 20  # answers after which a worker's start counts as a success


class _Worker:
    """A warm process, and the frame it has been given."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.frame: Frame | None = None
        self.since_ns = 0
        self.overdue = False  # its part was decided without it
        self.rehearses_since_ns = 0  # 0: it does not

    @property
    def busy(self) -> bool:
        """It has something to answer: a frame, or an alert."""
        return self.frame is not None or self.rehearses_since_ns > 0

    def silent_ns(self, now_ns: int) -> int:
        return now_ns - self.busy_since_ns() if self.busy else 0

    def busy_since_ns(self) -> int:
        return self.since_ns if self.frame else self.rehearses_since_ns


class WorkerEngine:
    """Serves one frame at a time, in the order they came, from one of two workers.

    rehearse: run the model once for nothing before a part whose arrival is known.
    hang_ns: a worker silent for so long over one frame is killed; None kills it as soon as
    its part is abandoned (lock-step replay, whose clock does not move meanwhile).
    """

    def __init__(
        self,
        pool: FramePool,
        command: Command,
        *,
        hang_ns: int | None,
        event: Event,
        standby: bool = True,
        rehearse: bool = False,
    ) -> None:
        self._pool, self._hang_ns, self._event = pool, hang_ns, event
        self._rehearse = rehearse
        self._wanted = 2 if standby else 1
        self._queue: deque[tuple[Frame, int]] = deque()  # with its decide_by
        self._answers: deque[Answer] = deque()
        self._workers: list[_Worker] = []  # the first one serves
        self._look_ns = 0
        self._switched_ns = -SETTLE_NS  # to the standby, the last time
        self._closed = False
        self._result = Result()
        self._keeper = Keeper(command, pool.fd)
        self.times = ServiceTimes()
        self.replaced = 0
        self.failures = 0  # workers lost since one last proved healthy
        self._answered = 0  # since the last worker was lost
        self.trouble = ""  # why there is no worker; "" while one serves

    def start(self, timeout_s: float = 60.0) -> None:
        """Block until every worker is warm; EngineError with its own words if one is not.

        The standby too: started beside the first parts, it would take the processor from them.
        """
        for _ in range(self._wanted):
            self._keeper.spawn(gently=False)
        while len(self._workers) < self._wanted:
            match self._keeper.next_start(timeout_s):
                case Ready(worker):
                    self._workers.append(_Worker(worker))
                case Lost(detail):
                    raise EngineError(detail)

    @property
    def ready(self) -> bool:
        return bool(self._workers)

    @property
    def warm(self) -> int:
        """Workers that could take a frame now."""
        return sum(worker.frame is None for worker in self._workers)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the warm workers; the first one serves."""
        return tuple(worker.process.process.pid for worker in self._workers)

    def filenos(self) -> Sequence[int]:
        links = [w.process.link.fileno() for n, w in enumerate(self._workers) if n == 0 or w.busy]
        return (*links, self._keeper.fileno())

    def refusal(self, now_ns: int, decide_by_ns: int) -> tuple[Fault, str] | None:
        """Why a frame that came now could not be answered in time; None if it can.

        In lock-step time stands still while the engine works, and everything is admitted.
        """
        if self._hang_ns is None:
            return None
        if not self._workers:
            return Fault.ENGINE_DOWN, self.trouble
        times, waiting, begun_ns = self.times, len(self._queue), 0
        serving = self._workers[0]
        if serving.frame and not self._may_switch(now_ns):
            waiting += 1
            begun_ns = min(serving.silent_ns(now_ns), times.p50_ns)
        if now_ns - begun_ns + waiting * times.p50_ns + times.p99_ns <= decide_by_ns:
            return None
        times.forget_slowest()
        left_ms = (decide_by_ns - now_ns) / NS_PER_MS
        p99_ms = times.p99_ns / NS_PER_MS
        return Fault.NOT_ADMITTED, f"{waiting} ahead, p99 {p99_ms:.1f} ms, {left_ms:.1f} ms left"

    def submit(self, frame: Frame, decide_by_ns: int) -> None:
        self._pool.hold(frame.slot, Holder.ENGINE)
        self._queue.append((frame, decide_by_ns))
        self._feed(frame.ready_ns)

    def alert_ns(self) -> int | None:
        """How long before a part is due `alert` should be called; None for never."""
        p50_ns = self.times.p50_ns
        if self._hang_ns is None or not self._rehearse or not 0 < p50_ns <= LONGEST_REHEARSAL_NS:
            return None
        return 3 * p50_ns // 2 + NS_PER_MS

    def alert(self, now_ns: int, due_ns: int) -> None:
        """A part is due: the worker that will serve it gets its code and data into the caches.

        What it answers is taken and dropped, so that this side is rehearsed too.
        """
        worker = self._workers[0] if self._workers else None
        if worker is None or worker.busy:
            return
        with suppress(OSError):
            request = REQUEST.pack(ALERT, due_ns, 0)
            worker.process.link.send(request, socket.MSG_DONTWAIT)
            worker.rehearses_since_ns = now_ns

    def abandon(self, part: int) -> None:
        for waiting in self._queue:
            if waiting[0].part == part:
                self._queue.remove(waiting)
                self._pool.release(waiting[0].slot, Holder.ENGINE)
                return
        for worker in self._workers:
            if worker.frame and worker.frame.part == part:
                worker.overdue = True

    def poll(self, now_ns: int) -> Answer | None:
        # What is waited for first, and housekeeping when it has not come: between an answer and
        # its command every line costs, for a session leaves nothing of them in the caches.
        if not self._answers and self._workers and self._workers[0].frame:
            self._receive(self._workers[0], now_ns)
        if self._answers:
            return self._answers.popleft()
        self._hear_keeper()
        idle_too = now_ns >= self._look_ns
        if idle_too:
            self._look_ns = now_ns + LOOK_NS
            self.times.settle()
        for place, worker in enumerate(list(self._workers)):
            if worker.busy or place == 0 or idle_too:
                self._receive(worker, now_ns)
        for worker in list(self._workers):
            if worker.busy and self._is_hung(worker, now_ns):
                silent_ms = worker.silent_ns(now_ns) / NS_PER_MS
                detail = f"the worker hangs: silent for {silent_ms:.0f} ms"
                self._replace(worker, Fault.ENGINE_DOWN, detail)
        self._feed(now_ns)
        return self._answers.popleft() if self._answers else None

    def due_ns(self) -> int | None:
        due: int | None = None
        if self._hang_ns is None:
            return None
        for worker in self._workers:
            if worker.busy:
                hung_ns = worker.busy_since_ns() + self._hang_ns
                due = hung_ns if due is None or hung_ns < due else due
        if self._queue and self._workers and self._spare():
            switch_ns = self._switch_ns(self._workers[0])
            due = switch_ns if due is None or switch_ns < due else due
        return due

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            worker.process.link.close()  # an idle worker ends by itself
            self._keeper.bury(worker.process, None)
        self._workers.clear()
        self._keeper.close()

    def _hear_keeper(self) -> None:
        for news in self._keeper.news():
            match news:
                case Ready(worker):
                    self._workers.append(_Worker(worker))
                    self.trouble = ""
                    self._event("worker_ready", 0, f"pid {worker.process.pid}")
                case Lost(detail):
                    self.failures += 1
                    self.trouble = self.trouble and detail
                    self._event("worker_lost", 0, detail)
                case Reaped(slot) if slot is not None:
                    self._pool.release(slot, Holder.QUARANTINE)
                case Reaped():
                    pass

    def _is_hung(self, worker: _Worker, now_ns: int) -> bool:
        if self._hang_ns is None:
            return worker.overdue
        return worker.silent_ns(now_ns) >= self._hang_ns

    def _patience_ns(self) -> int:
        return max(SLOW_NS, SLOW_TIMES * self.times.p50_ns)

    def _rehearsal_ns(self) -> int:
        """How long a part waits for the end of a rehearsal, counted from its alert."""
        return 2 * self.times.p50_ns + 2 * NS_PER_MS

    def _spare(self) -> _Worker | None:
        """A warm worker that is idle, behind the one that serves."""
        return next((worker for worker in self._workers[1:] if not worker.busy), None)

    def _switch_ns(self, serving: _Worker) -> int:
        """When a busy worker counts as too slow for the frame that waits."""
        wait_ns = self._patience_ns() if serving.frame else self._rehearsal_ns()
        return max(serving.busy_since_ns() + wait_ns, self._switched_ns + SETTLE_NS)

    def _may_switch(self, now_ns: int) -> bool:
        """The serving worker is too slow for the next frame, and another one is idle."""
        serving = self._workers[0]
        slow = serving.busy and now_ns >= self._switch_ns(serving)
        return slow and self._spare() is not None

    def _feed(self, now_ns: int) -> None:
        """Give the oldest waiting frame to the serving worker, or to the standby in its place."""
        if self._queue and self._workers and self._workers[0].rehearses_since_ns:
            self._receive(self._workers[0], now_ns)  # it may just have ended
        self._refuse_late(now_ns)
        if not self._queue or not self._workers:
            return
        if self._workers[0].busy:
            spare = self._spare()
            if spare is not None and self._hang_ns is not None and self._may_switch(now_ns):
                self._event("standby", 0, f"pid {spare.process.process.pid} takes over")
                self._switched_ns = now_ns
                self._workers.remove(spare)
                self._workers.insert(0, spare)
            elif self._workers[0].frame or spare is not None:
                return
        worker, (frame, _) = self._workers[0], self._queue.popleft()
        worker.frame, worker.since_ns, worker.overdue = frame, now_ns, False
        try:
            request = REQUEST.pack(frame.slot, frame.generation, frame.part)
            worker.process.link.send(request, socket.MSG_DONTWAIT)
        except OSError as error:
            self._replace(worker, Fault.ENGINE_DOWN, f"the worker is gone: {error.strerror}")

    def _refuse_late(self, now_ns: int) -> None:
        """Frames that have waited so long that no worker can answer them in time any more.

        They would only keep the ones behind them waiting, until all are late.
        """
        while self._queue and self._hang_ns is not None:
            frame, decide_by_ns = self._queue[0]
            left_ns = decide_by_ns - now_ns
            if left_ns > min(self.times.p99_ns, 2 * self.times.p50_ns):
                return
            self._queue.popleft()
            self._pool.release(frame.slot, Holder.ENGINE)
            detail = f"waited until {max(0, left_ns) / NS_PER_MS:.1f} ms were left"
            self._answers.append(Answer(*_lease(frame), Fault.NOT_ADMITTED, detail=detail))

    def _receive(self, worker: _Worker, now_ns: int) -> None:
        try:
            size = worker.process.link.recv_into(self._result.data, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._replace(worker, Fault.ENGINE_DOWN, f"the worker is gone: {error.strerror}")
            return
        if size == 0:
            self._replace(worker, Fault.ENGINE_DOWN, "the worker ended")
            return
        if size == len(self._result.data) and self._is_rehearsal(worker):
            return
        answer = None if size != len(self._result.data) else self._read(worker.frame)
        if answer is None:
            self._replace(worker, Fault.BAD_OUTPUT, "the worker's answer is garbage")
        elif answer.outcome is Fault.BAD_OUTPUT:
            self._replace(worker, Fault.BAD_OUTPUT, answer.detail)
        else:
            self._pool.release(answer.slot, Holder.ENGINE)
            # By the worker's own word, if it is possible: a stall of the loop is not its slowness.
            if answer.stamps.started_ns:  # else refused before session.run: no measure of it
                flight_ns = answer.stamps.sent_ns - worker.since_ns
                self.times.add(min(max(flight_ns, 0), worker.silent_ns(now_ns)))
            worker.frame = None
            if self._queue:
                self._feed(now_ns)  # before the answer goes on: the worker is idle now
            self._answers.append(answer)
            self._answered += 1
            if self._answered == HEALTHY:
                self.failures = 0

    def _is_rehearsal(self, worker: _Worker) -> bool:
        """The buffer holds what an alert brought; once an alert, and no part's answer."""
        if not worker.rehearses_since_ns or self._result.read().kind != REHEARSED:
            return False
        worker.rehearses_since_ns = 0
        return True

    def _read(self, frame: Frame | None) -> Answer | None:
        """The answer in the buffer; None if any field is not what a sane worker would send."""
        head = self._result.read()
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

    def _replace(self, worker: _Worker, fault: Fault, detail: str) -> None:
        """Kill a worker, answer its frame with the fault, and ask for another worker."""
        frame = worker.frame
        self._workers.remove(worker)
        self.replaced += 1
        self.failures += 1
        self._answered = 0
        if not self._workers:
            self.trouble = detail or str(fault)
        self._event("worker_replaced", frame.part if frame else 0, detail)
        if frame:
            self._pool.quarantine(frame.slot)
            self._answers.append(Answer(*_lease(frame), fault, detail=detail))
        worker.process.process.kill()
        worker.process.link.close()
        self._keeper.bury(worker.process, frame.slot if frame else None)
        self._keeper.spawn(self.failures, gently=bool(self._workers))


def _lease(frame: Frame) -> tuple[int, int, int]:
    return frame.part, frame.slot, frame.generation
