"""How long the engine takes for one frame, as measured on this line: the basis of admission.

A window of the last flights (frame sent to answer received) and their 99th percentile. Each
refusal forgets the slowest flight, so that a slow spell cannot refuse parts for ever: nothing
is measured while nothing is admitted.
"""

from __future__ import annotations

from collections import deque

KEPT = 200
EVERY = 16  # flights between two sorts of the window; a sort takes 12 us


class ServiceTimes:
    """The last flights; `p99_ns` and `p50_ns` are 0 until the first is known."""

    def __init__(self) -> None:
        self._flights: deque[int] = deque(maxlen=KEPT)
        self._unsorted = 0
        self.p50_ns = self.p99_ns = 0

    def add(self, flight_ns: int) -> None:
        self._flights.append(flight_ns)
        self._unsorted += 1
        if self._unsorted >= EVERY or len(self._flights) < EVERY:
            self._sort()

    def forget_slowest(self) -> None:
        """A part was refused for what these times say: let the next one have a better chance."""
        if self._flights:
            self._flights.remove(max(self._flights))
            self._sort()

    def _sort(self) -> None:
        self._unsorted = 0
        ordered = sorted(self._flights)
        last = len(ordered) - 1
        self.p50_ns = ordered[last // 2] if ordered else 0
        self.p99_ns = ordered[round(0.99 * last)] if ordered else 0
