"""Which workers there are: the one that serves, its standby, those on their way in and out.

The loop's thread only decides; starting and reaping run in the keeper's (models/keeper.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge.core.clock import NS_PER_MS
from edge.core.errors import EngineError
from edge.core.pool import FramePool, Holder
from models.crew import Crew, LineUp
from models.keeper import Keeper, Lost, Ready, Reaped
from models.service import ServiceTimes
from models.shadow import Shadow
from models.warm import Warm

Event = Callable[[str, int, str], None]


class _Swap(NamedTuple):
    """Workers of other crews on their way in, until all are warm."""

    line_up: LineUp
    workers: list[Warm]
    done: Callable[[str], None]  # told "" when they serve, or why they never will


class Roster:
    """Keeps as many workers warm as are wanted, each of the crew that should be there."""

    def __init__(
        self,
        pool: FramePool,
        line_up: LineUp,
        event: Event,
        *,
        wanted: int,
        budget_ns: int | None = None,
    ) -> None:
        """wanted: 2 with a standby. budget_ns: a worker that takes longer for half of its golden
        set may not serve.
        """
        self._pool, self._event = pool, event
        self._wanted, self._budget_ns = wanted, budget_ns
        self.line_up = line_up
        self.workers: list[Warm] = []  # the first one serves
        self._starting: list[Crew] = []  # asked of the keeper, and not warm yet
        self._swap: _Swap | None = None
        self._keeper = Keeper(pool.fd)
        # Starts what is to come in, or only compared: one that hangs at its start keeps it for a
        # minute, and nobody that serves may have to wait for a successor meanwhile.
        self._side = Keeper(pool.fd)
        self.shadow = Shadow(pool, self._side, event)
        self._times: dict[Crew, ServiceTimes] = {}
        self.times = ServiceTimes()  # of whoever serves
        self.replaced = 0
        self.failures = 0  # workers lost since one last proved healthy
        self.trouble = ""  # why there is no worker; "" while one serves

    def start(self, timeout_s: float) -> None:
        """Block until every worker is warm; EngineError with their own words if none can serve.

        The standby too: started beside the first parts, it would take the processor from them. A
        provider that cannot serve is left out where the chain has another one. One worker that is
        warm serves without a standby, which is told, and tried again beside its parts: but not
        where the standby failed for what the package is.
        """
        self._complete(gently=False)
        while self._starting:
            lost = self._next_start(timeout_s)
            if lost is None:
                continue
            if self._give_up(lost.crew, lost.detail):
                self._complete(gently=False)
            elif self.workers and not _is_of_the_package(lost):
                self._begin_without(lost.detail)
                break
            else:
                raise EngineError(self._no_start(lost.detail), lost.whole.splitlines()[1:])
        self.in_order()

    @property
    def serving(self) -> Crew:
        """Who judges a part now, or would if a worker were warm."""
        return self.workers[0].crew if self.workers else self.line_up.first

    def filenos(self) -> tuple[int, ...]:
        """Readable when `hear` has something."""
        return self._keeper.fileno(), self._side.fileno()

    @property
    def is_swapping(self) -> bool:
        return self._swap is not None

    def in_order(self) -> None:
        """One that was only slow gets back its place before another provider's."""
        self.workers.sort(key=lambda worker: self.line_up.rank(worker.crew))
        self._lead()

    def put_first(self, worker: Warm) -> None:
        """This one serves from now on."""
        self.workers.remove(worker)
        self.workers.insert(0, worker)
        self._lead()

    def settle(self) -> None:
        """Compute what has been measured, while no part waits."""
        for times in self._times.values():
            times.settle()

    def swap(self, line_up: LineUp, done: Callable[[str], None]) -> None:
        """Begin to bring other crews in; `enter` ends it. One at a time."""
        if self._swap is not None:
            done("another change is under way")
            return
        self._swap = _Swap(line_up, [], done)
        self._side.spawn(self._swap.line_up.first, gently=True, once=True)

    def enter(self) -> None:
        """No part is under way: crews that are all warm serve from here on."""
        swap = self._swap
        if swap is None or len(swap.workers) < self._wanted:
            return
        for worker in swap.workers:
            if not worker.is_there():
                swap.workers.remove(worker)
                self._dismiss(worker)
                gone = Lost("the worker ended before it served", worker.crew, final=True)
                self._turn_away(swap, gone)
                return
        self._swap = None
        for worker in self.workers:  # what still has a frame of ours was overdue
            self._dismiss(worker)
        for crew in self._starting:
            self._keeper.withdraw(crew)
        self._starting.clear()
        self.line_up, self.workers = swap.line_up, swap.workers
        self._times = {worker.crew: worker.times for worker in self.workers}
        self.trouble, self.failures = "", 0
        self._lead()
        swap.done("")

    def hear(self) -> None:
        """Take in what the keeper has to tell."""
        for news in (*self._keeper.news(), *self._side.news()):
            match news:
                case Ready() as ready:
                    self._welcome(ready)
                case Lost() as lost:
                    self._mourn(lost)
                case Reaped(slot) if slot is not None:
                    self._pool.release(slot, Holder.QUARANTINE)
                case Reaped():
                    pass

    def lose(self, worker: Warm, why: str) -> None:
        """Kill a worker that is no good, and ask for another one; its slot goes to quarantine."""
        frame = worker.frame
        self.workers.remove(worker)
        self.replaced += 1
        self.failures += 1
        self._event("worker_replaced", frame.part if frame else 0, why)
        if frame:
            self._pool.quarantine(frame.slot)
        worker.process.process.kill()
        worker.process.link.close()
        self._keeper.bury(worker.process, frame.slot if frame else None)
        self._give_up(worker.crew, why)
        if not self.workers:
            self.trouble = why
        self._complete(gently=bool(self.workers))
        self._lead()

    def close(self) -> None:
        for worker in (*self.workers, *(self._swap.workers if self._swap else ())):
            worker.process.link.close()  # an idle worker ends by itself
            self._keeper.bury(worker.process, None)
        self.workers.clear()
        self.shadow.end()
        self._side.close()
        self._keeper.close()

    # ---- workers that come ----

    def _next_start(self, timeout_s: float) -> Lost | None:
        """The next worker that is not to serve, None when one is warm: while no part can come."""
        news = self._keeper.next_start(timeout_s)
        if news is None:
            return Lost(f"no engine worker was ready within {timeout_s:g} s", self._starting[0])
        is_wanted = news.crew in self._starting  # else given up, for it took too long
        if isinstance(news, Lost):
            return news if is_wanted else None
        worker, late = self._taken_on(news), self._too_slow(news)
        if late or not is_wanted:
            self._dismiss(worker)
            return Lost(late, news.crew) if is_wanted else None
        self._starting.remove(news.crew)
        self.workers.append(worker)
        return None

    def _begin_without(self, why: str) -> None:
        """No standby yet: it is tried again, gently now."""
        self.failures += 1
        self._event("standby", 0, f"none to begin with: {why}")
        for crew in self._starting:
            self._keeper.withdraw(crew)
            self._keeper.spawn(crew, self.failures, gently=True)

    def _welcome(self, ready: Ready) -> None:
        worker, swap = self._taken_on(ready), self._swap
        if swap and swap.line_up.is_left(ready.crew):
            self._bring_in(swap, worker, self._too_slow(ready))
        elif ready.crew in self._starting:
            self._starting.remove(ready.crew)
            self.workers.append(worker)
            self.trouble = ""
            self._lead()
            self._event("worker_ready", 0, f"pid {worker.pid}")
        elif not self.shadow.welcome(worker):  # of a crew that has been given up meanwhile
            self._dismiss(worker)

    def _bring_in(self, swap: _Swap, worker: Warm, late: str) -> None:
        if late:
            self._dismiss(worker)
            self._turn_away(swap, Lost(late, worker.crew, final=True))
            return
        swap.workers.append(worker)
        self._event("worker_ready", 0, f"pid {worker.pid}, {worker.crew.serving.package}")
        if len(swap.workers) < self._wanted:
            self._side.spawn(swap.line_up.standby(worker.crew), gently=True, once=True)

    def _taken_on(self, ready: Ready) -> Warm:
        """A worker with the times of its crew, which may be those of one before it."""
        return Warm(ready, self._times.setdefault(ready.crew, ServiceTimes()))

    def _too_slow(self, ready: Ready) -> str:
        """Why a worker is too slow for this line by its golden set; "" if it is not."""
        median_ns = ready.head.ended_ns
        if self._budget_ns is None or median_ns <= self._budget_ns:
            return ""
        took_ms, left_ms = median_ns / NS_PER_MS, self._budget_ns / NS_PER_MS
        return (
            f"provider {ready.crew.provider}: {took_ms:.1f} ms a golden picture (median), "
            f"{left_ms:.1f} ms until a part is decided"
        )

    # ---- workers that do not ----

    def _mourn(self, lost: Lost) -> None:
        if self._swap and self._swap.line_up.is_left(lost.crew):
            self._turn_away(self._swap, lost)
        elif lost.crew in self._starting:
            self.failures += 1
            self.trouble = self.trouble and lost.detail
            self._event("worker_lost", 0, lost.detail)
            if self._give_up(lost.crew, lost.detail):
                self._complete(gently=True)
        elif not self.shadow.mourn(lost) and not lost.final:
            self._keeper.withdraw(lost.crew)

    def _turn_away(self, swap: _Swap, lost: Lost) -> None:
        """A worker of the crews on their way in is not to serve: nor are they, as a rule."""
        self._event("worker_lost", 0, lost.detail)
        # Its standby on another provider: more of the same has to do. The first one where it had
        # been given up before: else nothing could come in, or back, while a card is dead.
        spared = swap.workers or not self.line_up.has(lost.crew.provider)
        if spared and swap.line_up.fail(lost.crew, lost.detail):
            self._event("provider", 0, f"{lost.crew.provider} left out: {lost.detail}")
            self._side.spawn(swap.line_up.first, gently=True, once=True)
            return
        self._swap = None
        for worker in swap.workers:
            self._dismiss(worker)
        swap.done(lost.whole or lost.detail)

    def _no_start(self, last: str) -> str:
        before = self.line_up.degraded
        return f"{before}; {self.line_up.first.provider}: {last}" if before else last

    def _complete(self, *, gently: bool) -> None:
        """Have as many workers started as are missing, each of the crew that is wanted."""
        first = self.line_up.first
        wanted = [first, self.line_up.standby(first)][: self._wanted]
        for crew in (*(worker.crew for worker in self.workers), *self._starting):
            if crew in wanted:
                wanted.remove(crew)
        for crew in wanted:
            self._starting.append(crew)
            self._keeper.spawn(crew, self.failures, gently=gently)

    def _give_up(self, crew: Crew, why: str) -> bool:
        """A provider has failed: another one serves for good. False where there is none."""
        if not self.line_up.fail(crew, why):
            return False
        while crew in self._starting:
            self._starting.remove(crew)
        self._keeper.withdraw(crew)
        serves = self.line_up.first.provider
        self._event("provider", 0, f"{crew.provider} given up: {why}; {serves} serves")
        return True

    def _dismiss(self, worker: Warm) -> None:
        """End a worker in peace; one that is still at something is killed."""
        slot = worker.frame.slot if worker.frame else None
        if slot is not None:
            self._pool.quarantine(slot)
        if worker.busy:
            worker.process.process.kill()
        worker.process.link.close()
        self._keeper.bury(worker.process, slot)

    def _lead(self) -> None:
        """The first worker serves from now on: what is measured is measured of its crew."""
        if self.workers:
            self.times = self.workers[0].times


def _is_of_the_package(lost: Lost) -> bool:
    """A worker broke the gate, which alone has a table to show, or its package was altered."""
    return len(lost.whole.splitlines()) > 1 or not lost.crew.is_as_admitted
