"""FP32 graph -> INT8: ONNX Runtime's static QDQ quantisation, ranges from train pictures.

Weights are per channel and 7 bits wide: processors without VNNI add pairs of 8 x 8 bit
products in 16 bits, which 8-bit weights overflow and 7-bit weights cannot.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from models.build.datasets import Array
from models.build.export import IR_VERSION, raw_inputs
from models.build.traced import PIXELS, Traced

# What is done in integers. Relu and Clip are named so that they melt into the convolution before
# them; without, a pair of Quantize and Dequantize stays between any two (docs/models.md).
_INTEGERS = ("Conv", "Relu", "Clip", "Add", "Resize", "GlobalAveragePool")
# The float tail behind the heads: 64 weights cost nothing there, scores of 256 steps would.
_TAIL = ("both", "counted")
# Pictures that set the INT8 ranges: minimum and maximum move no more beyond this many.
RANGE_PICTURES = 256


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Train pictures as the quantiser reads them, one at a time."""

    def __init__(self, pictures: Array) -> None:
        self._left = iter(pictures)

    def get_next(self) -> dict[str, Array] | None:
        """The next feed, None after the last."""
        views = next(self._left, None)
        if views is None:
            return None
        pixels = views[None].astype(np.float32) / 255
        # The range of the input is 0..1 whatever these pictures hold: its scale must be the
        # raw bytes' own, or the first convolution's bias does not fit it and stays in float.
        pixels[0, 0, 0, :2] = 0, 1
        return {PIXELS: pixels}


def ranges_of(pictures: Array, seed: int) -> Array:
    """The train pictures (n, views, H, W) that set the ranges, drawn by chance."""
    chosen = np.random.default_rng(seed).permutation(len(pictures))
    return pictures[np.sort(chosen[:RANGE_PICTURES])]


def _front(network: Traced) -> list[str]:
    """What stays in float in front: up to the convolution behind the first of single channels.

    EfficientNet's stem and first block have channels of very different range. In integers they
    cost 0.58 of a logit (root mean square, 60 train pictures of deeppcb-one-view), in float 0.21,
    and are quicker: 9.4 ms for 11.5 on one thread. One more block in float: 0.14, but 15 ms.
    """
    convolutions = [place for place, step in enumerate(network.steps) if step.kind == "conv"]
    for nth, place in enumerate(convolutions):
        if network.steps[place].groups > 1:
            return [step.name for step in network.steps[: convolutions[nth + 1] + 1]]
    return []


def int8_model(model: Any, network: Traced, pictures: Array, views: Sequence[str]) -> Any:
    """Quantise a `float_model(raw=False)`; pictures (n, views, H, W) uint8 set the ranges.

    Returns an onnx.ModelProto whose inputs are the raw pictures. Ranges are plain minimum and
    maximum: ReLU outputs of a defect detector are rare and large, and clipping them (entropy,
    percentile) clips the defects.
    """
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_INTEGERS),
            nodes_to_exclude=[*network.heads, *_TAIL, *_front(network)],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantised = onnx.load(after)
    quantised.ir_version = min(quantised.ir_version, IR_VERSION)
    height, width = pictures.shape[2:]
    return raw_inputs(quantised, views, (height, width))
