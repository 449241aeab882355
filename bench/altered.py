"""Models that somebody has been at: fields doubled, dropped, resized, renamed, nested, cut short.

A model is taken apart into its protobuf fields, altered, and written again with lengths that fit
(or lie); so most of what comes out gets past the first look and has to be weighed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator

import msgspec

from models import package
from models.graph.admitted import ADMITTED
from models.protobuf import BYTES, FIXED32, FIXED64, VARINT, entry, fields, varint

_SEEDS = ("synthetic-part.onnx", "twins/synthetic-part-fp32.onnx", "deeppcb.onnx")

# Messages within messages: kind -> field number -> kind.
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "entry"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "dimension"},
}
_NUMBERS = (0, 1, 2, 3, 4, 7, 64, 4095, 4097, 1 << 16, 1 << 28, (1 << 31) - 1, 1 << 31, 1 << 32,
            1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
_FOREIGN = (b"Loop", b"If", b"Scan", b"RandomNormal", b"EyeLike", b"Einsum", b"SequenceAt",
            b"Optional", b"NonMaxSuppression", b"Custom", b"", b"Conv\n", b"\xff")  # fmt: skip


class Part:
    """A field that can be altered: its number, its wire type, and a number, bytes or parts."""

    __slots__ = ("held", "kind", "lie", "number", "wire")

    def __init__(self, number: int, wire: int, held: int | bytes | list[Part], kind: str) -> None:
        self.number, self.wire, self.held, self.kind = number, wire, held, kind
        self.lie = 0  # added to the length that is told

    def copied(self) -> Part:
        held = self.held
        inner = [part.copied() for part in held] if isinstance(held, list) else held
        return Part(self.number, self.wire, inner, self.kind)

    def written(self) -> bytes:
        tag = varint(self.number << 3 | self.wire)
        if isinstance(self.held, int):
            return tag + varint(self.held)
        body = self.held if isinstance(self.held, bytes) else written(self.held)
        return tag + (varint(max(len(body) + self.lie, 0)) if self.wire == BYTES else b"") + body


def written(parts: list[Part]) -> bytes:
    return b"".join(part.written() for part in parts)


def parsed(view: memoryview, kind: str = "model") -> list[Part]:
    """A model as parts, as deep as its messages are known."""
    found = []
    for item in fields(view):
        inner = _INNER.get(kind, {}).get(item.number, "")
        data = view[item.start : item.end]
        held: int | bytes | list[Part] = item.value if item.wire == VARINT else bytes(data)
        found.append(Part(item.number, item.wire, parsed(data, inner) if inner else held, inner))
    return found


def _lists(parts: list[Part]) -> Iterator[list[Part]]:
    """Every list of parts in a model, itself first."""
    yield parts
    for part in parts:
        if isinstance(part.held, list):
            yield from _lists(part.held)


def _any(dice: random.Random, parts: list[Part]) -> tuple[list[Part], int]:
    """A part somewhere in the model: the list it is in and its place there."""
    siblings = dice.choice([found for found in _lists(parts) if found])
    return siblings, dice.randrange(len(siblings))


def _of_kind(parts: list[Part], kind: str) -> list[list[Part]]:
    """The contents of all messages of one kind."""
    found = [part for siblings in _lists(parts) for part in siblings if part.kind == kind]
    return [part.held for part in found if isinstance(part.held, list)]


def _double(dice: random.Random, parts: list[Part]) -> None:
    siblings, at = _any(dice, parts)
    for _ in range(dice.choice((1, 1, 2, 500))):
        siblings.insert(at, siblings[at].copied())


def _drop(dice: random.Random, parts: list[Part]) -> None:
    siblings, at = _any(dice, parts)
    del siblings[at]


def _swap(dice: random.Random, parts: list[Part]) -> None:
    siblings, at = _any(dice, parts)
    other = dice.randrange(len(siblings))
    siblings[at], siblings[other] = siblings[other], siblings[at]


def _resize(dice: random.Random, parts: list[Part]) -> None:
    """Another number: a dimension, an element type, a stride, a pad, a version."""
    numbers = [p for siblings in _lists(parts) for p in siblings if isinstance(p.held, int)]
    dice.choice(numbers or [parts[0]]).held = dice.choice(_NUMBERS)


def _rename(dice: random.Random, parts: list[Part]) -> None:
    """Another operator, mostly one that is admitted."""
    nodes = _of_kind(parts, "node")
    if not nodes:
        return
    wanted = dice.choice(sorted(ADMITTED)) if dice.randrange(5) else ""
    node = dice.choice(nodes)
    domain, _, name = wanted.rpartition(".")
    for part in node:
        if part.number == 4:
            part.held = name.encode() or dice.choice(_FOREIGN)
    if domain or not dice.randrange(10):
        node.append(Part(7, BYTES, domain.encode() or b"evil", ""))


def _rewire(dice: random.Random, parts: list[Part]) -> None:
    """Another tensor into an operator, or one more, or one out."""
    nodes = _of_kind(parts, "node")
    names = [part for node in nodes for part in node if part.number in (1, 2)]
    if not names:
        return
    name, other = dice.choice(names), dice.choice(names)
    if dice.randrange(3):
        name.held = other.held
    else:
        dice.choice(nodes).insert(0, Part(dice.choice((1, 2)), BYTES, other.held, ""))


def _omit(dice: random.Random, parts: list[Part]) -> None:
    """An operator with an input left out, or ended before it, or without an attribute."""
    nodes = _of_kind(parts, "node")
    held = [(node, part) for node in nodes for part in node if part.number in (1, 5)]
    if not held:
        return
    node, part = dice.choice(held)
    if part.number == 1 and dice.randrange(2):
        part.held = b""
    else:
        node.remove(part)


def _lie(dice: random.Random, parts: list[Part]) -> None:
    siblings, at = _any(dice, parts)
    siblings[at].lie = dice.choice((-100, -2, -1, 1, 2, 100, 1 << 20, 1 << 31, 1 << 40))


def _nest(dice: random.Random, parts: list[Part]) -> None:
    """A graph inside an operator, and in that another, some hundred deep."""
    nodes = _of_kind(parts, "node")
    graph = b""
    for _ in range(dice.choice((1, 3, 200))):
        attribute = Part(6, BYTES, graph, "").written()
        graph = Part(1, BYTES, Part(5, BYTES, attribute, "").written(), "").written()
    held = [Part(1, BYTES, b"body", ""), Part(20, VARINT, 5, ""), Part(6, BYTES, graph, "")]
    if nodes:
        dice.choice(nodes).append(Part(5, BYTES, held, "attribute"))


def _stuff(dice: random.Random, parts: list[Part]) -> None:
    """A field that is unknown, packed, or of another wire type."""
    siblings, _ = _any(dice, parts)
    number = dice.choice((1, 2, 3, 5, 7, 8, 9, 13, 14, 15, 20, 25, 999))
    wire = dice.choice((VARINT, BYTES, FIXED32, FIXED64))
    size = {FIXED32: 4, FIXED64: 8}.get(wire, dice.randrange(40))
    siblings.append(Part(number, wire, 5 if wire == VARINT else dice.randbytes(size), ""))


_ALTER: tuple[Callable[[random.Random, list[Part]], None], ...] = (
    _double, _drop, _swap, _resize, _resize, _resize, _rename, _rename, _rewire, _rewire, _lie,
    _nest, _omit, _stuff,
)  # fmt: skip


def _scratched(dice: random.Random, model: bytes) -> bytes:
    """Bits turned near an end, where the structure is dense, or anywhere; or a piece cut off."""
    data = bytearray(model)
    for _ in range(dice.choice((1, 1, 2, 8))):
        reach = dice.choice((400, 4000, len(data)))
        place = dice.randrange(min(reach, len(data)))
        data[place if dice.randrange(2) else -1 - place] ^= 1 << dice.randrange(8)
    return bytes(data[: dice.randrange(len(data))]) if not dice.randrange(4) else bytes(data)


def altered(dice: random.Random, seeds: list[tuple[list[Part], bytes]]) -> bytes:
    """A package's bytes, its seal as good as any, of a model altered once to three times."""
    parts, manifest = dice.choice(seeds)
    if dice.randrange(5):
        parts = [part.copied() for part in parts]
        for _ in range(dice.choice((1, 1, 2, 3))):
            dice.choice(_ALTER)(dice, parts)
        model = written(parts)
    else:
        model = _scratched(dice, written(parts))
    body = model + manifest
    return body + entry(14, package.SEAL_KEY, hashlib.sha256(body).hexdigest())


def seeds() -> list[tuple[list[Part], bytes]]:
    """Models of the zoo, as parts, each with its manifest's entry."""
    found = []
    for name in _SEEDS:
        loaded = package.load(package.ZOO / name)
        model = package.unsealed(loaded.model_bytes())
        manifest = msgspec.json.encode(loaded.manifest).decode()
        held = entry(14, package.MANIFEST_KEY, manifest)
        found.append((parsed(memoryview(model)), held))
    return found
