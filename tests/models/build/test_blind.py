"""The blind check fills defects, and tells a judge of defects from a judge of something else."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.figures import auroc
from models.build.blind import blinded
from models.build.datasets import Split

SIDE_PX = 128


def split(*, reference=False, dark_bad=False):
    """Striped pictures; bad ones have a white square, and are darker where a test says so."""
    rng = np.random.default_rng(0)
    design = np.where(np.arange(SIDE_PX) // 16 % 2, 0, 255).astype(np.uint8)
    parts, marks = [], []
    for number in range(40):
        bad = number >= 20
        picture = 60 + 100 * (design > 0) + rng.normal(0, 2, (SIDE_PX, SIDE_PX))
        picture -= 15 * (bad and dark_bad)
        mask = None
        if bad:
            y, x = (int(v) for v in rng.integers(10, SIDE_PX - 30, 2))
            picture[y : y + 14, x : x + 14] = 250
            mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
            mask[y : y + 14, x : x + 14] = 255
        views = [picture.clip(0, 255).astype(np.uint8)]
        if reference:
            views.append(np.broadcast_to(design, (SIDE_PX, SIDE_PX)))
        parts.append(np.stack(views))
        marks.append(mask)
    return Split(
        pictures=np.stack(parts),
        defect=np.arange(40) >= 20,
        marks=tuple(marks),
        digests=(),
        names=tuple(map(str, range(40))),
        types=("",) * 40,
        groups=tuple(map(str, range(40))),
    )


def judged(parts, score):
    return auroc([score(part[0].astype(float)) for part in parts.pictures], parts.defect)


@pytest.mark.parametrize("reference", [False, True])
def test_a_judge_of_the_defect_has_nothing_left(reference):
    parts = split(reference=reference)
    hidden = blinded(parts)
    assert hidden.defect.sum() == 20
    assert judged(parts, lambda p: p.max()) == 1.0
    assert judged(hidden, lambda p: np.quantile(p, 0.999)) < 0.7


def test_a_judge_of_the_light_gives_itself_away():
    hidden = blinded(split(dark_bad=True))
    assert judged(hidden, lambda p: -p.mean()) > 0.95


def test_a_defect_too_large_to_fill_and_one_without_marks_are_left_out():
    parts = split()
    parts.marks[20][:] = 255
    without = Split(
        **{f: getattr(parts, f) for f in parts.__struct_fields__ if f != "marks"},
        marks=(*parts.marks[:39], None),
    )
    assert blinded(without).defect.sum() == 18
