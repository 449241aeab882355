"""A package of larger tiles: the same map as before, its own golden set, the old envelope."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import onnx
import pytest

from edge.core.config import TileOptions
from edge.core.errors import ConfigError
from edge.core.pool import FramePool
from models import golden, package
from models.build import composites, retile
from models.manifest import Figures
from models.session import BoundSession
from models.tiled_fit import TiledGauge
from models.tiles import tiles_of, windows

TILE = (264, 520)  # room for two parts
FRAME = (608, 896)
REACH_PX = 40  # as far as a cell of synthetic-part sees, each way


@pytest.fixture(scope="module")
def larger(synthetic, tmp_path_factory):
    """synthetic-part in larger tiles, by the command."""
    file = tmp_path_factory.mktemp("larger") / "larger.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composites, "SERIES", 16)  # enough here, in a third of the time
        assert retile.main(["synthetic-part", str(file), "--tile-px", "264x520"]) == 0
    return package.load(file)


def in_one_run(loaded, picture):
    """The map of the package's network on a picture of any size, without tiles."""
    model = onnx.load_model_from_string(package.unsealed(loaded.model_bytes()))
    size = picture.shape
    view = msgspec.structs.replace(loaded.manifest.views[0], shape=size)
    pool = FramePool.create((view,), 1)
    data = retile.resized(model, size).SerializeToString()
    session = BoundSession(data, (view,), pool, "cpu", 1)
    session.judge({"image": picture})
    cells = session.outputs["map"].copy()
    del session
    pool.close()
    return cells


def test_with_the_network_s_reach_as_overlap_the_map_is_the_old_one_to_the_bit(
    synthetic, larger, tiled, tray
):
    picture = tray(defects=0.5).frame
    score, cells = tiled(larger, overlap_px=2 * REACH_PX).judge(picture)
    wanted, old = tiled(synthetic, overlap_px=2 * REACH_PX).judge(picture)
    np.testing.assert_array_equal(cells, old)
    np.testing.assert_array_equal(cells, in_one_run(synthetic, picture))
    assert score == wanted


def test_inside_a_tile_it_sees_what_the_old_one_sees(synthetic, larger, tray):
    picture = tray(defects=0.5).frame[20 : 20 + TILE[0], 8 : 8 + TILE[1]]
    cells, old = in_one_run(larger, picture), in_one_run(synthetic, picture[:256, 136:392])
    assert cells.shape == (33, 65)
    inside = slice(REACH_PX // 8, 32 - REACH_PX // 8)
    np.testing.assert_array_equal(cells[inside, 17:49][:, inside], old[inside, inside])


def test_what_it_carries_over_and_what_it_does_not_claim(synthetic, larger):
    old, new = synthetic.manifest, larger.manifest
    assert new.name == "synthetic-part-264x520"
    for field in ("version", "thresholds", "envelope", "pictures", "terms", "precision"):
        assert getattr(new, field) == getattr(old, field)
    assert (new.tiling.envelope_px, new.tiling.min_overlap_px) == ((256, 256), 256 // 5)
    assert (new.picture().shape, new.outputs.map_shape) == (TILE, (33, 65))
    assert new.figures == Figures()
    assert new.extra["made_of"] == f"synthetic-part@1 {synthetic.content_sha256}"


def test_its_golden_set_is_of_its_own_tiles_and_its_session_keeps_to_it(larger):
    held, limits = golden.load(larger), larger.manifest.thresholds
    tolerance = larger.manifest.gate.max_score_delta
    assert len(held.parts) == 64
    assert tolerance <= 0.04
    margins = sorted(abs(part.fp32 - limits.fail_from) for part in held.parts)
    assert tolerance < margins[0]
    assert margins[21] <= 3 * tolerance
    assert 16 <= sum(part.fp32 >= limits.fail_from for part in held.parts) <= 48
    pool = FramePool.create(larger.manifest.views, 1)
    session = BoundSession(larger.model_bytes(), larger.manifest.views, pool, "cpu", 1)
    parity = golden.examine(larger, session.judge)
    assert parity.refusal == ""
    off = golden.examine(larger, lambda arrays, of=session: of.judge(arrays) - 2 * tolerance)
    assert off.flips >= 5
    del session
    pool.close()


FRAMES = {
    "tray": lambda picture: picture,
    "dark below": lambda picture: np.concatenate([picture[:304], picture[304:] // 16]),
    "black": np.zeros_like,
    "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), 8),
    "noise": lambda picture: np.random.default_rng(1).integers(0, 256, picture.shape, np.uint8),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("changes", [{}, {"fit_share": 1.0}, {"overlap_px": 96}])
def test_a_frame_is_as_fit_as_to_the_package_of_small_tiles(synthetic, larger, tray, kind, changes):
    frame = FRAMES[kind](tray().frame)
    gauge = TiledGauge(larger.manifest, TileOptions(frame_px=FRAME, **changes))
    old = {key: value for key, value in changes.items() if key != "overlap_px"}
    wanted = TiledGauge(synthetic.manifest, TileOptions(frame_px=FRAME, **old))
    assert gauge.unfit({"image": frame}) == wanted.unfit({"image": frame})


def test_windows_of_shrunk_frames(synthetic, larger, tray):
    frame = cv2.resize(tray().frame, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    options = TileOptions(frame_px=(1216, 1792), shrink=2)
    assert TiledGauge(larger.manifest, options).unfit({"image": frame}) == ""
    assert TiledGauge(larger.manifest, options).unfit({"image": frame // 16})


def test_a_camera_of_5_megapixels_takes_a_quarter_of_its_pixels_less(synthetic):
    manifest, options = retile.of_tiles(synthetic.manifest, (560, 536)), TileOptions((2048, 2448))
    assert len(tiles_of(manifest, options)) == 20
    assert 20 * 560 * 536 < 0.77 * 120 * 256 * 256
    assert len(tiles_of(windows(manifest), options)) == 120


def test_what_was_made_for_tiles_is_not_made_again(larger):
    with pytest.raises(ConfigError, match="synthetic-part-264x520: made for tiles already"):
        retile.retiled(larger, batch=4)
