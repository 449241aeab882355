"""Mean average precision of regions against marked boxes, by type of defect.

As the PASCAL VOC challenge reckons it from 2010 on (area under the whole curve), at one least
overlap; the DeepPCB paper takes 0.33.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

LEAST_OVERLAP = 0.33  # intersection over union


class Box(NamedTuple):
    """x1, y1, x2, y2 in px, right and bottom outside; score is 0 of a marked one."""

    x1: float
    y1: float
    x2: float
    y2: float
    type: str
    score: float = 0.0


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box.x2 - box.x1) * (box.y2 - box.y1) for box in (one, other))
    shared = width * height
    return shared / (sum(areas) - shared)


def mean_average_precision(
    found: Sequence[Sequence[Box]], marked: Sequence[Sequence[Box]]
) -> Mapping[str, float]:
    """Average precision of each type that is marked anywhere, and their mean as "mean".

    found and marked: of each picture its boxes. A marked box is found once; of two that find it
    the one with the higher score did.
    """
    types = sorted({box.type for boxes in marked for box in boxes})
    each = {kind: _average_precision(kind, found, marked) for kind in types}
    return {**each, "mean": float(np.mean(list(each.values()))) if each else 0.0}


def _average_precision(
    kind: str, found: Sequence[Sequence[Box]], marked: Sequence[Sequence[Box]]
) -> float:
    there = {
        picture: [box for box in boxes if box.type == kind] for picture, boxes in enumerate(marked)
    }
    claims = [
        (box, picture) for picture, boxes in enumerate(found) for box in boxes if box.type == kind
    ]
    claims.sort(key=lambda claim: -claim[0].score)
    taken: set[tuple[int, int]] = set()
    right = np.zeros(len(claims))
    for rank, (box, picture) in enumerate(claims):
        fits = [(overlap(box, other), place) for place, other in enumerate(there[picture])]
        best, place = max(fits, default=(0.0, -1))
        if best >= LEAST_OVERLAP and (picture, place) not in taken:
            taken.add((picture, place))
            right[rank] = 1
    total = sum(len(boxes) for boxes in there.values())
    if not total or not len(right):
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    # The curve may only fall: the precision at a recall is the best at this recall or more.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * right).sum() / total)
