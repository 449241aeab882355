"""Export and INT8: the graph computes what the layers say, and nothing stays between them."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from edge.core.types import Fit, ViewSpec
from models import package
from models.build import measure
from models.manifest import Manifest, Outputs, Thresholds

onnx = pytest.importorskip("onnx", reason="building needs onnx")
ort = pytest.importorskip("onnxruntime", reason="building needs onnxruntime")

from models.build import export  # noqa: E402  (needs onnx)
from models.build.export import float_model  # noqa: E402
from models.build.quantize import int8_model  # noqa: E402
from models.build.traced import Step, Traced  # noqa: E402

SIDE_PX = 64
VIEWS = ("image", "reference")


def network(views=2, seed=0, *, all_heads=False, types=False):
    """Random operators of the shipped shape: 8x8/4, 3x3/2, 3x3, 1x1.

    types: and three types. all_heads: with a detour at half the size, a logit of the whole
    picture and three types.
    """
    rng = np.random.default_rng(seed)
    steps = []

    def conv(name, at, fan_in, fan_out, kernel=3, stride=1):
        scale = (2 / (fan_in * kernel * kernel)) ** 0.5
        weight = rng.normal(0, scale, (fan_out, fan_in, kernel, kernel)).astype(np.float32)
        pads = ((kernel - stride + 1) // 2,) * 4
        bias = np.zeros(fan_out, np.float32)
        steps.append(Step("conv", name, (at,), weight, bias, stride, pads))

    def then(kind, name, *inputs):
        steps.append(Step(kind, name, inputs))

    conv("a", "pixels", views, 32, 8, 4)
    then("relu", "a.relu", "a")
    conv("b", "a.relu", 32, 32, 3, 2)
    then("relu", "b.relu", "b")
    conv("c", "b.relu", 32, 32)
    then("relu", "c.relu", "c")
    if not all_heads:
        conv("map.head", "c.relu", 32, 1, 1)
        if types:
            conv("types.head", "c.relu", 32, 3, 1)
        return Traced(tuple(steps), "map.head", types="types.head" if types else None)
    conv("d", "c.relu", 32, 32, 3, 2)
    then("relu6", "d.relu", "d")
    then("double", "wide", "d.relu")
    then("add", "joined", "c.relu", "wide")
    then("mean", "mean", "d.relu")
    conv("map.head", "joined", 32, 1, 1)
    conv("picture.head", "mean", 32, 1, 1)
    conv("types.head", "joined", 32, 3, 1)
    return Traced(tuple(steps), "map.head", "picture.head", "types.head")


def manifest(names):
    cells = (SIDE_PX // 8, SIDE_PX // 8)
    return Manifest(
        name="part",
        version="1",
        views=tuple(
            ViewSpec(name, "picture", "uint8", (SIDE_PX, SIDE_PX), Fit(mode="exact"))
            for name in names
        ),
        outputs=Outputs(map_shape=cells, types="types", type_names=("one", "two", "three")),
        thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
    )


def pictures(count, views=2):
    rng = np.random.default_rng(1)
    out = rng.integers(0, 256, (count, views, SIDE_PX, SIDE_PX), np.uint8)
    for part in out:
        for picture in part:
            cv2.GaussianBlur(picture, (0, 0), 2, dst=picture)
    return out


def models(names, *, all_heads=False):
    steps = network(len(names), all_heads=all_heads)
    plain = float_model(steps, names, (SIDE_PX, SIDE_PX), raw=False)
    fp32 = float_model(steps, names, (SIDE_PX, SIDE_PX), raw=True)
    int8 = int8_model(plain, steps, pictures(16, len(names)), names)
    return plain, fp32.SerializeToString(), int8.SerializeToString()


@pytest.mark.parametrize("names", [VIEWS, VIEWS[:1]])
def test_raw_pictures_give_what_floats_in_0_to_1_give(names):
    plain, fp32, int8 = models(names)
    part = pictures(3, len(names))[2]
    direct = ort.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])
    score, cells = direct.run(None, {"pixels": part[None].astype(np.float32) / 255})
    assert cells.shape == (SIDE_PX // 8, SIDE_PX // 8)
    assert score == cells.max()
    assert measure.scores(fp32, names, part[None])[0] == pytest.approx(score[0], abs=1e-5)
    assert measure.scores(int8, names, part[None])[0] == pytest.approx(score[0], abs=0.05)


@pytest.mark.parametrize("names", [VIEWS, VIEWS[:1]])
def test_a_logit_of_the_whole_picture_and_types_are_put_out(names):
    _, fp32, int8 = models(names, all_heads=True)
    part = pictures(3, len(names))[2]
    feed = {name: view[None, None] for name, view in zip(names, part, strict=True)}
    found = [
        ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feed)
        for model in (fp32, int8)
    ]
    for score, cells, types in found:
        assert score.shape == (1,)
        assert cells.shape == types.shape == (SIDE_PX // 8, SIDE_PX // 8)
        assert types.dtype == np.uint8
        assert set(np.unique(types)) <= {1, 2, 3}
        # The whole picture's logit is in the score, and in no cell.
        assert score[0] != cells.max()
    assert found[0][0] == pytest.approx(found[1][0], abs=0.05)
    assert (found[0][2] == found[1][2]).mean() > 0.8
    admitted = package.seal(int8, manifest(names))
    assert package.unsealed(admitted) == int8


@pytest.mark.parametrize("names", [VIEWS, VIEWS[:1]])
def test_every_convolution_but_the_head_becomes_integer_without_pairs_between(names, tmp_path):
    _, _, int8 = models(names)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == 3
    assert kinds["DequantizeLinear"] == 1
    assert kinds["QuantizeLinear"] == 0


def test_a_graph_with_types_is_enlarged_and_batched():
    fp32 = float_model(network(1, types=True), VIEWS[:1], (SIDE_PX, SIDE_PX), raw=True)
    large = (SIDE_PX * 2, SIDE_PX + 8)
    parts = np.random.default_rng(0).integers(0, 256, (3, 1, *large), np.uint8)
    alone = export.resized(fp32, large)
    one = ort.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    each = [one.run(None, {"image": part[None]}) for part in parts]
    three = export.batched(alone, 3).SerializeToString()
    together = ort.InferenceSession(three, providers=["CPUExecutionProvider"])
    found = together.run(None, {"image": parts})
    assert [value.shape for value in found] == [(3,), (3, 16, 9), (3, 16, 9)]
    for place, (score, cells, types) in enumerate(each):
        assert found[0][place] == pytest.approx(score[0], abs=1e-6)
        np.testing.assert_allclose(found[1][place], cells, atol=1e-6)
        np.testing.assert_array_equal(found[2][place], types)


def test_weights_are_7_bit_and_the_versions_old_enough():
    model = onnx.load_from_string(models(VIEWS)[2])
    assert model.ir_version <= 10
    assert all(opset.version <= 21 for opset in model.opset_import)
    kinds = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert len(kinds) == 3
    assert all(np.abs(weight.astype(int)).max() <= 64 for weight in kinds)


def test_scores_do_not_depend_on_the_thread_count():
    _, _, int8 = models(VIEWS)
    parts = pictures(4)
    one, two = (measure.scores(int8, VIEWS, parts, threads) for threads in (1, 2))
    assert one.tobytes() == two.tobytes()
