"""What two runs can and cannot show: intervals of percentiles, means and rates.

Successive parts are alike: a pause of the box is met by several in a row. Everything here
therefore counts in blocks of sqrt(n) successive parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Values = npt.NDArray[np.float32]
Found = npt.NDArray[np.float64]
REPLICATES = 2000
AT_ONCE = 4_000_000  # values drawn at once: 16 MB
TAIL = 0.025  # on either side of a 95 % interval


def block(parts: int) -> int:
    """The length of a block, in parts."""
    return max(1, round(math.sqrt(parts)))


def redraw(
    values: npt.NDArray[np.float64], percentiles: Sequence[float], rng: np.random.Generator
) -> Found:
    """The percentiles, one row each, and last the mean, in runs redrawn from blocks of this one.

    Circular, so that the ends come as often as the middle.
    """
    # float32: numpy sorts it four times as quickly as float64 (500 parts, 2000 runs: 1 to 6 ms),
    # and 5 ms are exact to 0.5 ns in it.
    of = np.asarray(values, np.float32)
    length = block(len(of))
    blocks = sliding_window_view(np.concatenate([of, of[: length - 1]]), length)
    found = np.empty((len(percentiles) + 1, REPLICATES))
    batch = max(1, AT_ONCE // len(of))
    for start in range(0, REPLICATES, batch):
        count = min(batch, REPLICATES - start)
        first = rng.integers(0, len(of), (count, -(-len(of) // length)))
        drawn = blocks[first].reshape(count, -1)[:, : len(of)]
        found[-1, start : start + count] = drawn.mean(axis=1)
        drawn.sort(axis=1)
        for row, percentile in enumerate(percentiles):
            found[row, start : start + count] = _of_sorted(drawn, percentile)
    return found


def _of_sorted(rows: Values, percentile: float) -> Values:
    """By linear interpolation, like every percentile of a result."""
    at = (rows.shape[1] - 1) * percentile / 100
    below, share = int(at), at - int(at)
    above = min(below + 1, rows.shape[1] - 1)
    mixed: Values = rows[:, below] * (1 - share) + rows[:, above] * share
    return mixed


def bounds(redrawn: Found) -> tuple[float, float]:
    """The 95 % interval of what was redrawn."""
    low, high = np.percentile(redrawn, [100 * TAIL, 100 * (1 - TAIL)])
    return float(low), float(high)


def clumping(parts: Sequence[int], of: int) -> float:
    """How many overruns count as one: the variance of their number in a block over its mean.

    1 where they come singly (Rao and Scott's correction of a count). Numbers of parts may begin
    anywhere, and the list may stop early: blocks are counted from the first part to the last.
    """
    if len(parts) < 2:
        return 1.0
    at = np.asarray(parts, np.int64) // block(of)
    counts = np.bincount(at - at.min(), minlength=math.ceil(of / block(of)))
    return max(1.0, float(counts.var(ddof=1) / counts.mean()))


def ratio_bounds(before: int, of_before: int, after: int, of_after: int) -> tuple[float, float]:
    """The exact 95 % interval of the later rate over the earlier; 0 to inf without any event."""
    low, high = _share_bounds(after, before + after)
    scale = of_before / of_after
    return low / (1 - low) * scale, high / (1 - high) * scale if high < 1 else math.inf


def _share_bounds(hits: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    if of == 0:
        return 0.0, 1.0
    steps = np.arange(1, of + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(steps))])
    ways = logs[of] - logs - logs[::-1]

    def at_least(count: int, share: float) -> float:
        """The chance of count hits or more."""
        hit = np.arange(count, of + 1)
        exponents = ways[hit] + hit * math.log(share) + (of - hit) * math.log1p(-share)
        return float(np.exp(exponents).sum())

    def solve(count: int, chance: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if at_least(count, middle) > chance else (middle, high)
        return (low + high) / 2

    lower = solve(hits, TAIL) if hits else 0.0
    upper = solve(hits + 1, 1 - TAIL) if hits < of else 1.0
    return lower, upper
