"""The station of a latency run: `edge run`'s own loop, engine, sockets and publisher, with pictures
from memory on a schedule.

python -m bench.latency.station PLAN     (started by bench/latency/drive.py)
"""

from __future__ import annotations

import math
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bench.latency import arrivals, columns, frames
from bench.latency.box.allocations import Allocations, Kept
from bench.latency.box.counters import Collections
from bench.latency.memory import MemoryCamera
from bench.latency.result import Plan
from edge import app
from edge.core import config
from edge.core.clock import now_ns
from edge.core.errors import EdgeError
from edge.core.ledger import Balance
from edge.core.pool import FramePool
from edge.core.process import die_with_parent
from edge.core.types import PartRecord, ViewSpec
from models import package

ROWS, ENDING = "parts.bin", "ending.json"
EVENTS_KEPT = 1000
KEPT_AT = 5
ROOT = Path(__file__).parents[2]
TRACE_AFTER = 50  # parts: what is allocated once has been
LEAVE_S = 10.0  # for the parent to look at the processes before they end


class StationPlan(msgspec.Struct, frozen=True):
    """What the station process is told."""

    folder: str
    station: config.Station
    plan: Plan
    parts: int | None  # timed ones; None until told to stop
    warm_up: int
    allocations: bool  # trace memory instead of timing anything
    fd: int
    parent_pid: int


class Event(msgspec.Struct, frozen=True):
    """Something that happened beside the parts."""

    kind: str
    part: int
    detail: str
    at_ns: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A message to the parent; `end` waits for an answer while the processes are looked at."""

    kind: Literal["warm", "progress", "end", "over", "failed"]
    at_ns: int = 0
    parts: int = 0  # closed, warm-up included
    error: str = ""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What a station leaves in its folder beside the parts."""

    balance: Balance
    collections: int  # of the garbage collector, with a part open
    allocated: Kept | None
    kept_at: list[str]  # the product's lines that kept most
    events: list[Event]
    events_lost: int


class _Tape:
    """The recorder: parts go to the columns, events are kept up to a number."""

    def __init__(self, plan: StationPlan, link: socket.socket) -> None:
        self._plan, self._link = plan, link
        self.columns = columns.Writer(Path(plan.folder) / ROWS)
        self.events: list[Event] = []
        self.events_lost = 0
        self.triggers: Callable[[], int] = lambda: 0
        self._allocations = _allocations(plan) if plan.allocations else None
        self.allocated: Kept | None = None
        self.kept_at: list[str] = []
        self._warm = False

    def part(self, record: PartRecord) -> None:
        self.columns.part(record)
        if not self._allocations:
            return
        if self._warm:
            self._allocations.part()
        elif self.columns.parts == TRACE_AFTER:
            self._allocations.start()

    def event(self, kind: str, part: int, detail: str) -> None:
        if len(self.events) < EVENTS_KEPT:
            self.events.append(Event(kind, part, detail, now_ns()))
        else:
            self.events_lost += 1

    @property
    def part_is_open(self) -> bool:
        """A timed part is under way."""
        return self._warm and self.triggers() > self.columns.parts

    def report(self) -> None:
        """Write what has come and tell the parent, never waiting for it."""
        if not self._warm and self.columns.parts >= self._plan.warm_up:
            self._warm = True
            self.tell("warm")
            if self._allocations:
                self._allocations.begin()
        self.columns.flush()
        self.tell("progress")

    @property
    def awaits_warm(self) -> bool:
        return not self._warm and self.columns.parts >= self._plan.warm_up

    def measure(self) -> None:
        """The end of the parts."""
        if self._allocations and self._warm:
            self.allocated = self._allocations.end()
            for line in self._allocations.lines[:KEPT_AT]:
                place = line.place.removeprefix(f"{ROOT}/")
                self.kept_at.append(f"{place}: {line.blocks} blocks, {line.bytes} bytes")

    def tell(self, kind: Literal["warm", "progress", "end"]) -> None:
        self.send(Told(kind=kind, at_ns=now_ns(), parts=self.columns.parts))

    def send(self, told: Told) -> None:
        with suppress(BlockingIOError, BrokenPipeError):  # a report lost is a line not shown
            self._link.send(msgspec.json.encode(told), socket.MSG_DONTWAIT)

    def leave(self) -> None:
        """Let the parent look at the processes while they are there."""
        self.columns.flush()
        self.tell("end")
        if select.select([self._link], [], [], LEAVE_S)[0]:
            self._link.recv(16)  # left unread, it would take our last words with it


class _Camera(MemoryCamera):
    """Ends with the tape's last word, while the processes of the run are still there."""

    def __init__(self, pool: FramePool, plan: StationPlan, tape: _Tape) -> None:
        pictures = frames.load(Path(plan.folder), _views(plan))
        schedule = arrivals.schedule(plan.plan, plan.parts, plan.warm_up)
        super().__init__(pool, pictures, schedule, arrivals.at_most(plan.plan), tape)
        self._tape = tape
        tape.triggers = lambda: self.triggers

    def close(self) -> None:
        self._tape.measure()
        self._tape.leave()
        super().close()


def _allocations(plan: StationPlan) -> Allocations:
    sizes = [math.prod(view.shape) * np.dtype(view.dtype).itemsize for view in _views(plan)]
    return Allocations(min(sizes))


def _views(plan: StationPlan) -> tuple[ViewSpec, ...]:
    return package.find(plan.station.engine.model).manifest.views


def main(plan_json: str) -> None:
    """Run the station of a plan to its end, or until SIGTERM."""
    plan = msgspec.json.decode(plan_json, type=StationPlan)
    die_with_parent(plan.parent_pid)
    with socket.socket(fileno=plan.fd) as link:
        tape = _Tape(plan, link)
        try:
            with Collections(lambda: tape.part_is_open) as collections:
                balance = _run(plan, tape)
        except EdgeError as error:  # process boundary: the parent says it
            tape.send(Told(kind="failed", error=str(error)[:4000]))
            return
        tape.columns.close()
        ending = Ending(
            balance=balance,
            collections=collections.while_open,
            allocated=tape.allocated,
            kept_at=tape.kept_at,
            events=tape.events,
            events_lost=tape.events_lost,
        )
        (Path(plan.folder) / ENDING).write_bytes(msgspec.json.encode(ending))
        tape.send(Told(kind="over", parts=tape.columns.parts))


def _run(plan: StationPlan, tape: _Tape) -> Balance:
    return app.run(
        plan.station, tape, Path(plan.folder), camera_for=lambda pool: _Camera(pool, plan, tape)
    )


if __name__ == "__main__":
    main(sys.argv[1])
