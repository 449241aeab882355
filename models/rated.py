"""How a package fares on one provider of this box, and when enough runs have been timed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge.core.bounds import rank_above
from edge.core.clock import NS_PER_MS

FULL_RUNS = 5000
# Times are looked at so often on the way, and a look may be the last. Each may err once in a
# hundred, so that all of them together err at most once in twenty.
LOOKS = (500, 1000, 2000, 4000, FULL_RUNS)
LOOK_TAIL = 0.05 / len(LOOKS)
HOPELESS_RUNS = 25


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """One provider and number of threads, as tried out by models/trial.py. Times are of
    session.run alone, back to back; p99_upper_ms is the exact 95 % bound on all runs to come.

    None where it was not measured: too few runs, or no golden set. refusal is why this provider
    may not serve this package whatever its times are, or "".
    """

    provider: str
    precision: str = ""
    threads: int = 1
    runs: int = 0
    load_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    p99_upper_ms: float | None = None
    p999_ms: float | None = None
    max_score_delta: float | None = None
    flips: int | None = None
    refusal: str = ""

    def too_slow(self, budget_ms: float) -> str:
        """Why its tail is not within a budget, or ""; a tail that is not known is not."""
        if self.p99_upper_ms is not None and self.p99_upper_ms <= budget_ms:
            return ""
        if self.p99_ms is None:
            return f"not timed, and {budget_ms:.1f} ms is what a run may take"
        bound = "" if self.p99_upper_ms is None else f", below {self.p99_upper_ms:.2f} by its bound"
        return f"p99 {self.p99_ms:.2f} ms in {self.runs} runs{bound}; {budget_ms:.1f} ms is allowed"

    def settles(self, budget_ms: float) -> bool:
        """Whether what was timed, perhaps for another budget, answers the question for this one."""
        return not self.too_slow(budget_ms) or (self.p99_ms is not None and self.p99_ms > budget_ms)


def upper_ms(ordered_ns: Sequence[int], share: float = 0.99) -> float | None:
    """An exact bound on a percentile of the runs to come, from runs in order of their times."""
    rank = rank_above(share, len(ordered_ns), LOOK_TAIL)
    return None if rank is None else ordered_ns[rank - 1] / NS_PER_MS


def next_look(
    taken_ns: Sequence[int], budget_ms: float | None, runs: int, *, thorough: bool = False
) -> int:
    """How many runs are to be timed in all before the next look; not more than now: enough.

    With a budget the runs stop when even the quickest of the first is not within it and, unless
    thorough, when their tail is proven to be. Without one all `runs` are timed.
    """
    count = len(taken_ns)
    if budget_ms is None or not runs:
        return runs
    if count < HOPELESS_RUNS:
        return min(HOPELESS_RUNS, runs)
    if min(taken_ns) > budget_ms * NS_PER_MS:
        return count
    upper = upper_ms(sorted(taken_ns)) if count in LOOKS and not thorough else None
    if upper is not None and upper <= budget_ms:
        return count
    return min(next((look for look in LOOKS if look > count), runs), runs)


def timed(taken_ns: Sequence[int]) -> dict[str, float | int | None]:
    """The fields of Rated that are about times."""
    if not taken_ns:
        return {}
    ordered = sorted(taken_ns)
    p50, p99, p999 = np.percentile(ordered, (50.0, 99.0, 99.9)) / NS_PER_MS
    upper = upper_ms(ordered)
    return {
        "runs": len(ordered),
        "p50_ms": round(float(p50), 4),
        "p99_ms": round(float(p99), 4),
        "p99_upper_ms": None if upper is None else round(upper, 4),
        "p999_ms": round(float(p999), 4) if len(ordered) >= FULL_RUNS else None,
    }
