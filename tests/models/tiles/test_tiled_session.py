"""Frames judged in tiles by a real session: what comes out is of the frame, not of the tiles."""

from __future__ import annotations

import tracemalloc

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.core.config import TileOptions
from edge.core.errors import EngineError
from edge.core.pool import FramePool
from edge.core.types import ViewSpec
from models import package
from models.build.retile import retiled
from models.decode import REGION, Decoder
from models.manifest import Manifest, Outputs, Thresholds, Tiling
from models.session import BoundSession
from models.tiled_session import TiledSession
from models.tiles import Lanes, lanes_of, rounds, tiles_of, whole

REACH_PX = 40  # as far as a cell of synthetic-part sees: 8 + 4 + 2 x 8 + 8 + ... each way
FAIL_FROM = 0.9467


def in_one_run(loaded, picture):
    """The map of the same network with an input of the picture's own size."""
    model = onnx.load_model_from_string(loaded.model_bytes())
    height, width = picture.shape
    cells = [height // 8, width // 8]
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        dims[2].dim_value, dims[3].dim_value = height, width
    for weight in model.graph.initializer:
        if weight.name == "map.shape":
            weight.CopyFrom(numpy_helper.from_array(np.array(cells, np.int64), weight.name))
    value = model.graph.output[1]
    value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, cells))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["map"], {"image": picture[None, None]})[0]


def test_with_the_network_s_reach_as_overlap_tiles_give_the_map_of_one_large_run(
    synthetic, tiled, tray
):
    picture = tray(defects=0.5).frame
    one = tiled(synthetic, overlap_px=2 * REACH_PX)
    score, cells = one.judge(picture)
    np.testing.assert_array_equal(cells, in_one_run(synthetic, picture))
    assert score == cells.max()


def test_lanes_and_slots_make_no_difference(synthetic, tiled, tray):
    picture = tray(defects=0.5).frame
    alone, pair, many = (tiled(synthetic, Lanes(n, 1)) for n in (1, 2, 5))
    score, cells = alone.judge(picture)
    for one, slot in ((pair, 0), (pair, 1), (many, 0)):
        again, same = one.judge(picture, slot=slot)
        assert again == score
        np.testing.assert_array_equal(same, cells)


def test_parts_on_a_tray_are_judged_as_they_are_alone(synthetic, tiled, tray):
    one = tiled(synthetic)
    wrong = parts = 0
    for first in range(1, 40, 6):
        there = tray(defects=0.5, first=first)
        _, cells = one.judge(there.frame)
        for (y, x), label in zip(there.corners, there.labels, strict=True):
            peak = cells[y // 8 : (y + 256) // 8, x // 8 : (x + 256) // 8].max()
            wrong += (peak >= FAIL_FROM) != label
            parts += 1
    assert parts == 42
    assert wrong <= 1


def bright_spot(size_px, threshold=0.5):
    """A package whose map is its picture's means of 8 x 8 px, and whose score is the peak."""
    cells = size_px // 8
    nodes = [
        helper.make_node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["gray"], ["mean"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Div", ["mean", "most"], ["part"]),
        helper.make_node("Reshape", ["part", "cells"], ["map"]),
        helper.make_node("ReduceMax", ["map"], ["peak"], keepdims=1),
        helper.make_node("Reshape", ["peak", "one"], ["score"]),
    ]
    held = {"most": np.float32(255), "cells": np.array([cells, cells]), "one": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "spot",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, size_px, size_px])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [cells, cells]),
        ],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    manifest = Manifest(
        name="spot",
        version="1",
        views=(ViewSpec("image", "picture", "uint8", (size_px, size_px)),),
        outputs=Outputs(map_shape=(cells, cells), cell_px=8, map_threshold=threshold),
        thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
        precision="fp32",
    )
    return package.seal(model.SerializeToString(), manifest)


@pytest.fixture
def spot(tmp_path):
    path = tmp_path / "spot.onnx"
    path.write_bytes(bright_spot(64))
    return package.load(path)


def regions(one, cells):
    out = np.zeros(64, REGION)
    _, count, _ = Decoder(one.whole).regions(cells, out)
    return [
        tuple(int(row[n]) for n in ("x", "y", "width", "height", "area_px")) for row in out[:count]
    ]


def test_a_defect_across_a_seam_is_one_region(spot, tiled):
    one = tiled(spot, frame_px=(160, 160), overlap_px=16)
    seams = sorted({tile.owned[1].stop * 8 for tile in tiles_of(spot.manifest, one.options)})[:-1]
    assert seams
    for seam in seams:
        picture = np.zeros((160, 160), np.uint8)
        picture[seam - 16 : seam + 16, seam - 24 : seam + 8] = 255
        score, cells = one.judge(picture)
        assert score == 1.0
        assert regions(one, cells) == [(seam - 24, seam - 16, 32, 32, 32 * 32)]


def test_regions_of_shrunk_tiles_are_in_pixels_of_the_frame(spot, tiled):
    one = tiled(spot, frame_px=(320, 192), shrink=2)
    picture = np.zeros((320, 192), np.uint8)
    picture[160:192, 64:128] = 200
    score, cells = one.judge(picture)
    assert score == pytest.approx(200 / 255)
    assert regions(one, cells) == [(64, 160, 64, 32, 64 * 32)]


def test_a_batch_gives_the_same_to_the_bit(synthetic, tiled, tray, tmp_path):
    path = tmp_path / "batch.onnx"
    path.write_bytes(retiled(synthetic, batch=4))  # the last run of a frame is not full
    by_four = package.load(path)
    picture = tray(defects=0.5).frame
    one, other = tiled(synthetic), tiled(by_four, Lanes(1, 2))
    assert len(tiles_of(synthetic.manifest, one.options)) % 4
    for (score, cells), (again, same) in [(one.judge(picture), other.judge(picture))]:
        assert again == score
        np.testing.assert_array_equal(same, cells)
    golden = picture[:256, :256]
    assert other.session.judge({"image": golden}) == one.session.judge({"image": golden})


def test_a_picture_of_a_tile_s_size_scores_what_it_scores_alone(synthetic, tiled, tray):
    picture = tray(defects=1.0).frame[32:288, 16:272]
    pool = FramePool.create(synthetic.manifest.views, 1)
    alone = BoundSession(synthetic.model_bytes(), synthetic.manifest.views, pool, "cpu", 2)
    wanted = alone.judge({"image": picture})
    assert tiled(synthetic).session.judge({"image": picture}) == wanted
    del alone
    pool.close()


def skipping(spot, below):
    tiling = Tiling(allow_skip=True, skip_below=below)
    manifest = msgspec.structs.replace(spot.manifest, tiling=tiling)
    return msgspec.structs.replace(spot, manifest=manifest)


def test_empty_tiles_are_skipped_only_where_the_package_says_so(spot, tiled):
    picture = np.full((160, 160), 100, np.uint8)
    picture[144:, 144:] = 255
    everything, some = (
        tiled(spot, frame_px=(160, 160)),
        tiled(skipping(spot, 20.0), frame_px=(160, 160)),
    )
    score, cells = everything.judge(picture)
    again, fewer = some.judge(picture)
    assert (everything.session.skipped, some.session.skipped) == (0, 8)
    assert again == score == 1.0
    assert cells.min() == pytest.approx(100 / 255)
    assert fewer.min() < spot.manifest.outputs.map_threshold
    assert regions(some, fewer) == regions(everything, cells) == [(144, 144, 16, 16, 256)]


def test_a_frame_of_which_everything_was_skipped_has_no_score(spot, tiled):
    one = tiled(skipping(spot, 20.0), frame_px=(160, 160))
    one.judge(np.random.default_rng(1).integers(0, 256, (160, 160), np.uint8))
    score, _ = one.judge(np.full((160, 160), 100, np.uint8))
    assert np.isnan(score)


class Scripted:
    """A session whose score is not its map's peak, or which fails."""

    def __init__(self, views, pool, answer):
        self._answer, self._arrays = answer, pool.arrays(0)
        self.outputs = {"score": np.zeros(1, np.float32), "map": np.zeros((8, 8), np.float32)}

    def run(self, slot):
        score, cell = self._answer(int(self._arrays["image"].max()))
        self.outputs["score"][0] = score
        self.outputs["map"][:] = cell


def scripted(spot, answer):
    options = TileOptions(frame_px=(160, 160))
    pool = FramePool.create(whole(spot.manifest, options).views, 1)
    pool.arrays(0)["image"][-1, -1] = 9  # one tile of nine
    return TiledSession(
        spot.manifest, options, pool, lambda views, place, _: Scripted(views, place, answer),
        Lanes(2, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (lambda most: (0.7 if most else 0.2, 0.1), 0.7),  # a score of its own stands
        (lambda most: (float("nan") if most else 0.2, 0.1), float("nan")),
        (lambda most: (0.2, float("nan") if most else 0.1), float("nan")),
    ],
)
def test_the_worst_tile_is_the_frame_s_score(spot, answer, wanted):
    session = scripted(spot, answer)
    session.run(0)
    score = float(session.outputs["score"][0])
    if np.isnan(wanted):
        assert np.isnan(score) or np.isnan(session.outputs["map"]).any()
    else:
        assert score == pytest.approx(wanted)
    session.close()


def test_a_lane_that_fails_fails_the_run_and_no_later_one(spot):
    wrong = [True]

    def answer(most):
        if wrong[0] and most:
            raise RuntimeError("out of memory")
        return 0.2, 0.2

    session = scripted(spot, answer)
    with pytest.raises(RuntimeError, match="out of memory"):
        session.run(0)
    wrong[0] = False
    session.run(0)
    assert session.outputs["score"][0] == np.float32(0.2)
    session.close()


def test_outputs_that_are_not_the_manifest_s_are_refused(spot, tiled):
    outputs = msgspec.structs.replace(spot.manifest.outputs, map="cells")
    manifest = msgspec.structs.replace(spot.manifest, outputs=outputs)
    with pytest.raises(EngineError, match="output cells of the manifest is not in the graph"):
        tiled(msgspec.structs.replace(spot, manifest=manifest), frame_px=(160, 160))


def test_lanes_by_provider():
    assert lanes_of("cpu", 2, (1,)) == Lanes(2, 1, (1,))
    assert lanes_of("openvino", 3) == Lanes(3, 1)
    assert lanes_of("cuda", 2, (1,)) == Lanes(1, 2)


def test_runs_that_follow_one_another(synthetic):
    options = TileOptions(frame_px=(2048, 2448))  # 120 tiles
    tiling = msgspec.structs.replace(synthetic.manifest.tiling, batch=16)
    by_16 = msgspec.structs.replace(synthetic.manifest, tiling=tiling)
    assert rounds(synthetic.manifest, options, Lanes(2, 1)) == 60
    assert rounds(synthetic.manifest, options, Lanes(7, 1)) == 18
    assert rounds(by_16, options, Lanes(1, 4)) == 8


@pytest.mark.parametrize("shrink", [1, 2])
def test_a_frame_costs_no_memory_of_its_size(synthetic, tiled, tray, shrink):
    picture = tray().frame[:512, :768]
    one = tiled(synthetic, frame_px=(512, 768), shrink=shrink)
    one.judge(picture)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for slot in (0, 1, 0):
            one.session.run(slot)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 16_000  # names and slices; a tile has 65,536 bytes
