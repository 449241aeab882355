"""The station's side of inference: a worker process that may hang, die or lie, and its standby.

Two warm workers are bound to the same pool; one serves, one frame in flight. When it dies,
answers garbage or lets its part's deadline pass, the other takes the next frame at once. One
that was only slow comes back as the standby; one silent for `hang_ns` is killed. Where there is
a chain of providers (models/crew.py), the standby is of the next one, and serves for good once
the first has failed.

The loop's thread only sends, receives and kills; starting and reaping run in the keeper
thread (models/keeper.py), because they take milliseconds. A killed worker's slot stays in
quarantine until it is reaped: until then it could still read it.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.pool import FramePool, Holder
from edge.core.types import Answer, Fault, Frame, Serving
from models.crew import NOBODY, Crew, LineUp
from models.exchange import ALERT, CHECKED, REHEARSED, Result, lease_of, said
from models.golden_round import GoldenRound
from models.roster import Event, Roster
from models.service import ServiceTimes
from models.warm import Warm

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
IDLE_HANG_NS = NS_PER_S
NO_PART_NS = 3600 * NS_PER_S  # no part is due: one that is run for nothing need not look for any
HEALTHY = 20  # answers after which a worker's start counts as a success


class WorkerEngine:
    """Serves one frame at a time, in the order they came, from one of two workers.

    rehearse: run the model once for nothing before a part whose arrival is known.
    hang_ns: a worker silent for so long over one frame is killed; None kills it as soon as
    its part is abandoned (lock-step replay, whose clock does not move meanwhile).
    """

    def __init__(
        self,
        pool: FramePool,
        chain: Sequence[Crew],
        *,
        hang_ns: int | None,
        event: Event,
        standby: bool = True,
        rehearse: bool = False,
        golden: GoldenRound | None = None,
        budget_ns: int | None = None,
        left_out: Mapping[str, str] = NOBODY,
    ) -> None:
        """chain: who may serve, in order of preference, at least one. left_out: providers that
        should have been before them, and why not. golden: when golden sets are judged again; None:
        only when workers start. budget_ns: a worker that takes longer for half of its golden set
        may not serve.
        """
        self._pool, self._hang_ns, self._event = pool, hang_ns, event
        self._rehearse = rehearse
        self._roster = Roster(
            pool, LineUp(chain, left_out), event, wanted=2 if standby else 1, budget_ns=budget_ns
        )
        self.shadow = self._roster.shadow
        self.golden = golden or GoldenRound()
        self._queue: deque[tuple[Frame, int]] = deque()  # with its decide_by
        self._answers: deque[Answer] = deque()
        self._look_ns = 0
        self._switched_ns = -SETTLE_NS  # to the standby, the last time
        self._closed = False
        self._result = Result()
        self._answered = 0  # since the last worker was lost

    def start(self, timeout_s: float = 60.0) -> None:
        """Block until every worker is warm; EngineError with their own words if none can serve."""
        self._roster.start(timeout_s)

    @property
    def _workers(self) -> list[Warm]:
        return self._roster.workers

    @property
    def times(self) -> ServiceTimes:
        """Of whoever serves."""
        return self._roster.times

    @property
    def replaced(self) -> int:
        """Workers that were lost since the start."""
        return self._roster.replaced

    @property
    def trouble(self) -> str:
        """Why there is no worker; "" while one serves."""
        return self._roster.trouble

    @property
    def ready(self) -> bool:
        return bool(self._workers)

    @property
    def serving(self) -> Serving:
        """What judges a part now, or would if a worker were warm."""
        return self._roster.serving.serving

    @property
    def degraded(self) -> str:
        """Why the preferred provider does not serve; "" while it does."""
        return self._roster.line_up.degraded

    @property
    def warm(self) -> int:
        """Workers that could take a frame now."""
        return sum(worker.frame is None for worker in self._workers)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the warm workers; the first one serves."""
        return tuple(worker.pid for worker in self._workers)

    def filenos(self) -> Sequence[int]:
        links = [w.process.link.fileno() for n, w in enumerate(self._workers) if n == 0 or w.busy]
        return (*links, *self.shadow.filenos(), *self._roster.filenos())

    def swap(
        self,
        chain: Sequence[Crew],
        done: Callable[[str], None],
        *,
        left_out: Mapping[str, str] = NOBODY,
    ) -> None:
        """Have other crews serve, once they are warm: no part waits for it, none is lost.

        done is called from `poll`: with "" when the first part can only go to them, or with all
        the words there are about why not; then everything is as it was. One at a time.
        """
        self._roster.swap(LineUp(chain, left_out), done)

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
        self.golden.part()
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
            worker.rehearse(ALERT, due_ns, now_ns)

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
        self._roster.hear()
        idle_too = now_ns >= self._look_ns
        for place, worker in enumerate(list(self._workers)):
            if (worker.busy or place == 0 or idle_too) and worker in self._workers:
                self._receive(worker, now_ns)
        for worker in list(self._workers):
            if worker.busy and self._is_hung(worker, now_ns):
                silent_ms = worker.silent_ns(now_ns) / NS_PER_MS
                detail = f"the worker hangs: silent for {silent_ms:.0f} ms"
                self._replace(worker, Fault.ENGINE_DOWN, detail)
        self._feed(now_ns)
        if idle_too:
            self._look_ns = now_ns + LOOK_NS
            self._tidy(now_ns)
        if not self._answers:
            self.shadow.turn(now_ns, is_idle=self._is_idle())
        return self._answers.popleft() if self._answers else None

    def due_ns(self) -> int | None:
        due: int | None = None
        if self._hang_ns is None:
            return None
        for worker in self._workers:
            if worker.busy:
                hung_ns = worker.busy_since_ns() + self._patience_of(worker)
                due = hung_ns if due is None or hung_ns < due else due
        if self._queue and self._workers and self._spare():
            switch_ns = self._switch_ns(self._workers[0])
            due = switch_ns if due is None or switch_ns < due else due
        if self.golden.under_way:
            due = self._look_ns if due is None else min(due, self._look_ns)
        return due

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._roster.close()

    # ---- between the parts ----

    def _is_idle(self) -> bool:
        return not self._queue and not any(worker.frame for worker in self._workers)

    def _tidy(self, now_ns: int) -> None:
        """Ten times a second: what has time until no part is under way."""
        self._roster.settle()
        if self._queue or self._hang_ns is None or any(worker.busy for worker in self._workers):
            return
        self._roster.in_order()
        with suppress(OSError):  # gone: noticed where it is heard
            if self.golden.next(self._workers, now_ns):
                return
            for worker in self._workers:
                warm_ns = worker.crew.keep_warm_ns
                if warm_ns and now_ns - max(worker.heard_ns, worker.since_ns) >= warm_ns:
                    worker.rehearse(ALERT, now_ns + NO_PART_NS, now_ns)

    # ---- frames and answers ----

    def _replace(self, worker: Warm, fault: Fault, detail: str) -> None:
        """Have a worker replaced, and answer its frame with the fault."""
        frame = worker.frame
        self._answered = 0
        if frame:
            serving = worker.crew.serving
            self._answers.append(Answer(*lease_of(frame), fault, detail=detail, serving=serving))
        self._roster.lose(worker, detail or str(fault))

    def _is_hung(self, worker: Warm, now_ns: int) -> bool:
        if self._hang_ns is None:
            return worker.overdue
        return worker.silent_ns(now_ns) >= self._patience_of(worker)

    def _patience_of(self, worker: Warm) -> int:
        """How long a worker may be silent. With no part in hand longer: a frame that comes
        meanwhile goes to the standby, and a box that was busy for a moment is no reason to kill.
        """
        assert self._hang_ns is not None
        return self._hang_ns if worker.frame else max(self._hang_ns, IDLE_HANG_NS)

    def _patience_ns(self) -> int:
        return max(SLOW_NS, SLOW_TIMES * self.times.p50_ns)

    def _rehearsal_ns(self) -> int:
        """How long a part waits for the end of a rehearsal, counted from its alert."""
        return 2 * self.times.p50_ns + 2 * NS_PER_MS

    def _spare(self) -> Warm | None:
        """A warm worker that is idle, behind the one that serves."""
        return next((worker for worker in self._workers[1:] if not worker.busy), None)

    def _switch_ns(self, serving: Warm) -> int:
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
        if self._roster.is_swapping and self._is_between_parts():
            self._roster.enter()
        if self._queue and self._workers and self._workers[0].rehearses_since_ns:
            self._receive(self._workers[0], now_ns)  # it may just have ended
        self._refuse_late(now_ns)
        if not self._queue or not self._workers:
            return
        if self._workers[0].busy:
            spare = self._spare()
            if spare is not None and self._hang_ns is not None and self._may_switch(now_ns):
                self._event("standby", 0, f"pid {spare.pid} takes over")
                self._switched_ns = now_ns
                self._roster.put_first(spare)
            elif self._workers[0].frame or spare is not None:
                return
        worker, (frame, _) = self._workers[0], self._queue.popleft()
        try:
            worker.judge(frame, now_ns)
        except OSError as error:
            self._replace(worker, Fault.ENGINE_DOWN, f"the worker is gone: {error.strerror}")

    def _is_between_parts(self) -> bool:
        """No frame is in flight that could still be answered in time."""
        return not any(worker.frame and not worker.overdue for worker in self._workers)

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
            refused = Answer(
                *lease_of(frame), Fault.NOT_ADMITTED, detail=detail, serving=self.serving
            )
            self._answers.append(refused)

    def _receive(self, worker: Warm, now_ns: int) -> None:
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
        worker.heard_ns = now_ns
        whole = size == len(self._result.data)
        if whole and worker.rehearses_since_ns and self._is_rehearsal(worker):
            return
        answer = self._result.answer(worker.frame, worker.crew.serving) if whole else None
        if answer is None:
            self._replace(worker, Fault.BAD_OUTPUT, "the worker's answer is garbage")
        elif answer.outcome is Fault.BAD_OUTPUT:
            self._replace(worker, Fault.BAD_OUTPUT, answer.detail)
        else:
            self._take(worker, answer, now_ns)

    def _take(self, worker: Warm, answer: Answer, now_ns: int) -> None:
        """A sane answer: the worker is free for the next frame before this one goes on."""
        if worker.frame:
            self.shadow.offer(worker.frame, answer)
        self._pool.release(answer.slot, Holder.ENGINE)
        # By the worker's own word, if it is possible: a stall of the loop is not its slowness.
        if answer.stamps.started_ns:  # else refused before session.run: no measure of it
            flight_ns = answer.stamps.sent_ns - worker.since_ns
            worker.times.add(min(max(flight_ns, 0), worker.silent_ns(now_ns)))
        worker.frame = None
        if self._queue:
            self._feed(now_ns)  # before the answer goes on: the worker is idle now
        self._answers.append(answer)
        self._answered += 1
        if self._answered == HEALTHY:
            self._roster.failures = 0

    def _is_rehearsal(self, worker: Warm) -> bool:
        """The buffer holds what an alert or a check brought; once each, and no part's answer."""
        head = self._result.read()
        if head.kind not in (REHEARSED, CHECKED):
            return False
        worker.rehearses_since_ns = 0
        if head.kind == CHECKED and (wrong := said(head.detail)):
            self._event("golden", 0, f"{worker.crew.provider}: {wrong}")
            self._condemn(worker, f"golden set: {wrong}")
        return True

    def _condemn(self, worker: Warm, why: str) -> None:
        """What it answers is wrong: no worker of its crew may answer any more."""
        for other in [w for w in self._workers if w.crew == worker.crew]:
            self._replace(other, Fault.ENGINE_DOWN, why)
