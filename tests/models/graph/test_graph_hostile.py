"""A graph that is absurd, foreign or lies about its size is refused in one line, soon."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

from models.graph import operators
from models.graph.messages import read
from models.protobuf import FormatError, varint

MS = "com.microsoft"


def const(name: str, values: Any, dtype: Any = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def claimed(dims: list[int], size: int = 4, kind: int = TensorProto.FLOAT) -> TensorProto:
    """An initialiser `w` of these dims with so many bytes."""
    return TensorProto(name="w", data_type=kind, dims=dims, raw_data=b"\0" * size)


def graph(
    *nodes: Any, weights: tuple[TensorProto, ...] = (), shape: Any = (1, 1, 8, 8)
) -> GraphProto:
    """Nodes from `x` to `y`."""
    return helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        weights,
    )


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), ["y"], name="it", **attributes)


def doubling(times: int, first: str = "x") -> list[Any]:
    """A tensor joined with itself again and again."""
    names = [first, *(f"d{at}" for at in range(times - 1)), "y"]
    return [helper.make_node("Concat", [a, a], [b], name=b, axis=0) for a, b in pairwise(names)]


BRANCH = helper.make_graph([node("Relu", "x")], "branch", [], [])
CONV = ("x", "w")
KERNEL = const("w", np.ones((1, 1, 3, 3)), np.float32)

HOSTILE: dict[str, tuple[GraphProto, str]] = {
    # Operators
    "branch": (graph(node("If", "x", then_branch=BRANCH, else_branch=BRANCH)), "a graph inside"),
    "loop": (graph(node("Loop", "", "x")), "operator 'Loop' is not admitted"),
    "random": (graph(node("RandomNormalLike", "x")), "not admitted"),
    "eye": (graph(node("EyeLike", "x")), "not admitted"),
    "sequence": (graph(node("SequenceConstruct", "x")), "not admitted"),
    "custom": (graph(node("Detonate", "x", domain="evil.corp")), "'evil.corp.Detonate' is not"),
    "known name, foreign domain": (graph(node("Conv", *CONV, domain="evil")), "'evil.Conv' is not"),
    "ONNX's name in another domain": (graph(node("Conv", "x", domain=MS)), "not admitted"),
    "name with a line": (graph(node("A\nB", "x")), r"'A\\nB' is not admitted"),
    # Structure
    "from nowhere": (graph(node("Relu", "z")), "'z' comes from nowhere"),
    "of itself": (graph(node("Relu", "y")), "'y' comes from nowhere"),
    "put out twice": (graph(node("Relu", "x"), node("Relu", "x")), "'y': put out twice"),
    "over an initialiser": (
        graph(helper.make_node("Relu", ["x"], ["w"]), weights=(KERNEL,)),
        "'w': put out twice",
    ),
    "no output": (graph(), "output 'y': no operator"),
    "no input": (graph(node("Add")), "malformed|goes in"),
    "two initialisers": (graph(node("Relu", "x"), weights=(KERNEL, KERNEL)), "a name of its own"),
    # Declared sizes
    "open input": (graph(node("Relu", "x"), shape=(1, "n")), "a dimension of 0 or unknown"),
    "negative input": (graph(node("Relu", "x"), shape=(1, -4)), "a dimension of -4"),
    "huge input": (graph(node("Relu", "x"), shape=(2**20, 2**20)), "more than 268435456"),
    "overflowing input": (graph(node("Relu", "x"), shape=(2**32, 2**32)), "more than 268435456"),
    "many dimensions": (graph(node("Relu", "x"), shape=(1,) * 9), "9 dimensions"),
    # Initialisers
    "zip bomb": (graph(node("Add", "x", "w"), weights=(claimed([2**28]),)), "4 bytes of data"),
    "larger": (graph(node("Add", "x", "w"), weights=(claimed([2**29]),)), "more than 268435456"),
    "hidden by a zero": (graph(node("Add", "x", "w"), weights=(claimed([0, 2**40]),)), "more than"),
    "negative": (graph(node("Add", "x", "w"), weights=(claimed([-1]),)), "a dimension of -1"),
    "short": (graph(node("Add", "x", "w"), weights=(claimed([2]),)), "4 bytes of data where"),
    "long": (graph(node("Add", "x", "w"), weights=(claimed([2], 12),)), "12 bytes of data where"),
    "text": (graph(node("Add", "x", "w"), weights=(claimed([1], 4, 8),)), "element type 8"),
    "in two fields": (
        graph(
            node("Add", "x", "w"),
            weights=(TensorProto(name="w", data_type=1, raw_data=b"abcd", float_data=[1]),),
        ),
        "in more than one field",
    ),
    "in another field": (
        graph(
            node("Add", "x", "w"),
            weights=(TensorProto(name="w", data_type=1, dims=[1], int64_data=[1]),),
        ),
        "element type 1 in field 7",
    ),
    "fewer numbers": (
        graph(
            node("Add", "x", "w"),
            weights=(TensorProto(name="w", data_type=7, dims=[9], int64_data=[1, -1, 300]),),
        ),
        "3 numbers of data where",
    ),
    # Sizes that come from data
    "shape from data": (graph(node("Reshape", "x", "x")), "decides on a size"),
    "fill": (graph(node("ConstantOfShape", "w"), weights=(const("w", [2**15] * 2),)), "more than"),
    "tile": (graph(node("Tile", "x", "w"), weights=(const("w", [1, 1, 2**13, 2**13]),)), "more"),
    "expand": (graph(node("Expand", "x", "w"), weights=(const("w", [2**23, 1, 8, 8]),)), "more"),
    "range": (
        graph(
            node("Range", "a", "b", "c"),
            weights=(const("a", 0), const("b", 2**40), const("c", 1)),
        ),
        "more than",
    ),
    "range for ever": (
        graph(node("Range", "a", "b", "c"), weights=(const("a", 0), const("b", 9), const("c", 0))),
        "malformed: .*division",
    ),
    "pads": (
        graph(node("Pad", "x", "w"), weights=(const("w", [0, 0, 2**20, 2**20, 0, 0, 0, 0]),)),
        "more than",
    ),
    "resize": (
        graph(
            node("Resize", "x", "", "w"), weights=(const("w", [1, 1, 1e5, 1e5], np.float32),)
        ),
        "more than",
    ),
    "resize to nothing known": (
        graph(node("Resize", "x", "", "w"), weights=(const("w", [1, 1, 1, np.nan], np.float32),)),
        "malformed",
    ),
    "one hot": (
        graph(
            node("OneHot", "x", "d", "v"),
            weights=(const("d", 2**30), const("v", [0, 1], np.float32)),
        ),
        "more than",
    ),
    # Windows
    "kernel of nothing": (graph(node("MaxPool", "x", kernel_shape=[0, 3])), "beyond 1"),
    "huge kernel": (graph(node("MaxPool", "x", kernel_shape=[2**20, 3])), "beyond 1"),
    "stride 0": (graph(node("Conv", *CONV, strides=[0, 1]), weights=(KERNEL,)), "beyond 1"),
    "negative pads": (graph(node("Conv", *CONV, pads=[-1] * 4), weights=(KERNEL,)), "beyond 1"),
    "huge pads": (graph(node("Conv", *CONV, pads=[2**30] * 4), weights=(KERNEL,)), "beyond 1"),
    "no groups": (graph(node("Conv", *CONV, group=0), weights=(KERNEL,)), "0 groups"),
    "another kernel": (
        graph(node("Conv", *CONV, kernel_shape=[5, 5]), weights=(KERNEL,)),
        "not that",
    ),
    "larger than the picture": (
        graph(node("Conv", *CONV, dilations=[9, 9]), weights=(KERNEL,)),
        "a kernel of 19 on 8 pixels",
    ),
    "huge transposed": (
        graph(node("ConvTranspose", *CONV, strides=[4096, 4096]), weights=(KERNEL,)),
        "more than",
    ),
    # Growth step by step, and work
    "doubling": (graph(*doubling(40)), "more than 268435456 elements"),
    "doubling a constant": (
        graph(*doubling(24, "w"), weights=(const("w", np.ones((4, 1, 1, 1)), np.float32),)),
        "that follow from constants",
    ),
    "work on constants": (
        graph(node("MatMul", "w", "w"), weights=(const("w", np.eye(2), np.float32),)),
        "works on constants alone",
    ),
    # What ends the process of ONNX Runtime 1.31
    "no zero point": (
        graph(
            node("QLinearSigmoid", "x", "s", "z", "s", domain=MS),
            weights=(const("s", 1, np.float32), const("z", 0, np.uint8)),
        ),
        "input 4 is missing",
    ),
    "an end left out": (
        graph(node("LayerNormalization", "x", "w", ""), weights=(KERNEL,)),
        "its last input is left out",
    ),
    "a sum with a gap": (graph(node("Sum", "x", "", "x")), "input 1 is missing"),
    "no zero point of one": (
        graph(
            node("QLinearConcat", "s", "z", "x", "", "z", domain=MS, axis=1),
            weights=(const("s", 1, np.float32), const("z", 0, np.uint8)),
        ),
        "without its scale and zero point",
    ),
    # Whole numbers divided by what stops the processor
    "by zero": (
        graph(
            helper.make_node("Shape", ["x"], ["s"]),
            node("Div", "s", "w"),
            weights=(const("w", [0]),),
        ),
        "divided by known numbers above 0",
    ),
    "by the picture": (
        graph(
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Mod", "i", "i")
        ),
        "divided by known numbers above 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused_in_one_line(case: str) -> None:
    made, reason = HOSTILE[case]
    with pytest.raises(FormatError, match=reason) as caught:
        operators.check(memoryview(made.SerializeToString()))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_more_multiplications_than_minutes_allow_are_refused() -> None:
    squares = helper.make_node("MatMul", ["x", "x"], ["m"]), node("MatMul", "m", "x")
    made = graph(*squares, shape=(2**14, 2**14))
    with pytest.raises(FormatError, match="multiplications a run"):
        operators.check(memoryview(made.SerializeToString()))


def field(number: int, wire: int, body: bytes) -> bytes:
    return varint(number << 3 | wire) + (varint(len(body)) if wire == 2 else b"") + body


NODE = graph(node("Relu", "x")).node[0].SerializeToString()
INT = field(20, 0, b"\2")
BYTES_ = {
    "a name twice": (field(1, 2, NODE + field(4, 2, b"Conv")), "of another type or too often"),
    "a type of another wire type": (field(1, 2, NODE + field(4, 0, b"\1")), "too often"),
    "an unknown field": (field(1, 2, NODE + field(12, 2, b"")), "field 12 of a node"),
    "a sparse tensor": (field(15, 2, b""), "field 15 of a graph"),
    "cut short": (field(1, 2, NODE)[:-3], "truncated"),
    "a name that is no text": (field(1, 2, field(4, 2, b"\xff")), "not UTF-8"),
    "an attribute of two types": (
        field(1, 2, NODE + field(5, 2, INT + field(3, 0, b"\1") + field(4, 2, b"a"))),
        "not of one admitted type",
    ),
    "an attribute without a type": (
        field(1, 2, NODE + field(5, 2, field(3, 0, b"\1"))),
        "not of one admitted type",
    ),
    "an attribute without a value": (
        field(1, 2, NODE + field(5, 2, INT)),
        "without a value",
    ),
    "data beside the file": (field(5, 2, field(13, 2, b"")), "outside the file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BYTES_)
def test_a_message_that_is_not_in_its_table_is_refused(case: str) -> None:
    data, reason = BYTES_[case]
    with pytest.raises(FormatError, match=reason):
        read(memoryview(data))


def test_a_flood_of_fields_is_refused_soon() -> None:
    floods = (
        field(1, 2, b"\x2a\x00" * 8000) * 40,  # 320,000 empty attributes
        b"\x0a\x00" * 30_000,  # operators
        field(5, 2, b"\x08\x01" * 8000),  # dims
    )
    for data in floods:
        began = time.perf_counter()
        with pytest.raises(FormatError):
            read(memoryview(data))
        assert time.perf_counter() - began < 2  # 0.2 on a machine that is not measured on


def test_a_reshape_written_as_exporters_write_it_is_followed() -> None:
    made = graph(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "last"], ["side"], axis=0),
        helper.make_node("Mul", ["side", "side"], ["all"]),
        helper.make_node("Unsqueeze", ["all", "zero"], ["row"]),
        helper.make_node("Slice", ["s", "zero", "two"], ["first"]),
        helper.make_node("Concat", ["first", "row"], ["target"], axis=0),
        node("Reshape", "x", "target"),
        weights=(const("last", 3), const("zero", [0]), const("two", [2])),
    )
    known = operators.weighed(read(memoryview(made.SerializeToString())))
    assert known["y"].dims == (1, 1, 64)
