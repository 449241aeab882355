"""Drawn flaws change what they mark, and are what they are named after."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.build.flaws import drawn


def bars():
    """Two dark traces, 10 px wide and 20 px apart, on a bright ground."""
    picture = np.full((160, 160), 200, np.uint8)
    picture[:, 60:70] = 40
    picture[:, 90:100] = 40
    return picture


def pieces(picture):
    """How many pieces the dark and the bright material are in."""
    dark = (picture < 120).astype(np.uint8)
    return tuple(cv2.connectedComponents(one, connectivity=4)[0] - 1 for one in (dark, 1 - dark))


def test_a_bridge_joins_two_traces_or_cuts_one():
    found = set()
    for seed in range(40):
        made = drawn("bridge", bars(), bars(), None, np.random.default_rng(seed))
        assert made is not None
        found.add(pieces(made[0]))
    short, opened = (1, 4), (3, 2)
    assert found == {short, opened}


@pytest.mark.parametrize("flaw", ["board", "bridge", "crack", "pit"])
def test_a_flaw_changes_what_it_marks_and_little_else(flaw):
    for seed in range(20):
        picture = bars()
        made = drawn(flaw, picture, picture, None, np.random.default_rng(seed))
        assert made is not None
        flawed, marks = made
        apart = np.abs(flawed.astype(int) - picture)
        assert set(np.unique(marks)) == {0, 255}
        assert apart[marks > 0].mean() > 15
        around = cv2.dilate(marks, np.ones((9, 9), np.uint8)) == 0
        assert apart[around].mean() < 0.5


@pytest.mark.parametrize("flaw", ["board", "bridge"])
def test_a_picture_of_one_material_gets_no_copper(flaw):
    plain = np.full((160, 160), 90, np.uint8)
    assert drawn(flaw, plain, plain, None, np.random.default_rng(0)) is None
