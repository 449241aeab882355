"""One operator with what is known of its inputs, as the rules of shapes and layouts see it.

A size that comes from data must be known, that is, follow from constants: what cannot be told
before a run is refused with a FormatError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import cast

import msgspec

from models.graph.messages import Node
from models.graph.tensors import Dims, Tensor
from models.protobuf import FormatError

Shapes = tuple[Dims, ...]


class Step(msgspec.Struct, frozen=True):
    """An operator and what is known of its inputs, None for one that is left out."""

    node: Node
    given: tuple[Tensor | None, ...]

    def tensor(self, place: int) -> Tensor:
        """Input `place`, which must be there."""
        tensor = self.given[place] if place < len(self.given) else None
        if tensor is None:
            raise FormatError(f"input {place} is missing")
        return tensor

    def dims(self, place: int = 0) -> Dims:
        return self.tensor(place).dims

    def has(self, place: int) -> bool:
        return place < len(self.given) and self.given[place] is not None

    def integer(self, name: str, default: int) -> int:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise FormatError(f"attribute {name} is not a whole number")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        value = self.node.attributes.get(name)
        return None if value is None else tuple(int(side) for side in cast("Sequence[int]", value))

    def word(self, name: str, default: str) -> str:
        value = self.node.attributes.get(name, default.encode())
        return cast("bytes", value).decode("ascii")

    def numbers(self, place: int) -> tuple[float, ...]:
        """The numbers of an input that decides on sizes: a constant, or what follows from one."""
        values = self.tensor(place).values
        if values is None:
            raise FormatError(f"input {place} decides on a size and is not a short constant")
        return values

    def told(self, name: str, place: int) -> tuple[int, ...] | None:
        """Whole numbers from an attribute, in newer operator sets an input; None for neither."""
        if name in self.node.attributes or not self.has(place):
            return self.integers(name)
        return tuple(int(number) for number in self.numbers(place))


# The dims of an operator's outputs; one tuple stands for all of them.
Rule = Callable[[Step], Shapes]


def broadcast(*shapes: Dims) -> Dims:
    """The dims that all shapes stretch to."""
    sides = []
    for column in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        found = {side for side in column if side != 1}
        if len(found) > 1:
            raise FormatError(
                f"shapes {', '.join(str(list(s)) for s in shapes)} do not go together"
            )
        sides.append(found.pop() if found else 1)
    return tuple(reversed(sides))


def normal(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise FormatError(f"axis {axis} of {rank} dimensions")
    return axis % rank
