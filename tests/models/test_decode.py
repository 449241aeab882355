"""Maps become regions: geometry in pixels, a fixed order, a bound, and nothing for a clean map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.core.types import ViewSpec
from models import native
from models.decode import MAX_REGIONS, REGION, Decoder
from models.manifest import Manifest, Outputs, Thresholds

ROWS, COLUMNS, CELL_PX = 32, 40, 8


def decoder(types: int = 0, helper: object = native.helper) -> Decoder:
    knows = {"types": "types", "type_names": tuple(map(str, range(types)))} if types else {}
    return Decoder(
        Manifest(
            name="m",
            version="1",
            views=(ViewSpec("image", "picture", "uint8", (ROWS * CELL_PX, COLUMNS * CELL_PX)),),
            outputs=Outputs(map_shape=(ROWS, COLUMNS), cell_px=CELL_PX, map_threshold=0.5, **knows),
            thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
        ),
        helper,
    )


def blank():
    return np.zeros((ROWS, COLUMNS), np.float32), np.zeros(MAX_REGIONS, REGION)


def found(cells, out):
    """How many regions the decoder finds, and whether there were more."""
    return decoder().regions(cells, out)[1:]


def test_a_clean_map_has_no_regions_and_leaves_the_records_alone():
    cells, out = blank()
    cells.fill(0.4999)
    out["x"] = 7
    assert found(cells, out) == (0, False)
    assert (out["x"] == 7).all()


def test_a_region_is_given_in_picture_pixels():
    cells, out = blank()
    cells[3:5, 10:14] = 0.6
    cells[4, 13] = 0.9
    assert found(cells, out) == (1, False)
    x, y, width, height, area_px, peak, kind = out[0]
    assert kind == 0
    assert (x, y, width, height, area_px) == (80, 24, 32, 16, 8 * 64)
    assert peak == np.float32(0.9)


def test_cells_touch_by_corners_and_the_threshold_itself_is_inside():
    cells, out = blank()
    cells[0, 0] = cells[1, 1] = 0.5
    assert found(cells, out) == (1, False)
    assert out[0]["area_px"] == 2 * 64


def test_the_largest_peak_comes_first_and_ties_go_by_row_then_column():
    cells, out = blank()
    for row, column, peak in ((8, 0, 0.7), (2, 9, 0.7), (2, 3, 0.7), (20, 20, 0.95)):
        cells[row, column] = peak
    count, _ = found(cells, out)
    corners = [(int(r["y"]) // 8, int(r["x"]) // 8) for r in out[:count]]
    assert corners == [(20, 20), (2, 3), (2, 9), (8, 0)]


def test_a_region_inside_the_box_of_another_keeps_its_own_peak():
    cells, out = blank()
    cells[0:9, 0:9] = 0.6
    cells[1:8, 1:8] = 0.0
    cells[4, 4] = 0.99
    count, _ = found(cells, out)
    assert [round(float(p), 2) for p in out[:count]["peak"]] == [0.99, 0.6]


@pytest.mark.parametrize(("regions", "overflow"), [(64, False), (65, True), (200, True)])
def test_more_than_64_regions_overflow_and_keep_the_largest_peaks(regions, overflow):
    cells, out = blank()
    places = [(r, c) for r in range(0, ROWS, 2) for c in range(0, COLUMNS, 2)][:regions]
    for rank, place in enumerate(places):
        cells[place] = 0.5 + rank / 1000
    assert found(cells, out) == (MAX_REGIONS, overflow)
    assert out["peak"].min() == pytest.approx(0.5 + (regions - MAX_REGIONS) / 1000)


@pytest.mark.parametrize("helper", [native.helper, None], ids=["compiled", "python"])
@pytest.mark.parametrize(
    ("values", "types", "kind"),
    [
        ((0.6, 0.6, 0.6), (3, 3, 1), 3),
        ((0.5, 0.5, 1.5), (3, 3, 1), 1),  # two cells of one type, a stronger one of another
        ((0.5, 0.5, 1.0), (3, 3, 1), 1),  # as much of both: the lower number
        ((0.9, 0.9, 0.5), (0, 0, 2), 2),  # cells that show nothing have no say
        ((0.9, 0.9, 0.5), (4, 255, 2), 2),  # nor have those that say what nobody named
        ((0.9, 0.9, 0.9), (0, 0, 0), 0),
        ((0.9, 0.9, 0.4), (0, 0, 2), 0),  # a cell below the threshold is of no region
    ],
)
def test_a_region_has_the_type_with_most_of_its_map(helper, values, types, kind):
    cells, out = blank()
    said = np.full((ROWS, COLUMNS), 2, np.uint8)  # what is said beside the region does not count
    cells[4, 6:9], said[4, 6:9] = values, types
    out["type"] = 99
    assert decoder(3, helper).regions(cells, out, said)[1:] == (1, False)
    assert out[0]["type"] == kind
    assert (out[1:]["type"] == 99).all()


@given(hnp.arrays(np.float32, (ROWS, COLUMNS), elements=st.floats(0, 1, width=32)))
def test_regions_hold_every_cell_over_the_threshold_and_are_repeatable(cells):
    _, first = blank()
    _, second = blank()
    judge = decoder()
    peak, count, overflow = judge.regions(cells, first)
    assert peak == cells.max()
    assert judge.regions(cells.copy(), second) == (peak, count, overflow)
    assert first.tobytes() == second.tobytes()
    if not overflow:
        over = int((cells >= np.float32(0.5)).sum())
        assert int(first[:count]["area_px"].sum()) == over * CELL_PX**2


def test_a_map_of_one_row_of_batch_dimensions_is_taken_as_it_is():
    cells, out = blank()
    cells[1, 1] = 0.8
    assert found(cells.reshape(1, 1, ROWS, COLUMNS), out) == (1, False)
