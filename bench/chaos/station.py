"""The station under chaos: `edge run`'s own loop, engine and sockets, with a camera that fails.

python -m bench.chaos.station PLAN CALLS_FD     (started by bench/chaos/drive.py)
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from bench.chaos.logs import INJECTED, TRIGGERS, Lines, Tape, Triggered
from bench.chaos.plan import BURST, DRIVER_KINDS, Injection, Plan
from edge import app
from edge.core import config
from edge.core.clock import NS_PER_S, SystemClock
from edge.core.pool import FramePool, Holder, View
from edge.core.process import die_with_parent
from edge.core.types import Frame, NoFrame, Trigger
from sensors.repeats import Repeats
from sensors.scheduled import Label, Reader, ScheduledCamera
from sensors.synthetic import PartGenerator

BANK = 400  # pictures shown in turn: drawing one takes longer than inspecting it
CALL = struct.Struct("<Q")
DEFECT_SHARE = 0.1


def bank(seed: int) -> PartGenerator:
    """The parts that a run shows."""
    return PartGenerator(1_000_000 + seed, defect_share=DEFECT_SHARE)


class ChaosRows:
    """Parts from a bank of pictures, frozen and unfit where the plan says so."""

    def __init__(self, plan: Plan, injected: Lines) -> None:
        self._plan, self._injected = plan, injected
        self._by_part = {one.part: one for one in plan.injections}
        generator = bank(plan.seed)
        self._pictures = {index: generator.part(index).image for index in plan.pictures}
        self._belt = generator.belt(1)
        self._period_ns = round(NS_PER_S / plan.rate_hz) if plan.rate_hz else 0
        self._last_ns = 0  # the last arrival, from the start of the series
        self._burst_until = 0

    @property
    def parts(self) -> int | None:
        return self._plan.parts

    def label(self, part: int) -> Label | None:
        return None

    def defect_type(self, part: int) -> str:
        return ""

    def encoder(self, row: int) -> int | None:
        return None

    def reader(self) -> Reader:
        return _Reader(self._plan, self._pictures, self._belt, self._injected)

    def arrival_ns(self, row: int) -> int:
        part = row + 1
        pause_ns = self._plan.pauses_ns.get(part, self._period_ns)
        return self._last_ns + (0 if part <= self._burst_until else max(pause_ns, self._period_ns))

    def arrived(self, part: int, at_ns: int) -> Injection | None:
        """A part has come; what is to be broken at it."""
        self._last_ns = at_ns
        injection = self._by_part.get(part)
        if injection and injection.kind == "burst":
            self._burst_until = part + BURST
        return injection

    def is_burst(self, part: int) -> bool:
        return part <= self._burst_until


class _Reader:
    """Writes pictures into slots, in the grabber's thread, through the product's own checks."""

    def __init__(
        self,
        plan: Plan,
        pictures: Mapping[int, View],
        belt: View,
        injected: Lines,
    ) -> None:
        self._plan, self._pictures, self._belt = plan, pictures, belt
        self._by_part = {one.part: one for one in plan.injections}
        self._injected = injected
        self._repeats = Repeats(1)
        self._last = belt

    def fill(self, row: int, arrays: Mapping[str, View]) -> None:
        part = row + 1
        out = arrays["image"]
        np.copyto(out, self._picture(part, self._by_part.get(part)))
        self._last = out.copy()
        self._repeats.refuse(out)

    def _picture(self, part: int, injection: Injection | None) -> View:
        good = self._pictures[self._plan.picture(part)]
        match injection.kind if injection else None:
            case "camera_freeze":
                self._injected.injected("camera_freeze", part)
                return self._last
            case "unfit_picture":
                assert injection is not None
                self._injected.injected("unfit_picture", part)
                return self._unfit(good, injection.dice)
            case _:
                return good

    def _unfit(self, good: View, dice: int) -> View:
        """Lens capped, lamp glaring, out of focus, or no part there."""
        match dice % 4:
            case 0:
                return np.zeros_like(good)
            case 1:
                return np.full_like(good, 255)
            case 2:
                blurred: View = cv2.GaussianBlur(good, (0, 0), 8.0)
                return blurred
            case _:
                return self._belt

    def close(self) -> None:
        """Nothing is held open between rows."""


class ChaosCamera:
    """A scheduled camera that loses frames, comes in bursts, and calls the driver at its parts."""

    def __init__(self, rows: ChaosRows, pool: FramePool, plan: Plan, calls: int) -> None:
        at_most = None if plan.rate_hz else pool.slots // 2
        self._inner = ScheduledCamera(rows, pool, SystemClock(), at_most=at_most)
        self._rows, self._pool, self._calls, self._plan = rows, pool, calls, plan
        folder = Path(plan.folder)
        self._triggered, self._injected = Lines(folder / TRIGGERS), Lines(folder / INJECTED)
        self._start_ns = 0
        self._lost = {one.part for one in plan.injections if one.kind == "lost_frame"}

    @property
    def triggers(self) -> int:
        return self._inner.triggers

    @property
    def exhausted(self) -> bool:
        return self._inner.exhausted

    def fileno(self) -> int:
        return self._inner.fileno()

    def start(self, now_ns: int) -> None:
        self._start_ns = now_ns
        self._inner.start(now_ns)

    def due_ns(self, open_parts: int) -> int | None:
        return self._inner.due_ns(self._in_the_way(open_parts))

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        event = self._inner.poll(now_ns, self._in_the_way(open_parts))
        match event:
            case Trigger():
                self._take(event)
            case Frame() if event.part in self._lost:
                self._injected.injected("lost_frame", event.part)
                self._pool.release(event.slot, Holder.PART)
                return self.poll(now_ns, open_parts)
        return event

    def _in_the_way(self, open_parts: int) -> int:
        """A burst is held back by nothing."""
        return 0 if self._rows.is_burst(self.triggers + 1) else open_parts

    def _take(self, trigger: Trigger) -> None:
        part = trigger.part
        self._triggered.write(Triggered(part, trigger.trigger_ns, self._plan.picture(part)))
        injection = self._rows.arrived(part, trigger.trigger_ns - self._start_ns)
        if injection and injection.kind == "burst":
            self._injected.injected("burst", part, lasting_ns=NS_PER_S // 20)
        elif injection and injection.kind in DRIVER_KINDS:
            os.write(self._calls, CALL.pack(part))

    def stop(self) -> None:
        self._inner.stop()

    def close(self) -> None:
        self._inner.close()


def main(plan_path: str, calls: str, parent: str) -> None:
    """Run the station of a plan to its end; the balance goes to its folder."""
    die_with_parent(int(parent))
    plan = Plan.read(plan_path)
    folder = Path(plan.folder)
    station = config.load(folder / "station.toml", config.Station)
    rows = ChaosRows(plan, Lines(folder / INJECTED))
    balance = app.run(
        station,
        Tape(folder),
        folder,
        camera_for=lambda pool: ChaosCamera(rows, pool, plan, int(calls)),
        worker=("bench.chaos.worker", plan_path),
    )
    Lines(folder / "balance.json").write(balance)


if __name__ == "__main__":
    main(*sys.argv[1:])
