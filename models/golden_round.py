"""The golden set judged again while the line runs: one picture at a time, between the parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edge.core.clock import NS_PER_S
from models.exchange import CHECK
from models.warm import Warm


class GoldenRound:
    """When every worker is to look at its golden set again, and how far they are."""

    def __init__(self, every_parts: int = 0, every_hours: float = 0.0) -> None:
        """0: never for that reason."""
        self._every_parts, self._every_ns = every_parts, round(every_hours * 3600 * NS_PER_S)
        self._parts = 0
        self._since_ns = 0
        self._left: deque[tuple[Warm, int]] = deque()
        self.rounds = 0  # that were finished

    @property
    def under_way(self) -> bool:
        return bool(self._left)

    def part(self) -> None:
        """One more part was given to the engine."""
        self._parts += 1

    def next(self, workers: Sequence[Warm], now_ns: int) -> bool:
        """Have one worker look at one picture, if any is due; True where one does.

        All workers are idle. OSError where the worker is gone.
        """
        if not self._left and self._is_due(now_ns):
            self._parts, self._since_ns = 0, now_ns
            self._left.extend((one, place) for one in workers for place in range(one.golden))
        while self._left:
            worker, picture = self._left.popleft()
            if not self._left:
                self.rounds += 1
            if worker in workers:  # else it was replaced, and has looked at its set already
                worker.rehearse(CHECK, picture, now_ns)
                return True
        return False

    def _is_due(self, now_ns: int) -> bool:
        if not self._since_ns:  # every worker has looked at it when it started
            self._since_ns = now_ns
        by_parts = 0 < self._every_parts <= self._parts
        return by_parts or 0 < self._every_ns <= now_ns - self._since_ns
