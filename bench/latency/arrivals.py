"""When parts arrive: the schedules of the scenarios, how long they last, and when one is given up.

    constant  a fixed period; or a recorded list of arrivals; or bursts of parts at the same
              instant; or stretches of 20 parts with idle gaps between them
    server    Poisson arrivals from a seed
    single    the next part arrives when the one before is closed
    offline   OPEN parts at once, as many as keep the engine fed

constant and server are open loops: a part's latency counts from its scheduled arrival, however
busy the station was with others then (no coordinated omission).
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bench.latency.result import Plan
from edge.core.bounds import lower_95
from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.errors import ConfigError

WARM_UP = 50  # parts before the timed ones: caches, the allocator and the beat have settled
# 0 overruns in 2,995 parts bounds the rate below 1 in 1,000 at 95 %.
LEAST_PARTS, LEAST_S = 3000, 60.0
STRETCH = 20  # parts between two idle gaps
GAP_ROUNDS = 5  # so often is each gap seen by default
# One part in its session, one waiting in its slot, one whose ack is on its way. A part waits for
# one session at most, so no deadline is broken by the queue as long as two sessions fit into it.
# deeppcb on a busy 2-core box: 167, 208, 354 and 301 parts/s with 1, 2, 3 and 4 open; with 4 and
# more, deadlines were missed.
OPEN = 3
HOPELESS_RATE, HOPELESS_PARTS = 0.10, 100
MOST_ARRIVALS = 10_000_000


class Schedule(Protocol):
    """How many parts there are and when each arrives, counted from 0, from the start."""

    @property
    def parts(self) -> int | None: ...

    def arrival_ns(self, row: int) -> int: ...


class Evenly:
    """Every period so many parts at the same instant; period 0 is as soon as they are let in."""

    def __init__(self, period_ns: int, parts: int | None, *, burst: int = 1) -> None:
        self._period_ns, self.parts, self._burst = period_ns, parts, burst

    def arrival_ns(self, row: int) -> int:
        return row // self._burst * self._period_ns


class Listed:
    """Every arrival known beforehand, in memory that does not grow while parts come."""

    def __init__(self, arrivals_ns: array[int]) -> None:
        self._arrivals_ns = arrivals_ns
        self.parts: int | None = len(arrivals_ns)

    def arrival_ns(self, row: int) -> int:
        return self._arrivals_ns[row]


class Length(NamedTuple):
    """How many timed parts; None: until so many parts and so many seconds have both passed."""

    parts: int | None
    least_parts: int
    least_s: float

    def reached(self, parts: int, seconds: float) -> bool:
        return self.parts is None and parts >= self.least_parts and seconds >= self.least_s

    def words(self) -> str:
        if self.parts is not None:
            return f"{self.parts} parts"
        least = [f"{self.least_parts} parts"] if self.least_parts else []
        return " and ".join([*least, f"{self.least_s:g} s"])


def length(plan: Plan) -> Length:
    """What was asked for, else the scenario's default: LEAST_PARTS parts and LEAST_S seconds."""
    if plan.parts is not None:
        return Length(plan.parts, plan.parts, 0.0)
    if at_most(plan):
        if plan.minutes is None:
            return Length(None, LEAST_PARTS, LEAST_S)
        return Length(None, 0, 60.0 * plan.minutes)
    if plan.arrivals:
        recorded = read_arrivals(Path(plan.arrivals))
        until_ns = recorded[-1] if plan.minutes is None else plan.minutes * 60 * NS_PER_S
        return Length(sum(at_ns <= until_ns for at_ns in recorded), 0, 0.0)
    assert plan.rate_hz is not None
    if plan.minutes is not None:
        seconds = 60.0 * plan.minutes
        if plan.gaps_s:
            return Length(_parts_with_gaps(plan, seconds), 0, 0.0)
        return Length(max(1, round(seconds * plan.rate_hz)), 0, 0.0)
    if plan.gaps_s:
        return Length(GAP_ROUNDS * STRETCH * len(plan.gaps_s) + STRETCH, 0, 0.0)
    return Length(max(LEAST_PARTS, round(LEAST_S * plan.rate_hz)), 0, 0.0)


def at_most(plan: Plan) -> int | None:
    """How many parts may be open before the next is held back; None for an open loop."""
    return {"single": 1, "offline": OPEN}.get(plan.scenario)


def schedule(plan: Plan, parts: int | None, warm_up: int) -> Schedule:
    """The arrivals of the warm-up parts and the timed ones behind them."""
    if at_most(plan):
        planned = None if parts is None else warm_up + parts
        return Evenly(0, planned)
    assert parts is not None
    rate_hz = plan.rate_hz or 20.0  # of the warm-up before a recorded list
    period_ns = round(NS_PER_S / rate_hz)
    if plan.arrivals:
        recorded = read_arrivals(Path(plan.arrivals))[:parts]
        lead = [row * period_ns for row in range(warm_up)]
        return Listed(array("q", [*lead, *(warm_up * period_ns + at_ns for at_ns in recorded)]))
    if plan.gaps_s:
        return Listed(_with_gaps(plan.gaps_s, period_ns, parts, warm_up))
    if plan.scenario == "server":
        pauses = np.random.default_rng(plan.seed).exponential(NS_PER_S / rate_hz, warm_up + parts)
        return Listed(array("q", np.cumsum(pauses).astype(np.int64).tobytes()))
    return Evenly(period_ns * plan.burst, warm_up + parts, burst=plan.burst)


def read_arrivals(path: Path) -> list[int]:
    """A recorded list: one arrival a line in milliseconds, never falling; as ns from the first.

    Empty lines and those that begin with # are left out. ConfigError names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"--arrivals {path}: cannot be read: {reason}") from None
    arrivals: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            at_ns = round(float(text) * NS_PER_MS)
        except (ValueError, OverflowError):
            raise ConfigError(
                f"--arrivals {path} line {number}: {text[:40]!r} is not a time in milliseconds"
            ) from None
        if arrivals and at_ns < arrivals[-1]:
            raise ConfigError(f"--arrivals {path} line {number}: earlier than the line before")
        arrivals.append(at_ns)
    if not 2 <= len(arrivals) <= MOST_ARRIVALS:
        raise ConfigError(
            f"--arrivals {path}: {len(arrivals)} arrivals; allowed: 2 to {MOST_ARRIVALS}"
        )
    return [at_ns - arrivals[0] for at_ns in arrivals]


def mean_rate_hz(plan: Plan) -> float | None:
    """Parts a second while parts come; None where the station sets the pace itself."""
    if plan.arrivals:
        recorded = read_arrivals(Path(plan.arrivals))
        return (len(recorded) - 1) * NS_PER_S / max(1, recorded[-1])
    return plan.rate_hz


def hopeless(parts: int, overruns: int) -> str:
    """Why to end a run before its time; "" to go on. Good figures never end a run.

    From HOPELESS_PARTS timed parts on, looked at about once a second.
    """
    if parts < HOPELESS_PARTS or lower_95(overruns, parts) <= HOPELESS_RATE:
        return ""
    return (
        f"stopped early: {overruns} overruns in {parts} parts, "
        f"so the rate is above {HOPELESS_RATE:.0%} (exact lower 95 % bound)"
    )


def _with_gaps(gaps_s: tuple[float, ...], period_ns: int, parts: int, warm_up: int) -> array[int]:
    arrivals, at_ns = array("q"), 0
    for row in range(warm_up + parts):
        timed = row - warm_up
        if timed > 0 and timed % STRETCH == 0:
            gap = gaps_s[(timed // STRETCH - 1) % len(gaps_s)]
            at_ns += round(gap * NS_PER_S)
        elif row:
            at_ns += period_ns
        arrivals.append(at_ns)
    return arrivals


def _parts_with_gaps(plan: Plan, seconds: float) -> int:
    assert plan.rate_hz is not None
    parts, spent, turn = 0, 0.0, 0
    while spent < seconds:
        spent += (STRETCH - 1) / plan.rate_hz + plan.gaps_s[turn % len(plan.gaps_s)]
        parts, turn = parts + STRETCH, turn + 1
    return parts
