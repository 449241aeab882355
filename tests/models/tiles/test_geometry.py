"""Where tiles lie: every cell once, no tile outside, whatever the frame."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.config import TileOptions
from edge.core.errors import ConfigError
from models import package
from models.manifest import checked
from models.protobuf import FormatError
from models.tiles import batched, shown, spans, tiles_of, whole


@st.composite
def axes(draw):
    tile = draw(st.integers(1, 200))
    return draw(st.integers(tile, 3000)), tile, draw(st.integers(0, tile - 1))


@given(axes())
def test_every_cell_has_one_owner_which_sees_it(axis):
    frame, tile, _ = axis
    found = spans(*axis)
    assert (found[0].first, found[-1].last) == (0, frame)
    assert all(one.last == two.first for one, two in pairwise(found))
    for span in found:
        assert 0 <= span.start <= span.first < span.last <= span.start + tile <= frame


@given(axes())
def test_neighbours_overlap_enough_and_lie_evenly(axis):
    _, tile, overlap = axis
    starts = [span.start for span in spans(*axis)]
    steps = [two - one for one, two in pairwise(starts)]
    assert all(step <= tile - overlap for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


@given(axes())
def test_an_owner_is_as_far_from_its_edge_as_the_overlap_allows(axis):
    _, tile, overlap = axis
    found = spans(*axis)
    for one, two in pairwise(found):
        assert one.start + tile - one.last >= overlap // 2
        assert two.first - two.start >= overlap // 2


@pytest.mark.parametrize("shrink", [1, 2])
def test_the_tiles_of_a_frame_cover_its_pixels_and_its_map(synthetic, shrink):
    options = TileOptions(frame_px=(1040, 1520), shrink=shrink)
    frame = whole(synthetic.manifest, options)
    pixels, cells = np.zeros(options.frame_px, int), np.zeros(frame.outputs.map_shape, int)
    for tile in tiles_of(synthetic.manifest, options):
        assert pixels[tile.frame].shape == (256 * shrink, 256 * shrink)
        assert cells[tile.owned].shape == np.empty((32, 32))[tile.inside].shape
        pixels[tile.frame] += 1
        cells[tile.owned] += 1
    assert pixels.min() >= 1
    assert (cells == 1).all()


def test_a_camera_of_5_megapixels_takes_120_tiles(synthetic):
    assert len(tiles_of(synthetic.manifest, TileOptions(frame_px=(2048, 2448)))) == 120


def test_the_frame_s_manifest(synthetic):
    frame = whole(synthetic.manifest, TileOptions(frame_px=(2048, 2448), shrink=2, fit="crop"))
    (view,) = frame.views
    assert (view.shape, view.fit.mode) == ((2048, 2448), "crop")
    assert (frame.outputs.map_shape, frame.outputs.cell_px) == ((128, 153), 16)
    assert frame.thresholds == synthetic.manifest.thresholds
    assert frame.envelope.bounds == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frame_px": (2048, 2450)}, "multiples of 8, 256 x 256 at least"),
        ({"frame_px": (2048, 248)}, "256 x 256 at least"),
        ({"frame_px": (2048, 20_000)}, "16384 at most"),
        ({"frame_px": (504, 2448), "shrink": 2}, "512 x 512 at least"),
        ({"frame_px": (2048, 2448), "overlap_px": 136}, "overlap_px 136: synthetic-part takes 0"),
    ],
)
def test_what_cannot_be_tiled_is_refused_by_name(synthetic, changes, said):
    options = TileOptions(**changes)
    with pytest.raises(ConfigError, match=said):
        shown(synthetic, options)


def test_a_package_states_the_overlap_it_needs(synthetic):
    tiling = msgspec.structs.replace(synthetic.manifest.tiling, min_overlap_px=80)
    manifest = msgspec.structs.replace(synthetic.manifest, tiling=tiling)
    options = TileOptions(frame_px=(2048, 2448))
    assert len(tiles_of(manifest, options)) == 12 * 14
    less = msgspec.structs.replace(options, overlap_px=64)
    with pytest.raises(ConfigError, match="overlap_px 64: synthetic-part takes 80 to 128"):
        tiles_of(manifest, less)


def test_only_pictures_of_one_size_are_tiled(tiny_package):
    with pytest.raises(ConfigError, match="view force is no picture of a tile's size"):
        shown(package.load(tiny_package), TileOptions(frame_px=(32, 32)))


def test_without_the_table_a_package_stays_as_it_is(synthetic):
    assert shown(synthetic, None) is synthetic
    assert batched(synthetic.manifest.views, 1) == synthetic.manifest.views
    tiling = msgspec.structs.replace(synthetic.manifest.tiling, batch=8)
    manifest = msgspec.structs.replace(synthetic.manifest, tiling=tiling)
    of_tiles = msgspec.structs.replace(synthetic, manifest=manifest)
    with pytest.raises(ConfigError, match="8 tiles at once"):
        shown(of_tiles, None)
    tiling = msgspec.structs.replace(synthetic.manifest.tiling, envelope_px=(128, 128))
    manifest = msgspec.structs.replace(synthetic.manifest, tiling=tiling)
    larger = msgspec.structs.replace(synthetic, manifest=manifest)
    with pytest.raises(ConfigError, match="judges tiles of frames and needs the table"):
        shown(larger, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 0}, "batch 1 to 256"),
        ({"batch": 257}, "batch 1 to 256"),
        ({"min_overlap_px": -8}, "tiling: overlap"),
        ({"envelope_px": (128, 132)}, r"envelope_px \(128, 132\) of 8 px cells in \(256, 256\)"),
        ({"envelope_px": (264, 256)}, "envelope_px"),
        ({"envelope_px": (0, 256)}, "envelope_px"),
        ({"allow_skip": True}, "allow_skip needs skip_below"),
        ({"allow_skip": True, "skip_below": -1.0}, "allow_skip needs skip_below"),
    ],
)
def test_a_manifest_s_tiling_is_checked(synthetic, changes, said):
    tiling = msgspec.structs.replace(synthetic.manifest.tiling, **changes)
    manifest = msgspec.structs.replace(synthetic.manifest, tiling=tiling)
    with pytest.raises(FormatError, match=said):
        checked(msgspec.json.encode(manifest))


def test_skipping_is_off_unless_a_manifest_turns_it_on(synthetic):
    manifest = msgspec.json.decode(msgspec.json.encode(synthetic.manifest), type=dict)
    del manifest["tiling"]  # as packages before it
    tiling = checked(msgspec.json.encode(manifest)).tiling
    assert not tiling.allow_skip
    assert not tiling.tiles_only
