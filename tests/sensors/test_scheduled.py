"""The scheduled camera and its grabber: order, times, leases, and nothing lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

import pytest

from edge.core.pool import FramePool, Holder, View
from edge.core.types import Fault, Frame, NoFrame, Trigger
from edge.testing import ManualClock
from sensors.grabber import UnreadError
from sensors.scheduled import Label, ScheduledCamera

SPACING_NS = 50_000_000
Event = Trigger | Frame | NoFrame
Take, Release = Callable[..., Event], Callable[[FramePool, Event], Event]


class ScriptedRows:
    """Rows whose reading can be held up, fail or burst; each writes its number into the slot."""

    def __init__(self, parts: int | None, trouble: Mapping[int, Exception] | None = None) -> None:
        self._parts, self._trouble = parts, trouble or {}
        self.gate = threading.Event()
        self.gate.set()
        self.begun: list[int] = []
        self.closed = False
        self.spent_ns: int | None = None

    @property
    def parts(self) -> int | None:
        return self._parts

    def arrival_ns(self, row: int) -> int:
        return row * SPACING_NS

    def label(self, part: int) -> Label | None:
        return "defect" if part % 2 else "good"

    def defect_type(self, part: int) -> str:
        return "scratch" if part % 2 else ""

    def encoder(self, row: int) -> int | None:
        return row * 7

    def reader(self) -> ScriptedRows:
        return self

    def fill(self, row: int, arrays: Mapping[str, View]) -> int | None:
        self.begun.append(row)
        self.gate.wait(5)
        arrays["image"].fill(row % 256)
        if row in self._trouble:
            raise self._trouble[row]
        return self.spent_ns

    def close(self) -> None:
        self.closed = True


def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    for _ in range(int(within_s / 0.002)):
        if condition():
            return
        time.sleep(0.002)
    pytest.fail("it never happened")


def test_parts_come_in_order_at_their_arrival(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    rows, clock = ScriptedRows(12), ManualClock(7)
    camera = ScheduledCamera(rows, pool, clock)
    assert camera.due_ns(0) == 0
    for part in range(1, 13):
        clock.now = 7 + (part - 1) * SPACING_NS
        assert next_event(camera, clock.now) == Trigger(part, part, clock.now, 7 * part - 7)
        frame = next_event(camera, clock.now, open_parts=1)
        assert isinstance(frame, Frame)
        assert (frame.part, frame.ready_ns) == (part, clock.now)
        assert (pool.arrays(frame.slot)["image"] == part - 1).all()
        assert pool.generation(frame.slot) == frame.generation
        released(pool, frame)
    assert (camera.triggers, camera.exhausted, camera.due_ns(0)) == (12, True, None)
    assert camera.poll(clock.now, 0) is None
    assert (camera.label(1), camera.label(2)) == ("defect", "good")
    camera.close()
    assert rows.closed


def test_nothing_decoded_ahead_is_handed_out_before_its_arrival(
    pool: FramePool, released: Release
) -> None:
    rows = ScriptedRows(10)
    camera = ScheduledCamera(rows, pool, ManualClock(), ahead=3)
    camera.start(1000)
    until(lambda: len(rows.begun) == 3)
    time.sleep(0.02)
    assert rows.begun == [0, 1, 2], "it went further ahead than allowed"
    assert camera.poll(999, 0) is None
    assert camera.due_ns(0) == 1000
    assert isinstance(camera.poll(1000, 0), Trigger)
    first = camera.poll(1000, 1)
    assert isinstance(released(pool, first), Frame)  # type: ignore[arg-type]
    assert camera.poll(1000 + SPACING_NS - 1, 0) is None
    camera.close()


def test_a_trigger_does_not_wait_for_a_slow_decode(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    rows, clock = ScriptedRows(2), ManualClock()
    rows.gate.clear()
    camera = ScheduledCamera(rows, pool, clock)
    assert isinstance(camera.poll(0, 0), Trigger)
    assert camera.poll(0, 1) is None
    assert camera.poll(SPACING_NS, 1) == Trigger(2, 2, SPACING_NS, 7)
    clock.now = SPACING_NS + 5
    rows.gate.set()
    frames = [released(pool, next_event(camera, clock.now, open_parts=2)) for _ in range(2)]
    assert [(f.part, f.ready_ns) for f in frames if isinstance(f, Frame)] == [
        (1, clock.now),
        (2, clock.now),
    ]
    camera.close()


@pytest.mark.parametrize("at_most", [None, 1])
def test_what_is_spent_on_a_picture_counts_in_real_time(
    pool: FramePool, next_event: Take, released: Release, at_most: int | None
) -> None:
    rows, clock = ScriptedRows(2), ManualClock(7)
    rows.spent_ns = 3_000_000
    camera = ScheduledCamera(rows, pool, clock, at_most=at_most)
    until(lambda: len(rows.begun) == 2)
    for row in range(2):
        trigger_ns = 7 + row * SPACING_NS
        ready_ns = trigger_ns + 3_000_000
        assert isinstance(next_event(camera, trigger_ns), Trigger)
        if at_most is None:
            assert camera.poll(trigger_ns, 1) is None
            assert camera.due_ns(1) == ready_ns
            assert camera.poll(ready_ns - 1, 1) is None
        frame = released(pool, next_event(camera, ready_ns, open_parts=1))
        assert isinstance(frame, Frame)
        assert frame.ready_ns == (ready_ns if at_most is None else trigger_ns)
        assert frame.registration_ns == 3_000_000  # at any pace, it is what it took
    assert camera.due_ns(0) is None
    camera.close()


def test_lockstep_holds_the_next_part_back(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    camera = ScheduledCamera(ScriptedRows(3), pool, ManualClock(), at_most=1)
    assert isinstance(camera.poll(0, 0), Trigger)
    released(pool, next_event(camera, 0, open_parts=1))
    late_ns = SPACING_NS + 9
    assert camera.due_ns(1) is None
    assert camera.poll(late_ns, 1) is None
    assert camera.due_ns(0) == SPACING_NS
    trigger = camera.poll(late_ns, 0)
    assert trigger == Trigger(2, 2, late_ns, 7), "held back, it arrives when let go"
    released(pool, next_event(camera, late_ns, open_parts=1))
    assert camera.poll(3 * SPACING_NS, 0) == Trigger(3, 3, 2 * SPACING_NS, 14)
    released(pool, next_event(camera, 3 * SPACING_NS, open_parts=1))
    camera.close()


def test_a_broken_row_costs_its_own_part_only(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    trouble = {
        1: UnreadError(Fault.NO_IMAGE, "b.png: no such file"),
        2: UnreadError(Fault.BAD_FRAME, "c.png: not a whole picture file"),
        4: RuntimeError("a decoder's surprise"),
    }
    camera = ScheduledCamera(ScriptedRows(6, trouble), pool, ManualClock())
    outcomes = []
    for part in range(1, 7):
        now_ns = (part - 1) * SPACING_NS
        assert isinstance(next_event(camera, now_ns), Trigger)
        outcomes.append(released(pool, next_event(camera, now_ns, open_parts=1)))
    assert [o.part for o in outcomes] == [1, 2, 3, 4, 5, 6]
    assert [o.fault for o in outcomes if isinstance(o, NoFrame)] == [
        *(Fault.NO_IMAGE, Fault.BAD_FRAME, Fault.BAD_FRAME),
    ]
    assert outcomes[1] == NoFrame(2, Fault.NO_IMAGE, "b.png: no such file")
    assert isinstance(outcomes[4], NoFrame)
    assert "RuntimeError: a decoder's surprise" in outcomes[4].detail
    camera.close()


def test_a_pool_without_a_free_slot_is_a_missed_trigger(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    camera = ScheduledCamera(ScriptedRows(20), pool, ManualClock(), ahead=3)
    frames, now_ns = [], 0
    for part in range(1, 9):
        now_ns = (part - 1) * SPACING_NS
        assert isinstance(next_event(camera, now_ns), Trigger)
        frames.append(next_event(camera, now_ns, open_parts=part))
    assert all(isinstance(frame, Frame) for frame in frames)
    assert pool.free == 0, "arrived parts may take the spare slots"
    now_ns += SPACING_NS
    assert isinstance(next_event(camera, now_ns, open_parts=8), Trigger)
    missed = next_event(camera, now_ns, open_parts=9)
    assert missed == NoFrame(9, Fault.MISSED_TRIGGER, "all 8 slots of the pool are held")
    assert camera.missed == 1
    for frame in frames:
        released(pool, frame)
    now_ns += SPACING_NS
    assert isinstance(next_event(camera, now_ns), Trigger)
    again = next_event(camera, now_ns, open_parts=1)
    assert isinstance(again, Frame), "it goes on when there is room"
    assert again.generation >= 2, "a slot used again has a new generation"
    released(pool, again)
    camera.close()


def test_decoding_ahead_leaves_slots_to_the_station(pool: FramePool) -> None:
    rows = ScriptedRows(20)
    camera = ScheduledCamera(rows, pool, ManualClock(), ahead=20, spare=5)
    camera.start(1000)
    until(lambda: len(rows.begun) == 3)
    time.sleep(0.02)
    assert (len(rows.begun), pool.free) == (3, 5)
    slot, _ = pool.lease(99) or (-1, -1)
    pool.release(slot, Holder.PART)
    camera.close()


def test_a_starved_thread_goes_on_once_slots_come_back(pool: FramePool) -> None:
    held = [pool.lease(100 + i) for i in range(7)]
    rows = ScriptedRows(5)
    camera = ScheduledCamera(rows, pool, ManualClock(), spare=2)
    camera.start(1000)
    time.sleep(0.02)
    assert rows.begun == []
    for lease in held:
        assert lease is not None
        pool.release(lease[0], Holder.PART)
    assert camera.poll(0, 0) is None
    until(lambda: len(rows.begun) == 3)
    camera.close()


def test_stop_takes_no_further_part_but_finishes_those_that_came(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    camera = ScheduledCamera(ScriptedRows(None), pool, ManualClock())
    assert isinstance(camera.poll(0, 0), Trigger)
    camera.stop()
    assert camera.exhausted
    assert camera.due_ns(1) is None
    assert isinstance(released(pool, next_event(camera, 9 * SPACING_NS, open_parts=1)), Frame)
    assert camera.poll(9 * SPACING_NS, 0) is None
    assert camera.triggers == 1
    camera.close()


@pytest.mark.parametrize("moment", ["at once", "ahead", "arrived", "decoding"])
def test_close_is_prompt_and_leaks_nothing(pool: FramePool, moment: str) -> None:
    rows, before = ScriptedRows(None), len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    if moment == "decoding":
        rows.gate.clear()
        threading.Timer(0.05, rows.gate.set).start()
    camera = ScheduledCamera(rows, pool, ManualClock())
    if moment != "at once":
        until(lambda: len(rows.begun) == (1 if moment == "decoding" else 3))
    if moment == "arrived":
        assert isinstance(camera.poll(0, 0), Trigger)
    began = time.monotonic()
    camera.close()
    camera.close()
    assert time.monotonic() - began < 0.5
    assert pool.free == pool.slots
    until(lambda: threading.active_count() == threads)
    assert len(os.listdir("/proc/self/fd")) <= before  # fewer: what an earlier test left is gone


def test_a_dead_thread_is_reported_part_by_part(pool: FramePool, next_event: Take) -> None:
    class Unreadable(ScriptedRows):
        def reader(self) -> ScriptedRows:
            raise OSError("the disk is gone")

    camera = ScheduledCamera(Unreadable(3), pool, ManualClock())
    for part in (1, 2):
        now_ns = (part - 1) * SPACING_NS
        assert isinstance(camera.poll(now_ns, 0), Trigger)
        event = next_event(camera, now_ns, open_parts=1)
        assert event == NoFrame(part, Fault.NO_IMAGE, "camera thread: OSError: the disk is gone")
    camera.close()


def test_many_parts_in_real_threads_keep_their_pixels(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    """Slots are reused hundreds of times while the thread runs ahead: none may be torn."""
    camera = ScheduledCamera(ScriptedRows(400), pool, ManualClock(), ahead=4)
    seen: dict[int, int] = {}
    for part in range(1, 401):
        now_ns = (part - 1) * SPACING_NS
        assert isinstance(next_event(camera, now_ns), Trigger)
        frame = next_event(camera, now_ns, open_parts=1)
        assert isinstance(frame, Frame)
        assert (pool.arrays(frame.slot)["image"] == (part - 1) % 256).all()
        assert frame.generation > seen.get(frame.slot, 0)
        seen[frame.slot] = frame.generation
        released(pool, frame)
    assert camera.missed == 0
    camera.close()
