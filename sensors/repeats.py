"""A camera that stands still: the same bytes again are an old frame, not a new part."""

from __future__ import annotations

import numpy as np

from edge.core.pool import View
from edge.core.types import Fault
from sensors.grabber import UnreadError

_SAMPLE_STEP = 7  # every 7th row and column: 12 000 bytes of a 1024 x 576 frame


class Repeats:
    """Refuses frames that repeat the one before: a sensor's noise never does."""

    def __init__(self, stale_after: int) -> None:
        """stale_after: from the n-th identical repetition on; 0 trusts every frame."""
        self._stale_after = stale_after
        self._sample: View = np.empty(0, np.uint8)
        self._repeats = 0

    def refuse(self, frame: View) -> None:
        """Raises UnreadError, STALE_FRAME, where the frame is the one before again."""
        if not self._stale_after:
            return
        seen = frame[::_SAMPLE_STEP, ::_SAMPLE_STEP]
        if seen.shape == self._sample.shape and np.array_equal(seen, self._sample):
            self._repeats += 1
        else:
            self._repeats = 0
            self._sample = seen.copy()
        if self._repeats >= self._stale_after:
            raise UnreadError(
                Fault.STALE_FRAME, f"the same picture {self._repeats + 1} times in a row"
            )
