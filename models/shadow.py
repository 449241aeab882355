"""A candidate that judges the parts after they have been decided, and is only ever compared.

It runs at the lowest priority, is given a part when no other is under way, and is left out where
slots are short: it can cost the line nothing but time that nobody wanted.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from edge.core.clock import NS_PER_S
from edge.core.pool import FramePool, Holder
from edge.core.types import Answer, Fault, Frame, Prediction
from models.crew import Crew
from models.exchange import Result
from models.keeper import Keeper, Lost
from models.warm import Warm

HANG_NS = 5 * NS_PER_S  # it may be kept from the processors for long
Told = Callable[[Answer, Answer], None]  # what decided, and what the candidate says


class Shadow:
    """At most one candidate, with one part in flight."""

    def __init__(
        self, pool: FramePool, keeper: Keeper, event: Callable[[str, int, str], None]
    ) -> None:
        self._pool, self._keeper, self._event = pool, keeper, event
        self._spare = pool.slots // 2  # slots that are left free for the line
        self._crew: Crew | None = None
        self._worker: Warm | None = None
        self._waiting: tuple[Frame, Answer] | None = None
        self._active: Answer | None = None  # of the part in flight
        self._result = Result()
        self._told: Told = lambda active, candidate: None
        self._ended: Callable[[str], None] = lambda why: None
        self.missed = 0  # parts it was not given

    def begin(self, crew: Crew, told: Told, ended: Callable[[str], None]) -> None:
        """Have a candidate compared from the next part on; it takes the place of another one.

        ended: called once with "" when it is warm, and with the reason where it never gets warm
        or is lost.
        """
        self.end()
        self._crew, self._told, self._ended, self.missed = crew, told, ended, 0
        self._keeper.spawn(crew, gently=True, once=True)

    def end(self) -> None:
        """Compare no more."""
        self._crew = None
        self._drop_waiting()
        if self._worker:
            self._bury(self._worker)

    def filenos(self) -> Sequence[int]:
        worker = self._worker
        return (worker.process.link.fileno(),) if worker and worker.busy else ()

    def welcome(self, worker: Warm) -> bool:
        """A worker is warm; False where it is not the candidate's."""
        if worker.crew != self._crew:
            return False
        self._worker = worker
        self._ended("")
        return True

    def mourn(self, lost: Lost) -> bool:
        """A worker could not be started; False where it is not the candidate's."""
        if self._crew is None or lost.crew != self._crew:
            return False
        self._fail(lost.whole or lost.detail)
        return True

    def offer(self, frame: Frame, answer: Answer) -> None:
        """A part has its answer: hold its slot on, if the candidate can have it."""
        if self._worker is None or not isinstance(answer.outcome, Prediction):
            return
        if self._worker.busy or self._waiting or self._pool.free <= self._spare:
            self.missed += 1
            return
        self._pool.hold(frame.slot, Holder.SHADOW)
        self._waiting = frame, answer

    def turn(self, now_ns: int, *, is_idle: bool) -> None:
        """Give it the part that waits, and hear what it says. is_idle: the line waits for none."""
        worker = self._worker
        if worker is None:
            return
        if worker.frame:
            self._receive(worker, now_ns)
        elif self._waiting and is_idle:
            frame, self._active = self._waiting
            self._waiting = None
            try:
                worker.judge(frame, now_ns)
            except OSError as error:
                self._lose(worker, f"the worker is gone: {error.strerror}")

    def _receive(self, worker: Warm, now_ns: int) -> None:
        frame, active = worker.frame, self._active
        assert frame is not None
        assert active is not None
        try:
            size = worker.process.link.recv_into(self._result.data, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if worker.silent_ns(now_ns) > HANG_NS:
                self._lose(worker, f"hangs: silent for {HANG_NS // NS_PER_S} s")
            return
        except OSError:
            size = 0
        whole = size == len(self._result.data)
        answer = self._result.answer(frame, worker.crew.serving) if whole else None
        if answer is None:
            self._lose(worker, "the worker ended" if size == 0 else "its answer is garbage")
            return
        self._pool.release(frame.slot, Holder.SHADOW)
        worker.frame = None
        self._told(active, answer)

    def _lose(self, worker: Warm, why: str) -> None:
        if worker.frame and self._active:
            fault = Answer(worker.frame.part, 0, 0, Fault.ENGINE_DOWN, detail=why)
            self._told(self._active, fault)
        self._drop_waiting()
        self._bury(worker)
        self._fail(why)

    def _fail(self, why: str) -> None:
        self._crew = None
        self._event("shadow", 0, why.splitlines()[0])
        self._ended(why)

    def _drop_waiting(self) -> None:
        if self._waiting:
            self._pool.release(self._waiting[0].slot, Holder.SHADOW)
            self._waiting = None

    def _bury(self, worker: Warm) -> None:
        self._worker = None
        slot = worker.frame.slot if worker.frame else None
        if slot is not None:
            self._pool.quarantine(slot, Holder.SHADOW)
        with suppress(OSError):
            worker.process.process.kill()
        worker.process.link.close()
        self._keeper.bury(worker.process, slot)
