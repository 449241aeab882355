"""Cross-validation deals groups whole and says what a fold came to."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge.core.errors import ConfigError
from models.build import compare
from models.build.datasets import Split


def split(groups, defect):
    count = len(groups)
    return Split(
        pictures=np.zeros((count, 1, 8, 8), np.uint8),
        defect=np.array(defect, bool),
        marks=(None,) * count,
        digests=(),
        names=tuple(map(str, range(count))),
        types=("",) * count,
        groups=tuple(groups),
    )


def test_no_group_is_in_two_folds_and_both_classes_are_spread():
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in rng.integers(0, 30, 400)]
    defect = [int(name[1:]) % 3 == 0 for name in groups]
    parts = split(groups, defect)
    fold = compare.dealt(parts, 3)
    homes = {name: {int(fold[i]) for i in range(400) if groups[i] == name} for name in set(groups)}
    assert all(len(found) == 1 for found in homes.values())
    for number in range(3):
        held = fold == number
        assert 80 < held.sum() < 190
        assert 0.2 < np.array(defect)[held].mean() < 0.5


def test_too_few_groups_of_a_class_is_one_line():
    parts = split(["a", "a", "b", "c"], [True, True, False, False])
    with pytest.raises(ConfigError, match="2 folds need 2 groups with good and"):
        compare.dealt(parts, 2)


def test_the_table_has_a_row_an_idea():
    fold = compare.Fold(3, 10, 5, auroc=0.9, detection=0.4, int8_ms=2.5, size=2**20)
    other = msgspec.structs.replace(fold, auroc=0.8, detection=0.6)
    text = compare.table([compare.Compared("plain", (fold, other))])
    assert "| plain | 0.8500 | 50.0% | 2.5 ms | 1.00 MiB | 0.900, 0.800 |" in text
