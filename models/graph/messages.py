"""The graph of a package as values, read field by field: what is not known here is refused.

Every message has its table of fields, every tensor its size in the file. So what ONNX Runtime's
own parser gets to see holds no nested graph, no function, no foreign type, and no tensor that is
larger than its bytes. What the operators make of it is weighed in models/graph/operators.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from models.graph.tensors import (
    BITS,
    DATA_FIELDS,
    FLOAT,
    MAX_KNOWN,
    MAX_RANK,
    Tensor,
    bounded,
    constant,
)
from models.protobuf import BYTES, FIXED32, VARINT, Field, FormatError, fields, numbers, signed

MAX_NODES = 10_000
_MAX_FIELDS = 100_000  # of a whole graph, packed numbers included; one of 2 MB has about 1500
_MAX_LIST = 4096  # numbers of an attribute

# Message -> field number -> (wire types, at most how often, at most how many bytes). Doc strings
# and notes (metadata) are let through unread.
_Row = tuple[tuple[int, ...], int, int]
_OFTEN, _ANY = 10**9, 2**31
_TEXT: _Row = ((BYTES,), 1, 4096)
_NUMBER: _Row = ((VARINT,), 1, 0)
_INSIDE: _Row = ((BYTES,), 1, _ANY)
_EACH: _Row = ((BYTES,), _OFTEN, _ANY)
_NAMES: _Row = ((BYTES,), _OFTEN, 4096)
_NOTE: _Row = ((BYTES,), _OFTEN, 65_536)
_PACKED: _Row = ((BYTES,), 1, 16 * 2**20)  # numbers of no fixed length; longer ones are raw data
_FIELDS: dict[str, dict[int, _Row]] = {
    "graph": {1: _EACH, 2: _TEXT, 5: _EACH, 10: _NOTE, 11: _EACH, 12: _EACH, 13: _EACH, 16: _NOTE},
    "node": {1: _NAMES, 2: _NAMES, 3: _TEXT, 4: _TEXT, 5: _EACH, 6: _NOTE, 7: _TEXT, 9: _NOTE},
    "attribute": {
        1: _TEXT,
        2: ((FIXED32,), 1, 0),
        3: _NUMBER,
        4: _TEXT,
        5: _INSIDE,
        7: ((FIXED32, BYTES), _MAX_LIST, 4 * _MAX_LIST),
        8: ((VARINT, BYTES), _MAX_LIST, 10 * _MAX_LIST),
        9: ((BYTES,), _MAX_LIST, 4096),
        13: _NOTE,
        20: _NUMBER,
    },
    "tensor": {
        1: ((VARINT, BYTES), MAX_RANK, 10 * MAX_RANK),
        2: _NUMBER,
        4: _INSIDE,
        5: _PACKED,
        7: _PACKED,
        8: _TEXT,
        9: _INSIDE,
        10: _INSIDE,
        11: _PACKED,
        12: _NOTE,
        14: _NUMBER,
        16: _NOTE,
    },
    "value": {1: _TEXT, 2: _INSIDE, 3: _NOTE, 4: _NOTE},
    "type": {1: _INSIDE, 6: _TEXT},
    "tensor type": {1: _NUMBER, 2: _INSIDE},
    "shape": {1: _EACH},
    "dimension": {1: _NUMBER, 2: _TEXT, 3: _TEXT},
}
_REASONS = {
    ("tensor", 13): "a tensor's data lies outside the file",
    ("attribute", 6): "a graph inside an operator is not admitted",
    ("attribute", 11): "a graph inside an operator is not admitted",
}
# AttributeProto.AttributeType -> the field that holds it, and whether it is a list.
_KINDS = {1: (2, False), 2: (3, False), 3: (4, False), 4: (5, False), 6: (7, True), 7: (8, True),
          8: (9, True)}  # fmt: skip

Value = int | float | bytes | Tensor | tuple[int, ...] | tuple[float, ...] | tuple[bytes, ...]


class Node(msgspec.Struct, frozen=True):
    """An operator: its type, with its domain before it if that is not ONNX's own."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Value]


class Graph(msgspec.Struct, frozen=True):
    """A graph: tensors by name, nodes in the file's order."""

    nodes: tuple[Node, ...]
    constants: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def read(view: memoryview) -> Graph:
    """The graph of a GraphProto's bytes; FormatError with one reason where it is not admitted."""
    return _Reader().graph(view)


def quoted(text: str) -> str:
    """A name from a file, fit for one line of a message."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


class _Reader:
    """Reads the messages of one graph, and gives up when there are too many fields in all."""

    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def _message(self, view: memoryview, kind: str) -> dict[int, list[Field]]:
        """The fields of a message by number, each as its table admits it."""
        admitted = _FIELDS[kind]
        found: dict[int, list[Field]] = {}
        for item in fields(view):
            row = admitted.get(item.number)
            if row is None:
                plain = f"field {item.number} of a {kind} is not admitted"
                raise FormatError(_REASONS.get((kind, item.number), plain))
            wires, times, most = row
            there = found.setdefault(item.number, [])
            there.append(item)
            if item.wire not in wires or len(there) > times:
                raise FormatError(f"field {item.number} of a {kind}: of another type or too often")
            if item.wire == BYTES and item.end - item.start > most:
                raise FormatError(f"field {item.number} of a {kind}: over {most} bytes")
        self._spend(sum(map(len, found.values())))
        return found

    def _spend(self, count: int) -> None:
        """Count fields, and numbers packed into one, against those of the whole graph."""
        self._left -= count
        if self._left < 0:
            raise FormatError(f"more than {_MAX_FIELDS} fields in the graph")

    def graph(self, view: memoryview) -> Graph:
        found = self._message(view, "graph")
        if len(found.get(1, ())) > MAX_NODES:
            raise FormatError(f"more than {MAX_NODES} operators")
        constants: dict[str, Tensor] = {}
        for item in found.get(5, ()):
            name, tensor = self._tensor(_inside(view, item))
            if not name or name in constants:
                raise FormatError(f"initialiser {quoted(name)}: without a name of its own")
            constants[name] = tensor
        for item in found.get(13, ()):
            self._value(_inside(view, item), fixed=False)
        inputs = self._values(view, found.get(11, ()))
        outputs = self._values(view, found.get(12, ()))
        nodes = tuple(self._node(_inside(view, item)) for item in found.get(1, ()))
        return Graph(nodes, constants, inputs, outputs)

    def _values(self, view: memoryview, items: Iterable[Field]) -> dict[str, Tensor]:
        """The graph's inputs or outputs."""
        found: dict[str, Tensor] = {}
        for item in items:
            name, tensor = self._value(_inside(view, item), fixed=True)
            if not name or name in found:
                raise FormatError(f"input or output {quoted(name)}: without a name of its own")
            found[name] = tensor
        return found

    def _value(self, view: memoryview, *, fixed: bool) -> tuple[str, Tensor]:
        """A ValueInfoProto; fixed: a tensor of which every dimension is a number."""
        found = self._message(view, "value")
        name = _text(view, found, 1)
        for number, kind in ((2, "type"), (1, "tensor type")):
            if number not in found:
                if fixed or kind != "type":
                    raise FormatError(f"{quoted(name)}: not a tensor")
                return name, Tensor((), FLOAT)
            view = _inside(view, found[number][0])
            found = self._message(view, kind)
        element = _element(quoted(name), found)
        if fixed and 2 not in found:
            raise FormatError(f"{quoted(name)}: no shape")
        dims = []
        shape = _inside(view, found[2][0]) if 2 in found else view[:0]
        for item in self._message(shape, "shape").get(1, ()):
            side = self._message(_inside(shape, item), "dimension").get(1)
            dims.append(signed(side[0].value) if side else 0)
        return name, Tensor(bounded(quoted(name), dims, least=int(fixed)), element)

    def _node(self, view: memoryview) -> Node:
        found = self._message(view, "node")
        kind, domain = _text(view, found, 4), _text(view, found, 7)
        operator = kind if domain in ("", "ai.onnx") else f"{domain}.{kind}"
        attributes: dict[str, Value] = {}
        for item in found.get(5, ()):
            name, value = self._attribute(_inside(view, item))
            if name in attributes:
                raise FormatError(f"{quoted(operator)}: attribute {quoted(name)} twice")
            attributes[name] = value
        names = [tuple(_decoded(view, item) for item in found.get(n, ())) for n in (1, 2)]
        return Node(operator, _text(view, found, 3), names[0], names[1], attributes)

    def _attribute(self, view: memoryview) -> tuple[str, Value]:
        """An AttributeProto; only the field of its declared type may be filled."""
        found = self._message(view, "attribute")
        name, kind = _text(view, found, 1), found[20][0].value if 20 in found else 0
        number, is_list = _KINDS.get(kind, (0, False))
        if not number or found.keys() - {1, 13, 20, number}:
            raise FormatError(f"attribute {quoted(name)}: not of one admitted type ({kind})")
        items = found.get(number, [])
        if not (items or is_list):
            raise FormatError(f"attribute {quoted(name)}: without a value")
        if number == 5:
            return name, self._tensor(_inside(view, items[0]))[1]
        if number in (4, 9):
            texts = tuple(bytes(_inside(view, item)) for item in items)
            return name, texts if is_list else texts[0]
        self._spend(sum(item.end - item.start for item in items) // (4 if number == 7 else 1))
        values = _floats(view, items) if number in (2, 7) else _whole(view, items)
        if len(values) > _MAX_LIST:
            raise FormatError(f"attribute {quoted(name)}: more than {_MAX_LIST} values")
        return name, values if is_list else values[0]

    def _tensor(self, view: memoryview) -> tuple[str, Tensor]:
        """A TensorProto: its name, and the tensor, whose data are all in the file."""
        found = self._message(view, "tensor")
        name = _text(view, found, 8)
        title = f"tensor {quoted(name)}"
        if 14 in found and found[14][0].value:
            raise FormatError(_REASONS["tensor", 13])
        dims = bounded(title, _whole(view, found.get(1, [])), least=0)
        held = [number for number in DATA_FIELDS if number in found]
        if len(held) > 1:
            raise FormatError(f"{title}: data in more than one field")
        field = held[0] if held else None
        data = _inside(view, found[field][0]) if field else view[:0]
        self._spend(min(len(data), MAX_KNOWN))
        return name, constant(title, dims, _element(title, found, 2), field, data)


def _inside(view: memoryview, item: Field) -> memoryview:
    return view[item.start : item.end]


def _decoded(view: memoryview, item: Field) -> str:
    try:
        return str(_inside(view, item), "utf-8")
    except UnicodeDecodeError:
        raise FormatError("damaged: a name that is not UTF-8") from None


def _text(view: memoryview, found: dict[int, list[Field]], number: int) -> str:
    return _decoded(view, found[number][0]) if number in found else ""


def _element(title: str, found: dict[int, list[Field]], number: int = 1) -> int:
    """The element type in field `number`."""
    element = found[number][0].value if number in found else 0
    if element not in BITS:
        raise FormatError(f"{title}: element type {element} is not admitted")
    return element


def _whole(view: memoryview, items: list[Field]) -> tuple[int, ...]:
    """Whole numbers, each a field of its own or packed."""
    found: list[int] = []
    for item in items:
        found += [signed(item.value)] if item.wire == VARINT else numbers(_inside(view, item))
    return tuple(found)


def _floats(view: memoryview, items: list[Field]) -> tuple[float, ...]:
    found: list[float] = []
    for item in items:
        data = _inside(view, item)
        if len(data) % 4:
            raise FormatError("damaged: a list of floats")
        found += struct.unpack(f"<{len(data) // 4}f", data)
    return tuple(found)
