"""Scripted stand-ins for the ports, for unit tests of the loop.

Shipped, so that people who extend the product can test against the same ones; never used by
a bar or an end-to-end test.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from edge.core.pool import FramePool, Holder
from edge.core.types import (
    Ack,
    Action,
    Answer,
    Deadline,
    Decision,
    Fault,
    Frame,
    NoFrame,
    PartRecord,
    Prediction,
    Trigger,
)


class ManualClock:
    """Time that moves only by waiting (straight to the instant) or by `now`."""

    def __init__(self, now_ns: int = 1) -> None:
        self.now = now_ns

    def now_ns(self) -> int:
        return self.now

    def wait(
        self,
        fds: Sequence[int],
        until_ns: int | None,
        *,
        busy: bool = False,
        look_ns: int = 0,
    ) -> list[int]:
        if until_ns is not None:
            self.now = max(self.now, until_ns)
        return []


class ScriptedCamera:
    """Triggers and frames at scripted instants.

    miscount makes its own count drift; the frames of broken parts come as BAD_FRAME.
    """

    def __init__(
        self,
        pool: FramePool,
        arrivals: Sequence[tuple[int, int | None]],
        *,
        miscount: int = 0,
        broken: frozenset[int] = frozenset(),
    ) -> None:
        self._pool, self._miscount, self._broken = pool, miscount, broken
        self._arrivals = deque(enumerate(arrivals, start=1))
        self._frames: deque[tuple[int, int]] = deque()
        self._given = 0
        self._fd = os.eventfd(0)

    @property
    def triggers(self) -> int:
        return self._given + self._miscount

    @property
    def exhausted(self) -> bool:
        return not self._arrivals and not self._frames

    def fileno(self) -> int:
        return self._fd

    def due_ns(self, open_parts: int) -> int | None:
        due = [at for _, at in list(self._frames)[:1]]
        due += [trigger_ns for _, (trigger_ns, _) in list(self._arrivals)[:1]]
        return min(due, default=None)

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        if self._frames and self._frames[0][1] <= now_ns:
            part, at_ns = self._frames.popleft()
            if part in self._broken:
                return NoFrame(part, Fault.BAD_FRAME, "scripted")
            lease = self._pool.lease(part)
            if lease is None:
                return NoFrame(part, Fault.MISSED_TRIGGER, "no free slot")
            return Frame(part, *lease, ready_ns=at_ns)
        if self._arrivals and self._arrivals[0][1][0] <= now_ns:
            part, (trigger_ns, frame_ns) = self._arrivals.popleft()
            self._given += 1
            if frame_ns is not None:
                self._frames.append((part, frame_ns))
            return Trigger(part, part, trigger_ns)
        return None

    def start(self, now_ns: int) -> None:
        pass

    def stop(self) -> None:
        self._arrivals.clear()

    def close(self) -> None:
        os.close(self._fd)


Behaviour = Literal["answer", "hang", "die"]


class ScriptedEngine:
    """Answers each frame after `cost_ns` with what `outcome` gives; or hangs, or dies.

    behaviour: by part; "hang" never answers, "die" answers ENGINE_DOWN at once.
    """

    def __init__(
        self,
        pool: FramePool,
        clock: ManualClock,
        *,
        cost_ns: Callable[[int], int] = lambda part: 0,
        outcome: Callable[[int], Prediction | Fault] = lambda part: Prediction(0.0),
        behaviour: Callable[[int], Behaviour] = lambda part: "answer",
        alert_ns: int | None = None,
    ) -> None:
        self._pool, self._clock, self._alert_ns = pool, clock, alert_ns
        self.alerts: list[tuple[int, int]] = []  # when, and of which instant
        self._cost_ns, self._outcome, self._behaviour = cost_ns, outcome, behaviour
        self._due: list[tuple[int, Frame]] = []
        self.extra: deque[Answer] = deque()  # answers nobody asked for

    @property
    def ready(self) -> bool:
        return True

    @property
    def trouble(self) -> str:
        return ""

    @property
    def serving(self) -> None:
        return None

    def refusal(self, now_ns: int, decide_by_ns: int) -> tuple[Fault, str] | None:
        return None

    def filenos(self) -> Sequence[int]:
        return ()

    def alert_ns(self) -> int | None:
        return self._alert_ns

    def alert(self, now_ns: int, due_ns: int) -> None:
        self.alerts.append((now_ns, due_ns))

    def submit(self, frame: Frame, decide_by_ns: int) -> None:
        self._pool.hold(frame.slot, Holder.ENGINE)
        if self._behaviour(frame.part) != "hang":
            self._due.append((self._clock.now_ns() + self._cost_ns(frame.part), frame))
            self._due.sort(key=lambda entry: entry[0])

    def abandon(self, part: int) -> None:
        pass

    def poll(self, now_ns: int) -> Answer | None:
        if self.extra:
            return self.extra.popleft()
        if not self._due or self._due[0][0] > now_ns:
            return None
        _, frame = self._due.pop(0)
        self._pool.release(frame.slot, Holder.ENGINE)
        died = self._behaviour(frame.part) == "die"
        outcome = Fault.ENGINE_DOWN if died else self._outcome(frame.part)
        return Answer(frame.part, frame.slot, frame.generation, outcome)

    def due_ns(self) -> int | None:
        return self._due[0][0] if self._due else None

    def close(self) -> None:
        pass


class RecordingActuator:
    """A controller that acks at once and keeps what it was told.

    miscount is added to its cumulative counts; deaf parts never get an ack.
    """

    def __init__(
        self,
        clock: ManualClock,
        *,
        connected: bool = True,
        miscount: int = 0,
        deaf: frozenset[int] = frozenset(),
    ) -> None:
        self._clock, self._connected = clock, connected
        self._miscount, self._deaf = miscount, deaf
        self.expected: list[int] = []
        self.held = False
        self.commands: list[tuple[int, Decision]] = []
        self._counts: dict[Action, int] = {}
        self._acks: deque[Ack] = deque()
        self._fd = os.eventfd(0)

    @property
    def controller(self) -> str:
        return "scripted" if self._connected else ""

    @property
    def counts(self) -> dict[Action, int] | None:
        return self._counts if self._connected else None

    def fileno(self) -> int:
        return self._fd

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> str:
        self.expected.append(part)
        return self.controller

    def nudge(self) -> None:
        pass

    def hold(self, on: bool) -> None:
        self.held = on

    @property
    def backlog(self) -> bool:
        return False

    def command(self, decision: Decision, deadline: Deadline) -> int:
        now_ns = self._clock.now_ns()
        self.commands.append((now_ns, decision))
        if not self._connected:
            return 0
        if decision.part not in self._deaf:
            counts = self._counts
            counts[decision.action] = counts.get(decision.action, 0) + 1
            told = dict(counts)
            told[decision.action] += self._miscount
            ack = Ack(decision.part, "applied", decision.action, now_ns, told, self.controller)
            self._acks.append(ack)
        return len(self.commands)

    def poll(self, now_ns: int) -> Ack | None:
        return self._acks.popleft() if self._acks else None

    def due_ns(self) -> int | None:
        return None

    def close(self) -> None:
        os.close(self._fd)


class ListRecorder:
    """Keeps every record and event in order."""

    def __init__(self) -> None:
        self.parts: list[PartRecord] = []
        self.events: list[tuple[str, int, str]] = []

    def part(self, record: PartRecord) -> None:
        self.parts.append(record)

    def event(self, kind: str, part: int, detail: str) -> None:
        self.events.append((kind, part, detail))
