"""A camera with its pictures in the slots: when parts come, what they show, when it reports."""

from __future__ import annotations

import numpy as np
import pytest

from bench.latency.arrivals import Evenly
from bench.latency.memory import OVERDUE_NS, REPORT_NS, MemoryCamera
from edge.core.clock import NS_PER_MS
from edge.core.pool import FramePool, Holder
from edge.core.types import Fault, Frame, NoFrame, Trigger, ViewSpec

VIEWS = (ViewSpec("image", "picture", "uint8", (4, 4)),)
PICTURES = [{"image": np.full((4, 4), gray, np.uint8)} for gray in (10, 20, 30)]
SLOTS = 6


class Reports:
    """Counts what it is let write."""

    def __init__(self):
        self.count, self.awaits_warm = 0, False

    def report(self):
        self.count += 1


@pytest.fixture
def camera():
    made = []

    def make(schedule, at_most=None):
        pool, reports = FramePool.create(VIEWS, SLOTS), Reports()
        one = MemoryCamera(pool, PICTURES, schedule, at_most, reports)
        one.start(0)
        made.append((one, pool))
        return one, pool, reports

    yield make
    for one, pool in made:
        one.close()
        pool.close()


def test_in_an_open_loop_a_trigger_is_its_scheduled_arrival_however_late_it_is_taken(camera):
    camera, _, _ = camera(Evenly(10 * NS_PER_MS, 3))
    assert camera.poll(0, 0) == Trigger(1, 1, 0)
    assert camera.poll(0, 1).ready_ns == 0
    assert camera.poll(9 * NS_PER_MS, 1) is None
    assert camera.due_ns(1) == 10 * NS_PER_MS
    late = 35 * NS_PER_MS
    taken = [camera.poll(late, 1) for _ in range(5)]
    assert [e.trigger_ns for e in taken if isinstance(e, Trigger)] == [10_000_000, 20_000_000]
    assert camera.exhausted
    assert camera.due_ns(0) is None


def test_each_slot_keeps_its_picture_and_all_of_them_are_shown(camera):
    camera, pool, _ = camera(Evenly(0, None), at_most=1)
    shown = []
    for turn in range(1, 2 * SLOTS + 1):
        trigger, frame = camera.poll(turn, 0), camera.poll(turn, 1)
        assert (trigger.part, frame.part, frame.ready_ns) == (turn, turn, turn)
        shown.append(int(pool.arrays(frame.slot)["image"][0, 0]))
        pool.release(frame.slot, Holder.PART)
    assert shown == [10, 20, 30] * (2 * SLOTS // 3)


def test_where_so_many_may_be_open_the_next_is_held_back_until_one_is_closed(camera):
    camera, _, _ = camera(Evenly(0, None), at_most=2)
    assert isinstance(camera.poll(5, 0), Trigger)
    assert isinstance(camera.poll(5, 1), Frame)
    assert isinstance(camera.poll(6, 1), Trigger)
    assert isinstance(camera.poll(6, 2), Frame)
    assert camera.poll(7, 2) is None
    assert camera.due_ns(2) is None
    assert camera.poll(8, 1) == Trigger(3, 3, 8)


def test_without_a_free_slot_a_part_is_a_missed_trigger(camera):
    camera, _, _ = camera(Evenly(0, None), at_most=SLOTS + 1)
    events = [camera.poll(1, n // 2) for n in range(2 * SLOTS + 2)]
    assert isinstance(events[-1], NoFrame)
    assert events[-1].fault is Fault.MISSED_TRIGGER
    assert str(SLOTS) in events[-1].detail


def test_a_report_waits_for_a_pause_and_not_for_ever(camera):
    camera, _, reports = camera(Evenly(5 * NS_PER_MS, None))
    now_ns = REPORT_NS - 1
    while camera.due_ns(0) < now_ns:  # catch up
        camera.poll(now_ns, 0)
    assert reports.count == 0
    camera.poll(REPORT_NS + 1, 0)
    assert reports.count == 0  # a part is due within 12 ms
    overdue_ns = REPORT_NS + OVERDUE_NS
    while reports.count == 0:
        now_ns += NS_PER_MS
        camera.poll(now_ns, 1)
        assert now_ns < 2 * overdue_ns
    assert now_ns >= overdue_ns


def test_where_parts_are_held_back_the_next_is_let_in_after_the_report(camera):
    camera, _, reports = camera(Evenly(0, None), at_most=1)
    assert isinstance(camera.poll(1, 0), Trigger)
    assert isinstance(camera.poll(1, 1), Frame)
    reports.awaits_warm = True
    assert camera.poll(2, 1) is None
    assert reports.count == 0
    assert camera.poll(3, 0) is None
    assert reports.count == 1
    reports.awaits_warm = False
    assert isinstance(camera.poll(4, 0), Trigger)


def test_stopped_it_lets_no_part_in(camera):
    camera, _, _ = camera(Evenly(NS_PER_MS, None))
    camera.stop()
    assert camera.exhausted
    assert camera.due_ns(0) is None
    assert camera.poll(10 * NS_PER_MS, 0) is None
