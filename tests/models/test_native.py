"""The compiled helper comes to the same as the road in Python, and refuses what it cannot take."""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.core.types import ViewSpec
from models import native
from models.decode import MAX_REGIONS, REGION, Decoder
from models.envelope import THUMB_PX, Gauge
from models.manifest import Envelope, Manifest, Outputs, Thresholds

pytestmark = pytest.mark.skipif(native.helper is None, reason="no compiled helper here")
SPECIAL = st.sampled_from([0.0, 0.25, 0.5, 0.75, -1.0, np.nan, np.inf, -np.inf])


def decoder(shape, helper, *, threshold=0.5, kinds=0):
    rows, columns = shape
    knows = {"types": "types", "type_names": tuple(map(str, range(kinds)))} if kinds else {}
    return Decoder(
        Manifest(
            name="m",
            version="1",
            views=(ViewSpec("image", "picture", "uint8", (rows * 8, columns * 8)),),
            outputs=Outputs(map_shape=shape, cell_px=8, map_threshold=threshold, **knows),
            thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
        ),
        helper,
    )


def both(cells, types=None, **known):
    """(peak, count, overflow) and the records' bytes, on either road."""
    answers = []
    for helper in (native.helper, None):
        out = np.zeros(MAX_REGIONS, REGION)
        found = decoder(cells.shape, helper, **known).regions(cells, out, types)
        answers.append((*map(str, found), out.tobytes()))
    return answers


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24).flatmap(
        lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32) | SPECIAL)
    )
)
def test_regions_are_the_same_to_the_bit(cells):
    compiled, python = both(cells)
    assert compiled == python


def test_more_areas_than_records_are_the_same_to_the_bit():
    cells = np.zeros((63, 65), np.float32)
    cells[::2, ::2] = 0.5 + np.random.default_rng(1).integers(0, 5, (32, 33)) / 10
    compiled, python = both(cells)
    assert compiled == python
    assert compiled[2] == "True"


@given(st.data())
def test_types_are_the_same_to_the_bit(data):
    """Sums of many values that a float rounds, few types, and thresholds below zero."""
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
    kinds, threshold = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([0.5, 0.1, -0.5]))
    cells = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)))
    types = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 6) | st.just(255)))
    cells += np.float32(0)  # of two zeros the larger is either; a sigmoid gives no negative one
    compiled, python = both(cells, types, threshold=threshold, kinds=kinds)
    assert compiled == python


def test_a_helper_of_another_record_is_left_alone(monkeypatch):
    assert REGION.itemsize == native.helper.RECORD
    older = types.SimpleNamespace(regions=native.helper.regions)
    monkeypatch.setitem(sys.modules, "models._native", older)
    spec = importlib.util.spec_from_file_location("native_again", native.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.helper is None


def test_a_region_that_does_not_fit_its_record_is_refused_on_either_road():
    cells = np.full((2, 9000), 0.9, np.float32)
    for helper in (native.helper, None):
        with pytest.raises(OverflowError):
            decoder(cells.shape, helper).regions(cells, np.zeros(MAX_REGIONS, REGION))


def features(views, arrays):
    return [Gauge(views, Envelope(), helper).measure(arrays) for helper in (native.helper, None)]


@pytest.mark.parametrize(
    "shape", [(512, 512), (128, 64), (96, 160), (32, 32), (1000, 256), (64, 64, 3), (300, 96, 3)]
)
@pytest.mark.parametrize("seed", range(4))
def test_features_are_the_same_but_for_rounding(shape, seed):
    generator = np.random.default_rng(seed)
    spread = (256, 3, 90, 1)[seed]
    picture = generator.integers(0, spread, shape).astype(np.uint8) + generator.integers(0, 80)
    other = np.roll(picture, 7, axis=1)
    views = (ViewSpec("a", "picture", "uint8", shape), ViewSpec("b", "reference", "uint8", shape))
    compiled, python = features(views, {"a": picture.astype(np.uint8), "b": other.astype(np.uint8)})
    assert compiled.keys() == python.keys()
    for view, values in python.items():
        assert compiled[view] == pytest.approx(values, rel=1e-5, abs=1e-5)


def test_a_picture_of_odd_size_takes_the_road_in_python():
    picture = np.random.default_rng(1).integers(0, 256, (100, 70)).astype(np.uint8)
    views = (ViewSpec("a", "picture", "uint8", picture.shape),)
    compiled, python = features(views, {"a": picture})
    assert compiled == python


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros((64, 64), np.float32), 1, 16, 239, bytearray(1024)),
        (np.zeros((64, 64, 2), np.uint8), 1, 16, 239, bytearray(1024)),
        (np.zeros((64, 64), np.uint8), 0, 16, 239, bytearray(1024)),
        (np.zeros((64, 64), np.uint8), 1, 239, 16, bytearray(1024)),
        (np.zeros((64, 64), np.uint8), 1, 16, 239, bytearray(1023)),
        (np.zeros((60, 64), np.uint8), 1, 16, 239, bytearray(1024)),
        (np.zeros((64, 60), np.uint8), 1, 16, 239, bytearray(1024)),
        (np.zeros((0, 64), np.uint8), 1, 16, 239, bytearray(1024)),
        (np.zeros(64, np.uint8), 1, 16, 239, bytearray(1024)),
    ],
)
def test_what_is_no_picture_is_refused(arguments):
    with pytest.raises(ValueError, match=r"uint8 picture|multiples of 32"):
        native.helper.measure(*arguments)


def test_what_is_no_thumbnail_or_map_is_refused():
    with pytest.raises(ValueError, match="1024"):
        native.helper.agreement(bytes(THUMB_PX**2), bytes(100))
    for cells, columns, side in (
        (bytes(16), 3, 8),
        (bytes(15), 1, 8),
        (b"", 1, 8),
        (bytes(16), 2, 0),
    ):
        with pytest.raises(ValueError, match="float32 map"):
            native.helper.regions(cells, columns, 0.5, side, bytearray(1024))
    for said, kinds in ((bytes(3), 2), (bytes(4), 256), (bytes(4), -1)):
        with pytest.raises(ValueError, match="a byte a cell"):
            native.helper.regions(bytes(16), 2, 0.5, 8, bytearray(1024), said, kinds)
