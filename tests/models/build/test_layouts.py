"""Drawn layouts: two materials, repeatable, of many kinds, and beside a set's own pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.build import datasets
from models.build.layouts import layout, pictured
from models.build.paste import seamed
from models.build.recipe import Data
from models.build.routes import routed


@pytest.mark.parametrize("draw", [layout, routed])
def test_a_design_has_two_materials_and_is_the_same_every_time(draw):
    shares = []
    for seed in range(40):
        drawn, again = (draw(np.random.default_rng(seed), (128, 160)) for _ in range(2))
        assert drawn.shape == (128, 160)
        assert set(np.unique(drawn)) <= {0, 255}
        assert np.array_equal(drawn, again)
        shares.append((drawn > 0).mean())
    assert min(shares) < 0.3
    assert max(shares) > 0.7
    assert np.mean([0.02 < share < 0.98 for share in shares]) > 0.85


@pytest.mark.parametrize("draw", [layout, routed])
def test_a_picture_shows_its_reference_but_for_seams(draw):
    told = 0
    for seed in range(8):
        picture, reference = pictured(seed, (256, 256), draw)
        if not 0.1 < (reference > 0).mean() < 0.9:
            continue
        told += 1
        there = picture.astype(float)
        assert there[reference > 0].mean() > there[reference == 0].mean() + 30
        assert (np.where(picture > picture.mean(), 255, 0) == reference).mean() > 0.8
    assert told >= 4


def test_a_routed_board_is_of_several_pieces():
    pieces = []
    for seed in range(40):
        drawn = routed(np.random.default_rng(seed), (512, 512))
        copper = drawn if (drawn > 0).mean() < 0.5 else np.bitwise_not(drawn)
        pieces.append(cv2.connectedComponents(copper)[0] - 1)
    assert np.median(pieces) > 5


def test_seams_leave_most_of_a_design_alone():
    design = layout(np.random.default_rng(5), (256, 256))
    changed = [(seamed(design, np.random.default_rng(n)) != design).mean() for n in range(12)]
    assert max(changed) > 0
    assert max(changed) < 0.2


def test_a_seam_neither_covers_nor_copies_what_is_marked():
    picture = np.random.default_rng(0).integers(0, 200, (128, 128)).astype(np.uint8)
    marks = np.zeros_like(picture)
    marks[50:70, 60:80] = 255
    picture[marks > 0] = 255
    for seed in range(30):
        out = seamed(picture, np.random.default_rng(seed), marks)
        assert np.array_equal(out == 255, marks == 255)


def test_drawn_boards_are_good_parts_of_groups_of_their_own():
    train = datasets.Split(
        pictures=np.zeros((2, 2, 96, 96), np.uint8),
        defect=np.array([False, True]),
        marks=(None, None),
        digests=(b"a", b"b"),
        names=("a", "b"),
        types=("", "spur"),
        groups=("one", "one"),
    )
    data = Data(size_px=(96, 96), drawn_boards=3, routed_boards=2)
    more = datasets.with_drawn(train, data)
    assert len(more.defect) == len(train.defect) + 5
    assert not more.defect[-5:].any()
    assert np.array_equal(more.pictures[-1], np.stack(pictured(1, (96, 96), routed)))
    assert np.array_equal(more.pictures[-3], np.stack(pictured(2, (96, 96), layout)))
    assert more.groups[-5:] == (datasets.DRAWN,) * 3 + (datasets.ROUTED,) * 2
    assert more.pictures.shape[1:] == train.pictures.shape[1:]
    assert more.digests == train.digests
    assert datasets.with_drawn(train, Data(size_px=(96, 96))) is train
