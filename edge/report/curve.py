"""The ROC curve of labelled scores, and where on it a wanted overkill lies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from edge.core.figures import auroc
from edge.report.figures import WANTED_OVERKILL, Curve, Point, share
from edge.report.judge import Judged


def curve(found: Sequence[Judged]) -> Curve:
    """Of the pictures that have a score; those without one are on no curve."""
    scored = [(one.score, one.defect) for one in found if one.score is not None]
    defect = [score for score, bad in scored if bad]
    good = sorted((score for score, bad in scored if not bad), reverse=True)
    caught, limit = None, None
    if defect and good:
        admitted = int(WANTED_OVERKILL * len(good) + 1e-9)
        # The next good picture must not fail; whatever scores above it may.
        passes = good[admitted]
        above = [score for score, _ in scored if score > passes]
        limit = min(above, default=None)
        caught = share(sum(score > passes for score in defect), len(defect))
    return Curve(
        scored=len(scored),
        auroc=auroc([score for score, _ in scored], [bad for _, bad in scored]),
        at_overkill=caught,
        at_overkill_limit=limit,
        points=tuple(_points(scored)) if defect and good else (),
    )


def _points(scored: Sequence[tuple[float, bool]]) -> list[Point]:
    """The corners of the curve: where it turns from rising to running right, or ends."""
    defect = sum(bad for _, bad in scored)
    good = len(scored) - defect
    ordered = sorted(scored, reverse=True)
    failed, caught = 0, 0
    found = [Point(None, 0.0, 0.0)]
    for limit, those in groupby(ordered, key=lambda one: one[0]):
        flags = [bad for _, bad in those]
        caught, failed = caught + sum(flags), failed + len(flags) - sum(flags)
        here = Point(limit, failed / good, caught / defect)
        if len(found) > 1 and _straight(found[-2], found[-1], here):
            found.pop()
        found.append(here)
    return found


def _straight(first: Point, middle: Point, last: Point) -> bool:
    """Whether the middle one lies on a line that only rises, or only runs right."""
    return first.good == middle.good == last.good or first.defect == middle.defect == last.defect
