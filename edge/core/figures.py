"""Figures of merit that more than one layer reports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def auroc(scores: Iterable[float], bad: Iterable[bool]) -> float | None:
    """Area under the ROC curve by ranks, ties counted half; None without both kinds."""
    values, flags = np.asarray(list(scores), np.float64), np.asarray(list(bad), bool)
    positives, negatives = int(flags.sum()), int((~flags).sum())
    if not positives or not negatives:
        return None
    ranks = _mean_ranks(values)
    return float((ranks[flags].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[index], np.float64)
