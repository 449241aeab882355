"""Trained layers -> an ONNX graph built by hand: folded, static shapes, IR version 10 at most.

    image, reference (1, 1, H, W) uint8 -> Concat -> /255 -> Conv+ReLU ... -> Conv 1x1
        -> Sigmoid -> map [h, w] float32;  maximum of map -> score [1] float32

Built with onnx.helper and not by torch's exporter: every node is known by name, so that the
quantiser can be told what to leave alone, and the same weights give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.build.datasets import CELL_PX, Array

OPSET, IR_VERSION = 17, 9
HEAD = "head"  # the last convolution stays in float: its 64 weights cost nothing, 256 scores would


# (weight (out, in, k, k), bias (out,), stride, padding), float32; the last one is the head.
Layer = tuple[Array, Array, int, int]


def folded(module: Any) -> list[Layer]:
    """The layers of a trained models.build.network, batch norms folded into convolutions."""
    layers: list[Layer] = []
    for layer in module:
        kind = type(layer).__name__
        if kind == "Conv2d":
            weight = layer.weight.detach().double().numpy()
            bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
            layers.append((weight, np.asarray(bias), layer.stride[0], layer.padding[0]))
        elif kind == "BatchNorm2d":
            weight, bias, stride, padding = layers.pop()
            gain = layer.weight.detach().double() / (layer.running_var.double() + layer.eps).sqrt()
            shift = layer.bias.detach().double() - layer.running_mean.double() * gain
            scaled = weight * gain.numpy()[:, None, None, None]
            layers.append((scaled, bias * gain.numpy() + shift.numpy(), stride, padding))
    return [(w.astype(np.float32), b.astype(np.float32), s, p) for w, b, s, p in layers]


def float_model(
    layers: Sequence[Layer], views: Sequence[str], size_px: tuple[int, int], *, raw: bool
) -> Any:
    """The FP32 onnx.ModelProto.

    raw: inputs are the uint8 pictures as they lie in the slot, one a view (the twin that
    ships). Otherwise one float32 input `pixels` (1, views, H, W) in 0..1, as the quantiser
    needs it; `raw_inputs` then puts the pictures in front.
    """
    height, width = size_px
    rows, columns = height // CELL_PX, width // CELL_PX
    nodes: list[Any] = []
    weights: list[Any] = []
    at = "pixels"
    for place, (weight, bias, stride, padding) in enumerate(layers):
        last = place == len(layers) - 1
        name = HEAD if last else f"conv{place}"
        weights += [
            numpy_helper.from_array(weight, f"{name}.weight"),
            numpy_helper.from_array(bias, f"{name}.bias"),
        ]
        kernel = weight.shape[2]
        nodes.append(
            helper.make_node(
                "Conv",
                [at, f"{name}.weight", f"{name}.bias"],
                [name],
                name=name,
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[padding] * 4,
            )
        )
        at = name
        if not last:
            at = f"{name}.relu"
            nodes.append(helper.make_node("Relu", [name], [at], name=at))
    weights.append(numpy_helper.from_array(np.array([rows, columns], np.int64), "map.shape"))
    nodes += [
        helper.make_node("Reshape", [at, "map.shape"], ["logits"], name="logits"),
        helper.make_node("Sigmoid", ["logits"], ["map"], name="map"),
        helper.make_node("ReduceMax", ["map"], ["peak"], name="peak", axes=[0, 1], keepdims=1),
        helper.make_node("Reshape", ["peak", "score.shape"], ["score"], name="score"),
    ]
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "score.shape"))
    shape = [1, len(views), height, width]
    graph = helper.make_graph(
        nodes,
        "inspection",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [rows, columns]),
        ],
        weights,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    return raw_inputs(model, views, size_px) if raw else model


def raw_inputs(model: Any, views: Sequence[str], size_px: tuple[int, int]) -> Any:
    """Replace the float input `pixels` by the raw pictures, in place; returns the model.

    A model that was quantised begins with QuantizeLinear, DequantizeLinear on `pixels`. Raw
    pictures are that quantised tensor already (scale 1/255, zero point 0), so the first of
    them is dropped: after fusion the first convolution reads the camera's bytes.
    """
    graph = model.graph
    pixels = "pixels"
    for node in list(graph.node):
        if node.op_type == "QuantizeLinear" and node.input[0] == "pixels":
            back = next(other for other in graph.node if other.input[0] == node.output[0])
            pixels = back.output[0]
            graph.node.remove(node)
            graph.node.remove(back)
    stacked = views[0] if len(views) == 1 else "views"
    front = [
        helper.make_node(
            "DequantizeLinear", [stacked, "pixel.scale", "pixel.zero"], [pixels], name="pixels"
        )
    ]
    if len(views) > 1:
        # Stacked as bytes: joining after DequantizeLinear costs a requantising QLinearConcat.
        front.insert(0, helper.make_node("Concat", list(views), ["views"], name="views", axis=1))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend(front + rest)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "pixel.scale"),
            numpy_helper.from_array(np.array(0, np.uint8), "pixel.zero"),
        ]
    )
    del graph.input[:]
    for view in views:
        shape = [1, 1, *size_px]
        graph.input.append(helper.make_tensor_value_info(view, TensorProto.UINT8, shape))
    used = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def resized(model: Any, size_px: tuple[int, int]) -> Any:
    """A finished graph of this module for pictures of another size, in place; returns it.

    size_px: rows, columns, multiples of CELL_PX. Convolutions have no size of their own: besides
    inputs and outputs only the shape of the map changes. Before `batched`, where both are wanted.
    """
    graph = model.graph
    cells = (size_px[0] // CELL_PX, size_px[1] // CELL_PX)
    for value in graph.input:
        rows, columns = value.type.tensor_type.shape.dim[2:]
        rows.dim_value, columns.dim_value = size_px
    for weight in graph.initializer:
        if weight.name == "map.shape":
            weight.CopyFrom(numpy_helper.from_array(np.array(cells, np.int64), weight.name))
    value = graph.output[1]
    value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, cells))
    onnx.checker.check_model(model, full_check=True)
    return model


def batched(model: Any, count: int) -> Any:
    """A finished graph of this module that takes `count` parts at once, in place; returns it.

    Inputs become (count, 1, H, W), the score [count], the map [count, h, w]; weights and numbers
    stay as they are. For packages that are laid in tiles on a device (docs/packages.md).
    """
    graph = model.graph
    for value in graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = count
    score, cells = graph.output
    rows, columns = (dim.dim_value for dim in cells.type.tensor_type.shape.dim)
    shapes = {"map.shape": (count, rows, columns), "score.shape": (count,)}
    for weight in graph.initializer:
        if weight.name in shapes:
            sides = np.array(shapes[weight.name], np.int64)
            weight.CopyFrom(numpy_helper.from_array(sides, weight.name))
    for node in graph.node:
        if node.op_type == "ReduceMax":
            node.attribute[0].ints[:] = [1, 2]
    for value, name in ((score, "score.shape"), (cells, "map.shape")):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shapes[name]))
    onnx.checker.check_model(model, full_check=True)
    return model
