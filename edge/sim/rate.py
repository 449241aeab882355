"""How fast a line may run: the belt quicker, the distances kept, and nothing late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edge.core.clock import NS_PER_MS
from edge.core.types import Record
from edge.sim.line import Line
from edge.sim.physics import outcomes
from edge.sim.waiting import Measured, timed

# inference: the engine cannot keep up. budget: a part is at the gate before even a verdict that
# waits for nobody. gate: the machine is still busy with the neighbour. limit: no source of parts
# is faster.
Bound = Literal["inference", "budget", "gate", "limit"]
STEP = 1.05
CLOSE = 1.001  # the bisection ends with the rates this near to each other
LEAST_HZ = 0.01


class MaxRate(Record, frozen=True):
    """The highest rate found, what forbids a higher one, and the parts it rests on."""

    rate_hz: float
    bound_by: Bound
    parts: int


def max_rate(
    parts: Sequence[Measured], line: Line, margin_ms: float, *, failed_hz: float | None = None
) -> MaxRate | None:
    """The highest rate at which these parts all have a verdict in time and leave as it says.

    None without parts, or where not even LEAST_HZ is slow enough. It assumes that each part
    takes what it took when it was measured, at any rate; that the station takes parts one after
    another, first come first served, at even distances; and that only the belt's speed changes.
    A slower part than the slowest of these would be late: the figure is no better than their
    number. From the line's own rate on, rates 5 % apart are tried up to the first that fails,
    and the gap before that is bisected. failed_hz: a rate at which a real run was late whatever
    these times say, so that it and all above it fail for the engine's sake.
    """
    if not parts:
        return None

    def why_not(rate_hz: float) -> Bound | None:
        if found := fault(parts, line.at_rate(rate_hz), margin_ms):
            return found
        return "inference" if failed_hz is not None and rate_hz >= failed_hz else None

    good_hz = line.rate_hz
    while why_not(good_hz):
        good_hz /= STEP
        if good_hz < LEAST_HZ:
            return None
    while True:
        if good_hz * CLOSE >= line.most_hz:
            return MaxRate(good_hz, "limit", len(parts))
        bad_hz = min(good_hz * STEP, line.most_hz)
        if why_not(bad_hz):
            break
        good_hz = bad_hz
    while bad_hz > good_hz * CLOSE:
        middle_hz = (good_hz + bad_hz) / 2.0
        if why_not(middle_hz):
            bad_hz = middle_hz
        else:
            good_hz = middle_hz
    bound = why_not(bad_hz)
    assert bound is not None
    return MaxRate(good_hz, bound, len(parts))


def fault(parts: Sequence[Measured], line: Line, margin_ms: float) -> Bound | None:
    """Why a belt like this is too fast for these parts; None where it is not."""
    decide_by_ns = line.gate.budget_ns(line.belt) - round(margin_ms * NS_PER_MS)
    if any(part.service_ns >= decide_by_ns for part in parts):
        return "budget"
    found = timed(parts, line, margin_ms)
    # A long budget hides for a while that the queue grows: these parts may end before it is spent.
    busy = sum(part.service_ns for part in parts) / line.belt.arrival_ns(len(parts))
    if busy > 1.0 or any(one.missed for one in found):
        return "inference"
    ends = outcomes((one.at_gate for one in found), line.belt, line.gate)
    return None if all(end.as_sent and not end.late for end in ends) else "gate"
