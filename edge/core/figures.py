"""Figures of merit that more than one layer reports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edge.core.types import Fault, Verdict

# Faults of the picture or its camera: found at once, whatever time there was.
PICTURE_FAULTS = frozenset({Fault.NO_IMAGE, Fault.BAD_FRAME, Fault.STALE_FRAME, Fault.UNFIT_IMAGE})


def auroc(scores: Iterable[float], bad: Iterable[bool]) -> float | None:
    """Area under the ROC curve by ranks, ties counted half; None without both kinds."""
    values, flags = np.asarray(list(scores), np.float64), np.asarray(list(bad), bool)
    positives, negatives = int(flags.sum()), int((~flags).sum())
    if not positives or not negatives:
        return None
    ranks = _mean_ranks(values)
    return float((ranks[flags].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def detection_at(scores: Iterable[float], bad: Iterable[bool], overkill: float) -> float | None:
    """The share of bad parts above the score that at most a share `overkill` of good ones exceeds.

    On these parts' own curve: what a threshold that knew them would reach. None without both kinds.
    """
    values, flags = np.asarray(list(scores), np.float64), np.asarray(list(bad), bool)
    good, defects = np.sort(values[~flags])[::-1], values[flags]
    if not len(good) or not len(defects):
        return None
    return float((defects > good[int(overkill * len(good))]).mean())


def is_overrun(verdict: Verdict | None, received_ns: int, act_by_ns: int) -> bool:
    """A part without a verdict by its deadline, or whose command came after act_by or never (0)."""
    return verdict is None or not 0 < received_ns <= act_by_ns


def is_picture_overrun(fault: Fault | None, received_ns: int, act_by_ns: int) -> bool:
    """An overrun whose picture could not be judged, and whose command came in time."""
    return fault in PICTURE_FAULTS and 0 < received_ns <= act_by_ns


def _mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[index], np.float64)
