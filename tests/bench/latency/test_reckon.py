"""Figures from parts that are known to the nanosecond."""

from __future__ import annotations

import numpy as np
import pytest

from bench.latency.columns import FAULTS, ROW_TYPE, Rows
from bench.latency.reckon import MOST_OVERRUNS, MOST_SERIES, timed
from bench.latency.result import STAGES
from bench.latency.station import Event
from edge.core.types import Fault

MS = 1_000_000
# Milliseconds of the stages in STAGES' order: 55 in all, the ack 10 of them.
SPANS = dict(zip(STAGES, range(1, 11), strict=True))
LATENCY, SESSION = 45.0, float(SPANS["session"])
INSTANTS = (
    *("frame_ns", "received_by_worker_ns", "started_ns", "ended_ns", "answered_by_worker_ns"),
    *("answered_ns", "decided_ns", "sent_ns", "received_ns", "acked_ns"),
)


def rows_of(count: int, period_ms: int = 100) -> Rows:
    """Parts from 51 on, one like the other."""
    rows = np.zeros(count, ROW_TYPE)
    rows["part"] = np.arange(51, 51 + count)
    rows["trigger_ns"] = at = 1000 * MS + np.arange(count) * period_ms * MS
    for name, span in zip(INSTANTS, SPANS.values(), strict=True):
        at = at + span * MS
        rows[name] = at
    rows["verdict"] = rows["command_id"] = 1
    return rows


def defaulted(rows: Rows, place: int, fault: Fault) -> None:
    """As the loop records a part that nothing was heard of: no stamp of the worker."""
    for name in INSTANTS[1:6]:
        rows[name][place] = 0
    rows["verdict"][place], rows["miss"][place], rows["overrun"][place] = 0, 1, 1
    rows["fault"][place] = FAULTS.index(fault) + 1


def test_stages_add_up_to_the_latency():
    found = timed(rows_of(20), [], {})
    assert {name: spread["p50"] for name, spread in found.stages_ms.items()} == SPANS
    assert found.latency_ms["p50"] == LATENCY == sum(SPANS.values()) - SPANS["ack"]
    assert found.session_ms["max"] == SESSION
    assert found.overhead_ms["p99"] == LATENCY - SESSION
    assert found.timeline == found.minutes == []
    assert found.duration_s == pytest.approx(1.9 + 0.055)


def test_figures_are_of_the_parts_with_a_verdict_and_the_series_of_every_command():
    rows = rows_of(10)
    defaulted(rows, 3, Fault.DEADLINE)
    rows["received_ns"][3] += 5 * MS
    defaulted(rows, 4, Fault.NO_CONTROLLER)
    rows["received_ns"][4] = rows["acked_ns"][4] = 0
    found = timed(rows, [], {})
    assert found.latency_ms["max"] == LATENCY
    assert found.faults == {"deadline": 1, "no_controller": 1}
    assert found.series.latency_ms == [LATENCY] * 3 + [LATENCY + 5] + [LATENCY] * 5
    assert [(one.part, one.latency_ms) for one in found.timeline] == [(54, 50.0), (55, None)]
    assert found.timeline[0].second == pytest.approx(0.3)


def test_an_overrun_is_told_with_its_fault_its_slow_stages_and_what_else_happened():
    rows = rows_of(9)
    defaulted(rows, 3, Fault.DEADLINE)
    for name in INSTANTS[2:]:  # the worker had it 30 ms later
        rows[name][6] += 30 * MS
    rows["overrun"][6] = 1
    at_ns = int(rows["trigger_ns"][3])
    events = [
        Event("late_answer", 54, "came after decide_by; not sent", at_ns),
        Event("worker_replaced", 0, "hung", at_ns + 50 * MS),
        Event("realtime", 0, "long before", 0),
    ]
    first, second = timed(rows, events, {}).timeline
    assert first.why == (
        "deadline; late_answer: came after decide_by; not sent; worker_replaced: hung"
    )
    assert second.why == "the command came late; prepare 33.0 ms, usually 3.0"


def test_minutes_of_a_soak_and_its_memory():
    rows = rows_of(130, period_ms=1000)
    rows["overrun"][65] = 1
    rows["received_ns"][125] += 100 * MS
    minutes = timed(rows, [], {0: 60.0, 1: 61.0}).minutes
    assert [(m.minute, m.parts, m.overruns) for m in minutes] == [
        (0, 60, 0),
        (1, 60, 1),
        (2, 10, 0),
    ]
    assert [m.resident_mib for m in minutes] == [60.0, 61.0, 0.0]
    assert [m.max for m in minutes] == [LATENCY, LATENCY, LATENCY + 100]
    assert {m.session_p50 for m in minutes} == {SESSION}


def test_a_long_run_is_thinned_out_and_a_bad_one_cut_off():
    rows = rows_of(3 * MOST_SERIES)
    rows["overrun"] = 1
    found = timed(rows, [], {})
    assert found.series.step == 3
    assert len(found.series.latency_ms) == len(found.series.second) == MOST_SERIES
    assert len(found.timeline) == MOST_OVERRUNS


def test_no_part_at_all_has_no_figures():
    found = timed(rows_of(0), [], {})
    assert found.latency_ms is None
    assert set(found.stages_ms.values()) == {None}
    assert found.duration_s == found.throughput_hz == 0.0
