"""Export and INT8: the graph computes what the layers say, and nothing stays between them."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from models.build import measure

onnx = pytest.importorskip("onnx", reason="building needs onnx")
ort = pytest.importorskip("onnxruntime", reason="building needs onnxruntime")

from models.build.export import float_model  # noqa: E402  (needs onnx)
from models.build.quantize import int8_model  # noqa: E402

SIDE_PX = 64
VIEWS = ("image", "reference")


def layers(views=2, seed=0):
    """Random layers of the shipped shape: 8x8/4, 3x3/2, 3x3, 1x1."""
    rng = np.random.default_rng(seed)

    def layer(fan_in, fan_out, kernel, stride, padding):
        scale = (2 / (fan_in * kernel * kernel)) ** 0.5
        weight = rng.normal(0, scale, (fan_out, fan_in, kernel, kernel))
        return weight.astype(np.float32), np.zeros(fan_out, np.float32), stride, padding

    body = (layer(views, 32, 8, 4, 2), layer(32, 32, 3, 2, 1), layer(32, 32, 3, 1, 1))
    return [*body, layer(32, 1, 1, 1, 0)]


def pictures(count, views=2):
    rng = np.random.default_rng(1)
    out = rng.integers(0, 256, (count, views, SIDE_PX, SIDE_PX), np.uint8)
    for part in out:
        for picture in part:
            cv2.GaussianBlur(picture, (0, 0), 2, dst=picture)
    return out


def models(names):
    plain = float_model(layers(len(names)), names, (SIDE_PX, SIDE_PX), raw=False)
    fp32 = float_model(layers(len(names)), names, (SIDE_PX, SIDE_PX), raw=True)
    int8 = int8_model(plain, pictures(16, len(names)), names)
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
