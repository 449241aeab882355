"""The overlay: what lies where on it, and that it says nothing of a part without a defect."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.core.types import Region
from edge.historian.overlay import overlay

SIDE, CELL_PX = 256, 8


def drawn(cells, regions=(), labels=(), *, picture=None, threshold=0.5):
    picture = np.full((SIDE, SIDE), 100, np.uint8) if picture is None else picture
    return overlay(
        picture, cells, regions, cell_px=CELL_PX, threshold=threshold, labels=labels
    )  # fmt: skip


def blank(value=0.0):
    return np.full((SIDE // CELL_PX, SIDE // CELL_PX), value, np.float32)


def changed(picture):
    """How far each pixel's colours are from the gray below, at most."""
    return np.abs(picture.astype(int) - 100).max(axis=2)


def test_cells_are_coloured_where_they_lie_and_redder_the_larger_they_are():
    cells = blank()
    cells[4, 6], cells[20, 3] = 0.95, 0.55
    seen = drawn(cells)
    assert (seen.shape, seen.dtype) == ((SIDE, SIDE, 3), np.uint8)
    far = changed(seen)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[32:40, 48:56] = inside[160:168, 24:32] = True
    assert far[inside].min() > 30
    assert far[~inside].max() == 0
    blue, green, red = seen[36, 52].astype(int)
    assert red > max(blue, green) + 40  # the peak
    _, green, red = seen[164, 28].astype(int)
    assert green >= red  # just over the threshold


@pytest.mark.parametrize("threshold", [0.5, 12.0, 1e-3])
def test_cells_far_below_the_threshold_leave_the_picture_as_it_is(threshold):
    generator = np.random.default_rng(1)
    noise = generator.random(blank().shape, np.float32) * np.float32(0.05 * threshold)
    assert changed(drawn(noise, threshold=threshold)).max() <= 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_drawn_without_complaint(bad):
    cells = blank()
    cells[0, 0], cells[5, 5] = bad, 0.9
    assert changed(drawn(cells))[44, 44] > 30


def test_thresholds_below_zero_and_maps_over_it_everywhere_are_drawn():
    assert changed(drawn(blank(-3.0), threshold=-2.0)).max() <= 8
    assert changed(drawn(blank(-1.0), threshold=-2.0)).min() > 20


def test_a_region_has_its_box_and_its_words_beside_it():
    region = Region(96, 128, 40, 24, 960, 0.9, "short")
    plain, named = (drawn(blank(), [region], [words]) for words in ("", "short 960 px"))
    box = changed(plain) > 0
    ys, xs = np.nonzero(box)
    assert (
        np.abs(np.subtract((xs.min(), xs.max(), ys.min(), ys.max()), (96, 135, 128, 151))).max()
        <= 2
    )
    assert not box[132:148, 100:132].any()
    words = np.nonzero((changed(named) > 0) & ~box)
    assert 100 < words[0].min() < words[0].max() < 128  # above the box
    assert words[1].min() == 96


@pytest.mark.parametrize(
    "region",
    [
        Region(0, 0, 8, 8, 64, 0.9),
        Region(248, 248, 8, 8, 64, 0.9),
        Region(248, 0, 8, 8, 64, 0.9),
        Region(0, 0, 256, 256, 65536, 0.9),
    ],
)
def test_words_at_the_edge_are_inside_the_picture(region):
    words = "mouse bite 1280 px"
    middle = Region(96, 128, 8, 8, 64, 0.9)
    there = drawn(blank(), [region], [words]).max(axis=2) == 255
    expected = drawn(blank(), [middle], [words]).max(axis=2) == 255
    box = drawn(blank(), [region], [""]).max(axis=2) == 255
    box_in_the_middle = drawn(blank(), [middle], [""]).max(axis=2) == 255
    letters = expected.sum() - box_in_the_middle.sum()
    assert (there & ~box).sum() >= 0.9 * letters  # some may lie on the box itself


def test_the_worst_region_lies_on_top_and_the_picture_is_not_written_to():
    picture = np.random.default_rng(2).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    before = picture.copy()
    worst, other = Region(64, 64, 64, 64, 4096, 0.9), Region(64, 64, 64, 64, 4096, 0.6)
    both = drawn(blank(), [worst, other], ["worst", "other"], picture=picture)
    one = drawn(blank(), [worst], ["worst"], picture=picture)
    # The other one is as long: its letters are under the worst's ground.
    words = slice(50, 62), slice(64, 90)
    np.testing.assert_array_equal(both[words], one[words])
    np.testing.assert_array_equal(picture, before)
    assert not np.array_equal(one, before)


def test_a_map_that_covers_less_than_the_picture_leaves_the_rest():
    seen = drawn(np.full((2, 3), 0.9, np.float32))
    assert changed(seen)[:16, :24].min() > 30
    assert changed(seen)[16:].max() == 0
    assert cv2.imencode(".png", seen)[0]


def test_labels_that_are_not_one_a_region_are_refused():
    with pytest.raises(ValueError, match="zip"):
        drawn(blank(), [Region(0, 0, 8, 8, 64, 0.9)], [])
