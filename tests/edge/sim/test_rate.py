"""Waiting for the engine, and how fast a line may run: against figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Action
from edge.sim.line import Line
from edge.sim.rate import fault, max_rate
from edge.sim.waiting import Measured, Overhead, timed

MS = 1_000_000
A, R = Action.ACCEPT, Action.REJECT


def both(ms):
    return Overhead(round(ms * MS), round(ms * MS))


def parts(*service_ms, actions=(A,), overhead_ms=0.0):
    return [
        Measured(n + 1, actions[n % len(actions)], round(ms * MS), both(overhead_ms))
        for n, ms in enumerate(service_ms)
    ]


def test_parts_wait_for_those_before_them():
    line = Line()  # 50 ms apart, decided by 45 ms
    found = timed(parts(10, 40, 10, overhead_ms=2), line, 5.0)
    assert [one.latency_ns / MS for one in found] == [12, 42, 12]
    assert [one.at_gate.heard_ns / MS for one in found] == [12, 92, 112]


@pytest.mark.parametrize(
    ("service_ms", "missed", "latency_ms"),
    [
        ((20, 5, 5), (False, False, False), (20, 15, 10)),
        ((24, 12, 5), (False, True, False), (24, 25, 21)),
        ((40, 5, 5), (True, True, True), (25, 25, 25)),
        ((44, 5, 5), (True, True, True), (25, 25, 25)),
        ((30, 4, 4), (True, False, False), (25, 24, 18)),
    ],
)
def test_what_a_slow_part_does_to_the_next(service_ms, missed, latency_ms):
    line = Line(spacing_mm=10, part_mm=5, camera_to_gate_mm=60)  # 10 ms apart, decided by 25 ms
    found = timed(parts(*service_ms), line, 5.0)
    assert tuple(one.missed for one in found) == missed
    assert tuple(one.latency_ns / MS for one in found) == latency_ms
    assert [one.at_gate.action for one in found] == [R if late else A for late in missed]


@pytest.mark.parametrize(
    ("line", "taken", "actions", "rate_hz", "bound"),
    [
        # At the gate 80 mm behind after 30 + 5 + 10 ms: 1777.8 mm/s.
        (Line(part_mm=5), [10] * 60, (A,), 80 / 0.045 / 50, "budget"),
        # 10 ms each: 100 a second, however many may wait on a long way to the gate.
        (
            Line(camera_to_gate_mm=800, spacing_mm=5, part_mm=1, travel_ms=0, reaction_ms=0),
            [10] * 3000,
            (A,),
            100.0,
            "inference",
        ),
        # There and back over a gap of 30 mm in 20 ms: 1500 mm/s, well within the budget.
        (Line(), [1] * 60, (A, R), 30.0, "gate"),
        # The blade never has to move.
        (Line(), [1] * 60, (R,), 80 / 0.036 / 50, "budget"),
        # An arm with a cycle of 300 ms for each second part, and 40 mm of belt to make up for it
        # where there are only two of them to pick.
        (Line(machine="arm", rest="pass", window_mm=0), [1] * 60, (A, R), 1000 / 150, "gate"),
        (Line(part_mm=5, reaction_ms=0, travel_ms=0), [1e-6] * 9, (A,), None, "budget"),
        (
            Line(camera_to_gate_mm=1e6, reaction_ms=0, travel_ms=0),
            [1e-6] * 9,
            (A,),
            10_000,
            "limit",
        ),
    ],
)
def test_how_fast_a_line_may_run_and_why_not_faster(line, taken, actions, rate_hz, bound):
    found = max_rate(parts(*taken, actions=actions), line, 5.0)
    assert found.bound_by == bound
    assert found.parts == len(taken)
    if rate_hz is not None:
        assert found.rate_hz <= 1.02 * rate_hz
        assert found.rate_hz >= 0.995 * rate_hz


def test_one_slow_part_decides_and_no_parts_give_no_rate():
    line = Line(part_mm=5)
    slow = max_rate(parts(*[5] * 50, 25), line, 5.0)
    assert slow.bound_by == "budget"
    assert slow.rate_hz == pytest.approx(80 / 0.060 / 50, rel=0.002)
    assert max_rate([], line, 5.0) is None
    assert max_rate(parts(1e9), line, 5.0) is None


def test_a_rate_that_failed_in_real_time_is_not_called_possible():
    measured = parts(*[5] * 50)
    found = max_rate(measured, Line(), 5.0, failed_hz=20.0)
    assert found.bound_by == "inference"
    assert 20.0 > found.rate_hz > 19.9
    slow = max_rate(parts(*[60] * 50), Line(), 5.0, failed_hz=20.0)
    assert slow == max_rate(parts(*[60] * 50), Line(), 5.0)


@given(
    st.lists(st.tuples(st.floats(0.1, 60), st.sampled_from(list(Action))), min_size=1, max_size=40),
    st.sampled_from(["diverter", "arm"]),
    st.sampled_from(["reject", "pass"]),
    st.floats(20, 400),
)
def test_the_rate_found_is_free_of_faults_and_a_little_more_is_not(told, machine, rest, way_mm):
    line = Line(machine=machine, rest=rest, camera_to_gate_mm=way_mm)
    measured = [Measured(n, action, round(ms * MS), both(1)) for n, (ms, action) in enumerate(told)]
    found = max_rate(measured, line, 5.0)
    assert found is not None
    assert fault(measured, line.at_rate(found.rate_hz), 5.0) is None
    if found.bound_by != "limit":
        little = [fault(measured, line.at_rate(found.rate_hz * f), 5.0) for f in (1.0005, 1.0011)]
        assert any(little)
