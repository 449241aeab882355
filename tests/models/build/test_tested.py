"""The figures of a build by physical part."""

from __future__ import annotations

import numpy as np
import pytest

from models.build.tested import by_part
from models.manifest import Thresholds
from tests.models.build.test_compare import split

LIMITS = Thresholds(pass_below=0.4, fail_from=0.6)


def test_a_part_counts_once_and_by_its_worst_picture():
    parts = split("aabbccdde", [1, 1, 1, 1, 0, 0, 0, 0, 0])
    values = np.array([0.9, 0.7, 0.9, 0.3, 0.1, 0.2, 0.1, 0.5, 0.9], np.float32)
    unfit = np.arange(9) == 8
    found = by_part(parts, values, unfit, LIMITS)
    assert found is not None
    assert (found.defective, found.detected) == (2, 1)  # one picture of b passes
    assert (found.good, found.overkill) == (3, 1)  # one of d is held; e is refused, not judged
    assert found.unfit == 1
    assert found.auroc == pytest.approx(3 / 4)


@pytest.mark.parametrize("groups", ["abcd", "aabb"])
def test_pictures_of_their_own_and_designs_have_no_figures_by_part(groups):
    parts = split(groups, [1, 0, 1, 0])
    assert by_part(parts, np.full(4, 0.5, np.float32), np.zeros(4, bool), LIMITS) is None
