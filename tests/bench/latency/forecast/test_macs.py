"""Work counted in graphs: against counts by hand, and against `onnx`'s own shapes."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.latency.forecast import macs, probes
from bench.latency.forecast.nodes import Writer, outputs_named, parse
from edge.core.errors import PackageError
from models import package

ZOO = ("synthetic-part", "deeppcb", "twins/synthetic-part-fp32", "twins/deeppcb-fp32")


def zoo(name):
    return package.find(package.ZOO / f"{name}.onnx").model_bytes()


def written(operator, shape, *weights, dtype="float32", **attributes):
    """A graph of one operator on one input."""
    writer = Writer()
    names = [writer.constant(np.ones(size, np.float32)) for size in weights]
    x = writer.input("x", dtype, shape)
    writer.output(writer.node(operator, x, *names, **attributes))
    return writer.model()


@pytest.mark.parametrize(
    ("model", "count", "kind"),
    [
        # 8 x 8 places, 20 channels, each from 16 channels of 3 x 3
        (
            written("Conv", [1, 16, 8, 8], (20, 16, 3, 3), pads=[1, 1, 1, 1]),
            8 * 8 * 20 * 16 * 9,
            "fp32 dense",
        ),
        (
            written("Conv", [1, 16, 8, 8], (20, 16, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2]),
            4 * 4 * 20 * 16 * 9,
            "fp32 dense",
        ),
        (written("Conv", [1, 16, 9, 9], (32, 16, 1, 1)), 81 * 32 * 16, "fp32 pointwise"),
        (written("Conv", [1, 3, 9, 9], (32, 3, 3, 3)), 49 * 32 * 27, "fp32 few inputs"),
        (written("Conv", [1, 16, 9, 9], (2, 16, 3, 3)), 49 * 2 * 144, "fp32 few outputs"),
        (written("Conv", [1, 16, 9, 9], (16, 1, 3, 3), group=16), 49 * 16 * 9, "fp32 depthwise"),
        (written("Conv", [1, 16, 9, 9], (32, 4, 3, 3), group=4), 49 * 32 * 36, "fp32 grouped"),
        (written("ConvTranspose", [1, 8, 5, 5], (8, 6, 2, 2)), 25 * 8 * 6 * 4, "fp32 dense"),
        (written("MatMul", [3, 5, 7], (7, 11)), 3 * 5 * 7 * 11, "fp32 matrix"),
        (written("Gemm", [5, 7], (11, 7), transB=1), 5 * 7 * 11, "fp32 matrix"),
        (written("Gemm", [7, 5], (7, 11), transA=1), 5 * 7 * 11, "fp32 matrix"),
        (written("Relu", [1, 4, 5, 5]), 0, "fp32 plain"),
        (written("MaxPool", [1, 4, 8, 8], kernel_shape=[2, 2]), 0, "fp32 window"),
    ],
)
def test_work_as_counted_by_hand(model, count, kind):
    found = macs.graph(model)
    assert (found.macs, found.work[0].kind) == (count, kind)
    assert found.unknown == ()


def test_bytes_and_parameters_as_counted_by_hand():
    model = written("Conv", [1, 16, 8, 8], (20, 16, 3, 3), pads=[1, 1, 1, 1])
    found = macs.graph(model)
    assert found.parameters == 20 * 16 * 9
    assert found.parameter_bytes == 4 * 20 * 16 * 9
    assert found.activation_bytes == 4 * (16 * 64 + 20 * 64)
    assert found.work[0].executed == 64 * 32 * 144  # 20 channels fill two vectors of 16
    assert found.work[0].rows == 64 * 3


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_as_onnx_itself_infers_it(name):
    data = zoo(name)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    graph = model.graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    counted = [prod(shapes[n.output[0]]) * prod(shapes[n.input[1]][1:]) for n in convolutions]
    found = macs.graph(data)
    assert found.macs == sum(counted) > 1e8
    assert found.parameters == sum(prod(i.dims) for i in graph.initializer)
    assert len(found.work) == len(graph.node)
    assert found.unknown == ()


def test_a_package_and_its_twin_do_the_same_work():
    assert macs.graph(zoo("deeppcb")).macs == macs.graph(zoo("twins/deeppcb-fp32")).macs


@pytest.mark.parametrize("name", ZOO)
def test_the_optimised_graph_is_shorter_known_and_does_at_least_the_same_work(name):
    plain, run = macs.graph(zoo(name)), macs.graph(macs.optimised(zoo(name)))
    assert len(run.work) < len(plain.work)
    assert run.unknown == ()
    # Padding: the one channel of the map's head is computed as a whole vector of channels.
    assert plain.macs <= run.macs < 1.05 * plain.macs
    precision = "fp32" if "fp32" in name else "int8"
    heavy = {work.kind.split()[0] for work in run.work if work.macs > 0.01 * run.macs}
    assert heavy == {precision}


def test_an_operator_it_does_not_know_is_named_and_counts_as_traffic():
    found = macs.graph(written("Cos", [1, 4, 5, 5]))
    assert found.unknown == ("Cos",)
    assert (found.macs, found.activation_bytes) == (0, 2 * 4 * 100)


def test_an_operator_with_a_graph_inside_is_named():
    inner = [
        helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"])],
            operator,
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        )
        for operator in ("Neg", "Abs")
    ]
    branch = helper.make_node("If", ["c"], ["z"], then_branch=inner[0], else_branch=inner[1])
    graph = helper.make_graph(
        [branch],
        "branch",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, [1]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4])],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    assert macs.graph(model.SerializeToString()).unknown == ("If",)


def test_a_size_that_is_not_fixed_is_named():
    found = macs.graph(written("NonZero", [1, 4]))
    assert found.unknown == ("NonZero",)


@pytest.mark.parametrize("data", [b"\x00\x01", b"", b"not a graph", zoo("deeppcb")[:5000]])
def test_what_is_no_graph_is_one_line(data):
    with pytest.raises(PackageError) as caught:
        macs.graph(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_what_the_writer_writes_is_what_onnx_and_the_reader_read(precision):
    for data in probes.graphs(precision):
        model = onnx.load_from_string(data)
        nodes, constants = parse(data)
        assert [n.operator for n in nodes] == [n.op_type for n in model.graph.node]
        assert [n.inputs for n in nodes] == [tuple(n.input) for n in model.graph.node]
        shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
        assert {name: t.shape for name, t in constants.items()} == shapes


def test_no_probe_has_the_shape_of_a_layer_of_the_zoo():
    """The prediction is not made of the packages it is tried on."""
    probed = {(s.channels, s.out, s.kernel, s.stride, s.side) for s in probes.CONVOLUTIONS}
    used = set()
    for name in ZOO:
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(zoo(name)))
        values = (*model.graph.value_info, *model.graph.input)
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        shapes |= {i.name: list(i.dims) for i in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Conv":
                picture, weights = shapes[node.input[0]], shapes[node.input[1]]
                stride = next(a.ints[0] for a in node.attribute if a.name == "strides")
                used.add((weights[1], weights[0], weights[2], stride, picture[2]))
    assert len(used) > 5
    assert not probed & used


def test_outputs_put_behind_a_model_are_outputs_of_it():
    data = written("Relu", [1, 4])
    longer = onnx.load_from_string(data + outputs_named(["x"]))
    assert [value.name for value in longer.graph.output] == ["Relu-1", "x"]
