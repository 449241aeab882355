"""The operators of a trained network -> an ONNX graph: static shapes, IR version 10 at most.

    image, reference (1, 1, H, W) uint8 -> Concat -> /255 -> the network's operators
        -> Sigmoid -> map [h, w] float32;  maximum of map -> score [1] float32

A network with a logit for the picture as a whole adds it to the largest of the map's before the
score's sigmoid; one that knows types has them as `types` [h, w] uint8, 1 for the first.
Built with onnx.helper and not by torch's exporter: every node is known by name, so that the
quantiser can be told what to leave alone, and the same weights give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.build.datasets import CELL_PX
from models.build.traced import PIXELS, Step, Traced

OPSET, IR_VERSION = 17, 9


def float_model(
    network: Traced, views: Sequence[str], size_px: tuple[int, int], *, raw: bool
) -> Any:
    """The FP32 onnx.ModelProto.

    raw: inputs are the uint8 pictures as they lie in the slot, one a view (the twin that
    ships). Otherwise one float32 input `pixels` (1, views, H, W) in 0..1, as the quantiser
    needs it; `raw_inputs` then puts the pictures in front.
    """
    height, width = size_px
    cells = (height // CELL_PX, width // CELL_PX)
    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    for step in network.steps:
        nodes.append(_node(step, weights))
    ends = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, cells),
    ]
    _hold(weights, "map.shape", np.array(cells, np.int64))
    _hold(weights, "score.shape", np.array([1], np.int64))
    nodes += [
        helper.make_node("Reshape", [network.map, "map.shape"], ["logits"], name="logits"),
        helper.make_node("Sigmoid", ["logits"], ["map"], name="map"),
    ]
    nodes += _of_the_map() if network.picture is None else _of_both(network.picture)
    if network.types is not None:
        nodes += _types(network.types, weights)
        ends.append(helper.make_tensor_value_info("types", TensorProto.UINT8, cells))
    graph = helper.make_graph(
        nodes,
        "inspection",
        [helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, [1, len(views), height, width])],
        ends,
        list(weights.values()),
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    return raw_inputs(model, views, size_px) if raw else model


def _node(step: Step, weights: dict[str, Any]) -> Any:
    """The ONNX node of one operator; what it needs besides its inputs goes into `weights`."""
    inputs, name = list(step.inputs), step.name
    match step.kind:
        case "conv":
            assert step.weight is not None
            _hold(weights, f"{name}.weight", step.weight)
            _hold(weights, f"{name}.bias", step.bias)
            return helper.make_node(
                "Conv",
                [*inputs, f"{name}.weight", f"{name}.bias"],
                [name],
                name=name,
                kernel_shape=list(step.weight.shape[2:]),
                strides=[step.stride] * 2,
                pads=list(step.pads),
                group=step.groups,
            )
        case "relu6":
            _hold(weights, "clip.low", np.array(0, np.float32))
            _hold(weights, "clip.high", np.array(6, np.float32))
            return helper.make_node("Clip", [*inputs, "clip.low", "clip.high"], [name], name=name)
        case "double":
            _hold(weights, "resize.scales", np.array([1, 1, 2, 2], np.float32))
            return helper.make_node(
                "Resize",
                [*inputs, "", "resize.scales"],
                [name],
                name=name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        case _:
            operator = {"relu": "Relu", "add": "Add", "mean": "GlobalAveragePool"}[step.kind]
            return helper.make_node(operator, inputs, [name], name=name)


def _of_the_map() -> list[Any]:
    """The score: the map's largest cell."""
    return [
        helper.make_node("ReduceMax", ["map"], ["peak"], name="peak", axes=[0, 1], keepdims=1),
        helper.make_node("Reshape", ["peak", "score.shape"], ["score"], name="score"),
    ]


def _of_both(picture: str) -> list[Any]:
    """The score: the map's largest logit and the picture's, added."""
    return [
        helper.make_node("ReduceMax", ["logits"], ["peak"], name="peak", axes=[0, 1], keepdims=1),
        helper.make_node("Reshape", ["peak", "score.shape"], ["worst"], name="worst"),
        helper.make_node("Reshape", [picture, "score.shape"], ["whole"], name="whole"),
        helper.make_node("Add", ["worst", "whole"], ["both"], name="both"),
        helper.make_node("Sigmoid", ["both"], ["score"], name="score"),
    ]


def _types(logits: str, weights: dict[str, Any]) -> list[Any]:
    """Of each cell the likeliest type, counted from 1."""
    _hold(weights, "types.first", np.array(1, np.int64))
    return [
        helper.make_node("ArgMax", [logits], ["likeliest"], name="likeliest", axis=1),
        helper.make_node("Add", ["likeliest", "types.first"], ["counted"], name="counted"),
        helper.make_node("Cast", ["counted"], ["bytes"], name="bytes", to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "map.shape"], ["types"], name="types"),
    ]


def _hold(weights: dict[str, Any], name: str, values: Any) -> None:
    weights[name] = numpy_helper.from_array(values, name)


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
    for value in graph.output[1:]:  # the map, and the types where the network knows them
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, cells))
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
    score, *maps = graph.output  # the map, and the types where the network knows them
    rows, columns = (dim.dim_value for dim in maps[0].type.tensor_type.shape.dim)
    shapes = {"map.shape": (count, rows, columns), "score.shape": (count,)}
    for weight in graph.initializer:
        if weight.name in shapes:
            sides = np.array(shapes[weight.name], np.int64)
            weight.CopyFrom(numpy_helper.from_array(sides, weight.name))
    for node in graph.node:
        if node.op_type == "ReduceMax":
            node.attribute[0].ints[:] = [1, 2]
    for value, name in ((score, "score.shape"), *((cells, "map.shape") for cells in maps)):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shapes[name]))
    onnx.checker.check_model(model, full_check=True)
    return model
