"""How long the engine takes for one frame, as measured on this line: the basis of admission.

A window of the last flights (frame sent to answer received) and their 99th percentile. Each
refusal forgets the slowest flight, so that a slow spell cannot refuse parts for ever: nothing
is measured while nothing is admitted.
"""

from __future__ import annotations

from collections import deque

KEPT = 200


class ServiceTimes:
    """The last flights; `p99_ns` and `p50_ns` are as of the last `settle`, 0 before the first."""

    def __init__(self) -> None:
        self._flights: deque[int] = deque(maxlen=KEPT)
        self._unsettled = False
        self.p50_ns = self.p99_ns = 0

    def add(self, flight_ns: int) -> None:
        """Nothing is computed here: between an answer and its command every microsecond counts."""
        self._flights.append(flight_ns)
        self._unsettled = True

    def settle(self) -> None:
        """Compute the percentiles if there is anything new; 12 us, so not while a part waits."""
        if self._unsettled:
            self._sort()

    def forget_slowest(self) -> None:
        """A part was refused for what these times say: let the next one have a better chance."""
        if self._flights:
            self._flights.remove(max(self._flights))
            self._sort()

    def _sort(self) -> None:
        self._unsettled = False
        ordered = sorted(self._flights)
        last = len(ordered) - 1
        self.p50_ns = ordered[last // 2] if ordered else 0
        self.p99_ns = ordered[round(0.99 * last)] if ordered else 0
