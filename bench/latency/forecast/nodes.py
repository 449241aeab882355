"""ONNX graphs as bytes: their nodes and constants read, and small graphs written.

As models/protobuf.py, by hand: the package `onnx` is not there at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy.typing as npt

from models.protobuf import BYTES, VARINT, Field, FormatError, fields, varint

# ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto: the field numbers used here.
_GRAPH, _OPSET, _IR = 7, 8, 1
_NODE, _NAME, _INITIALIZER, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
_ELEMENTS = {1: "float", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_NUMBERS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
IR_VERSION, OPSET = 8, 17

Attribute = int | str | Sequence[int]


class Tensor(msgspec.Struct, frozen=True):
    """A value: its element type in ONNX Runtime's words, and its shape if that is fixed."""

    element: str
    shape: tuple[int, ...] | None


class Node(msgspec.Struct, frozen=True):
    """One operator. nested: it holds graphs of its own (If, Loop, Scan)."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: dict[str, int]
    nested: bool

    def integer(self, name: str, default: int = 0) -> int:
        return self.integers.get(name, default)


def parse(model: bytes) -> tuple[tuple[Node, ...], dict[str, Tensor]]:
    """The nodes and the constants of a serialised model; FormatError where it is damaged."""
    view = memoryview(model)
    nodes: list[Node] = []
    constants: dict[str, Tensor] = {}
    for part in fields(view):
        if part.number != _GRAPH or part.wire != BYTES:
            continue
        inner = view[part.start : part.end]
        for item in fields(inner):
            if item.number == _NODE:
                nodes.append(_node(inner[item.start : item.end]))
            elif item.number == _INITIALIZER:
                name, tensor = _tensor(inner[item.start : item.end])
                constants[name] = tensor
    return tuple(nodes), constants


def _node(view: memoryview) -> Node:
    texts: dict[int, list[str]] = {number: [] for number in (1, 2, 3, 4)}
    integers: dict[str, int] = {}
    nested = False
    for item in fields(view):
        if item.number in texts:
            texts[item.number].append(_text(view, item))
        elif item.number == 5:
            name, value, holds_graph = _attribute(view[item.start : item.end])
            nested |= holds_graph
            if value is not None:
                integers[name] = value
    if len(texts[4]) != 1:
        raise FormatError("a node without an operator")
    name = texts[3][0] if texts[3] else ""
    return Node(name, texts[4][0], tuple(texts[1]), tuple(texts[2]), integers, nested)


def _attribute(view: memoryview) -> tuple[str, int | None, bool]:
    """(name, its single integer, whether it is a graph)."""
    name, value, holds_graph = "", None, False
    for item in fields(view):
        if item.number == 1:
            name = _text(view, item)
        elif item.number == 3 and item.wire == VARINT:
            value = item.value
        elif item.number in (6, 11):
            holds_graph = True
    return name, value, holds_graph


def _tensor(view: memoryview) -> tuple[str, Tensor]:
    name, element, shape = "", "", []
    for item in fields(view):
        if item.number == 1 and item.wire == VARINT:
            shape.append(item.value)
        elif item.number == 1:  # packed
            shape += _packed(view[item.start : item.end])
        elif item.number == 2:
            element = _ELEMENTS.get(item.value, "")
        elif item.number == 8:
            name = _text(view, item)
    return name, Tensor(element, tuple(shape))


def _packed(view: memoryview) -> list[int]:
    found, value, shift = [], 0, 0
    for byte in view:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


def _text(view: memoryview, item: Field) -> str:
    try:
        return str(view[item.start : item.end], "utf-8")
    except UnicodeDecodeError:
        raise FormatError("a name that is not UTF-8") from None


def outputs_named(names: Iterable[str]) -> bytes:
    """What makes these values outputs as well, put behind a serialised model.

    A message that comes twice in a protobuf file is merged: the graph gains outputs.
    """
    return _field(_GRAPH, b"".join(_field(_OUTPUT, _field(1, name)) for name in names))


class Writer:
    """A graph in the making; every value has a name, and `node` returns that of its output."""

    def __init__(self) -> None:
        self._parts: list[bytes] = [_field(_NAME, "probe")]
        self._count = 0

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Attribute) -> str:
        """Add an operator with one output; the node has the output's name."""
        self._count += 1
        out = f"{operator}-{self._count}"
        body = b"".join(_field(1, name) for name in inputs)
        body += _field(2, out) + _field(3, out) + _field(4, operator)
        body += b"".join(_field(5, _attribute_bytes(*pair)) for pair in attributes.items())
        self._parts.append(_field(_NODE, body + _field(7, domain)))
        return out

    def constant(self, values: npt.NDArray[Any]) -> str:
        self._count += 1
        name = f"constant-{self._count}"
        body = b"".join(_integer(1, size) for size in values.shape)
        body += _integer(2, _NUMBERS[values.dtype.name])
        self._parts.append(
            _field(_INITIALIZER, body + _field(8, name) + _field(9, values.tobytes()))
        )
        return name

    def input(self, name: str, dtype: str, shape: Sequence[int]) -> str:
        sizes = b"".join(_field(1, _integer(1, size)) for size in shape)
        kind = _field(1, _integer(1, _NUMBERS[dtype]) + _field(2, sizes))
        self._parts.append(_field(_INPUT, _field(1, name) + _field(2, kind)))
        return name

    def output(self, name: str) -> None:
        """Type and shape are left to ONNX Runtime."""
        self._parts.append(_field(_OUTPUT, _field(1, name)))

    def model(self) -> bytes:
        sets = _field(_OPSET, _integer(2, OPSET))
        sets += _field(_OPSET, _field(1, "com.microsoft") + _integer(2, 1))
        return _integer(_IR, IR_VERSION) + _field(_GRAPH, b"".join(self._parts)) + sets


def _attribute_bytes(name: str, value: Attribute) -> bytes:
    head = _field(1, name)
    if isinstance(value, int):
        return head + _integer(3, value) + _integer(20, 2)
    if isinstance(value, str):
        return head + _field(4, value) + _integer(20, 3)
    return head + b"".join(_integer(8, item) for item in value) + _integer(20, 7)


def _integer(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(value)


def _field(number: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | BYTES) + varint(len(raw)) + raw
