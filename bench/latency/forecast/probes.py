"""Small graphs that show what this box makes of the operators of inspection networks.

One operator of one shape each, over a range of shapes, none of them those of a package. The picture
is made on the spot from one number and the result cut down to one, so that an operator runs in
memory that was just written, as in a network. With all of them in one graph the caches were cold:
113 us instead of 92 for a convolution of 38e6 MACs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.latency.forecast.nodes import Writer

Precision = Literal["int8", "fp32"]


class Shape(NamedTuple):
    """A convolution: channels in and out, kernel, stride, side of the picture in, groups."""

    channels: int
    out: int
    kernel: int
    stride: int
    side: int
    groups: int = 1


CONVOLUTIONS = tuple(
    Shape(*row)
    for row in (
        # dense
        (16, 16, 3, 1, 40),
        (24, 48, 3, 2, 64),
        (32, 32, 3, 1, 96),
        (32, 80, 5, 2, 48),
        (64, 64, 3, 1, 20),
        (96, 96, 3, 1, 28),
        (128, 128, 3, 1, 14),
        (192, 192, 3, 1, 8),
        # few inputs: a first layer
        (1, 16, 3, 2, 160),
        (1, 24, 7, 2, 128),
        (1, 48, 11, 4, 224),
        (3, 32, 3, 2, 224),
        (3, 16, 5, 1, 80),
        (4, 64, 7, 3, 160),
        (3, 96, 8, 8, 192),
        (8, 16, 3, 1, 48),
        (8, 8, 3, 1, 96),
        # few outputs: a head
        (48, 1, 3, 1, 40),
        (32, 4, 1, 1, 64),
        (96, 2, 1, 1, 32),
        (24, 8, 3, 1, 48),
        # pointwise
        (16, 96, 1, 1, 48),
        (96, 24, 1, 1, 48),
        (48, 48, 1, 1, 28),
        (128, 128, 1, 1, 20),
        (320, 160, 1, 1, 10),
        # depthwise
        (32, 32, 3, 1, 80, 32),
        (96, 96, 3, 2, 56, 96),
        (64, 64, 5, 1, 28, 64),
        (192, 192, 3, 1, 14, 192),
        (384, 384, 7, 1, 8, 384),
        # grouped
        (48, 48, 3, 1, 32, 3),
        (64, 64, 3, 1, 24, 8),
        (96, 96, 3, 1, 14, 2),
    )
)
MATRICES = ((1, 256, 512), (1, 1024, 1024), (64, 128, 384), (196, 192, 192))  # rows, in, out
PLANES = ((16, 40), (32, 96), (96, 28))  # channels and side of everything that has no weights
TINY = (8, 72)  # operators in the two chains of nothing


def inputs(precision: Precision) -> dict[str, npt.NDArray[Any]]:
    """What a probe graph is fed with."""
    return {"x": np.full((1, 1, 1, 1), 1, np.uint8 if precision == "int8" else np.float32)}


def graphs(precision: Precision) -> Iterator[bytes]:
    """The serialised graphs; their input is `inputs(precision)`, their outputs do not matter."""
    made = _Int8 if precision == "int8" else _Float
    for shape in CONVOLUTIONS:
        build = made()
        build.end(build.convolution(build.plane(shape.channels, shape.side), shape))
        yield build.writer.model()
    for rows, depth, out in MATRICES:
        build = made()
        build.end(build.matrix(build.sized(1, 1, rows, depth), depth, out))
        yield build.writer.model()
    for channels, side in PLANES:
        build = made()
        build.planes(channels, side)
        yield build.writer.model()


def network() -> bytes:
    """Five dense convolutions in a row: about a millisecond, to see what a pause costs it."""
    build = _Int8()
    last = build.plane(48, 48)
    for _ in range(5):
        last = build.convolution(last, Shape(48, 48, 3, 1, 48))
    build.end(last)
    return build.writer.model()


def tiny(count: int) -> bytes:
    """A chain of operators with next to nothing to do."""
    writer = Writer()
    last = writer.input("x", "float32", (1, 1, 1, 1))
    for number in range(count):
        last = writer.node("Abs" if number % 2 else "Neg", last)
    writer.output(last)
    return writer.model()


class _Build:
    """What both precisions have in common."""

    dtype: str

    def __init__(self) -> None:
        self.writer = Writer()
        self.dice = np.random.default_rng(1)
        self._x = self.writer.input("x", self.dtype, (1, 1, 1, 1))
        self._first = self.writer.constant(np.zeros(4, np.int64))
        self._last = self.writer.constant(np.ones(4, np.int64))

    def sized(self, *shape: int) -> str:
        return self.writer.node("Expand", self._x, self.writer.constant(np.array(shape)))

    def plane(self, channels: int, side: int) -> str:
        return self.sized(1, channels, side, side)

    def end(self, name: str) -> None:
        self.writer.output(self.writer.node("Slice", name, self._first, self._last))

    def weights(self, *shape: int) -> npt.NDArray[np.int8]:
        return self.dice.integers(-60, 60, shape).astype(np.int8)

    def moved(self, channels: int, side: int) -> None:
        """What moves bytes, or looks at windows of them, in both precisions."""
        node, pads = self.writer.node, [1, 1, 1, 1]
        self.end(node("Transpose", self.plane(channels, side), perm=[0, 2, 3, 1]))
        self.end(node("Concat", self.plane(channels, side), self.plane(channels, side), axis=1))
        plane = self.plane(channels, side)
        self.end(node("MaxPool", plane, kernel_shape=[3, 3], strides=[2, 2], pads=pads))
        self.end(node("MaxPool", self.plane(channels, side), kernel_shape=[2, 2], strides=[2, 2]))
        self.end(
            node(
                "Resize",
                self.plane(channels, side // 2),
                "",
                self.writer.constant(np.array([1, 1, 2, 2], np.float32)),
                mode="nearest",
            )
        )


class _Float(_Build):
    dtype = "float32"

    def convolution(self, x: str, shape: Shape) -> str:
        node, constant = self.writer.node, self.writer.constant
        size = (shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel)
        weights = constant(self.weights(*size).astype(np.float32) / 8192)
        bias = constant(np.zeros(shape.out, np.float32))
        return node("Relu", node("Conv", x, weights, bias, **_window(shape)))

    def matrix(self, x: str, depth: int, out: int) -> str:
        weights = self.weights(depth, out).astype(np.float32) / 8192
        return self.writer.node("MatMul", x, self.writer.constant(weights))

    def planes(self, channels: int, side: int) -> None:
        node, constant = self.writer.node, self.writer.constant
        self.moved(channels, side)
        for operator in ("Relu", "Sigmoid", "Tanh", "Exp", "GlobalAveragePool"):
            self.end(node(operator, self.plane(channels, side)))
        self.end(node("Add", self.plane(channels, side), self.plane(channels, side)))
        reduced = node("ReduceMax", self.plane(channels, side), axes=[2, 3])
        self.end(reduced)
        scale, zero = constant(np.array(0.01, np.float32)), constant(np.array(0, np.uint8))
        eight = node("QuantizeLinear", self.plane(channels, side), scale, zero)
        self.end(eight)


class _Int8(_Build):
    dtype = "uint8"

    def __init__(self) -> None:
        super().__init__()
        self._scale = self.writer.constant(np.array(0.02, np.float32))
        self._zero = self.writer.constant(np.array(0, np.uint8))

    def convolution(self, x: str, shape: Shape) -> str:
        constant = self.writer.constant
        size = (shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel)
        return self.writer.node(
            "QLinearConv",
            *(x, self._scale, self._zero),
            constant(self.weights(*size)),
            constant(np.full(shape.out, 0.001, np.float32)),
            constant(np.zeros(shape.out, np.int8)),
            *(self._scale, self._zero),
            constant(np.zeros(shape.out, np.int32)),
            **_window(shape),
        )

    def matrix(self, x: str, depth: int, out: int) -> str:
        constant = self.writer.constant
        return self.writer.node(
            "QLinearMatMul",
            *(x, self._scale, self._zero),
            constant(self.weights(depth, out)),
            constant(np.array(0.001, np.float32)),
            constant(np.array(0, np.int8)),
            *(self._scale, self._zero),
        )

    def planes(self, channels: int, side: int) -> None:
        node, given = self.writer.node, (self._scale, self._zero)
        self.moved(channels, side)
        one, other = self.plane(channels, side), self.plane(channels, side)
        add = (one, *given, other, *given, *given)
        self.end(node("QLinearAdd", *add, domain="com.microsoft"))
        pool = (self.plane(channels, side), *given, *given)
        self.end(node("QLinearGlobalAveragePool", *pool, domain="com.microsoft"))
        self.end(node("DequantizeLinear", self.plane(channels, side), *given))


def _window(shape: Shape) -> dict[str, Any]:
    return {
        "kernel_shape": [shape.kernel, shape.kernel],
        "strides": [shape.stride, shape.stride],
        "pads": [shape.kernel // 2 if shape.stride < shape.kernel else 0] * 4,
        "group": shape.groups,
    }
