"""The numbers of short tensors that follow from constants, worked out as ONNX Runtime would.

Exporters write the target of a Reshape as Shape, Gather, Mul, Concat; with these few operators
such a graph still says before a run how large everything gets.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.graph.layouts import constant_of, shape_values
from models.graph.step import Step
from models.graph.tensors import INT32, INT64, KNOWN, MAX_KNOWN, Tensor

Array = NDArray[Any]
Values = tuple[float, ...]

_SAME = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))


def followed(step: Step) -> Values | None:
    """The numbers of an operator's first output, where they are known and few."""
    operator, attributes = step.node.operator, step.node.attributes
    if operator == "Shape":
        return shape_values(step)
    if operator == "Size":
        return (prod(step.dims()),)
    if operator == "Constant":
        return constant_of(attributes).values
    if operator == "ConstantOfShape":
        value, count = attributes.get("value"), prod(int(side) for side in step.numbers(0))
        each = value.values if isinstance(value, Tensor) else (0.0,)
        return each * count if each and 0 <= count <= MAX_KNOWN else None
    if operator in _SAME:
        return step.tensor(0).values
    if operator == "Cast":
        return _cast(step)
    return _computed(step) if operator in _COMPUTED else None


def _cast(step: Step) -> Values | None:
    values, wanted = step.tensor(0).values, step.integer("to", 0)
    if values is None or wanted not in KNOWN:
        return None
    # Beyond 32 bits the outcome is the processor's; nobody means such a size.
    if wanted in (INT32, INT64):
        return tuple(map(int, values)) if all(abs(n) < 2**31 for n in values) else None
    return tuple(map(float, values))


def _computed(step: Step) -> Values | None:
    tensors = [tensor for tensor in step.given if tensor is not None]
    if any(tensor.values is None or tensor.element not in KNOWN for tensor in tensors):
        return None
    arrays = [np.array(t.values, KNOWN[t.element]).reshape(t.dims) for t in tensors]
    with np.errstate(all="ignore"):
        found = _COMPUTED[step.node.operator](step, arrays)
    return tuple(found.ravel().tolist()) if found.size <= MAX_KNOWN else None


def _sliced(step: Step, of: list[Array]) -> Array:
    whole, starts, ends = of[0], step.told("starts", 1) or (), step.told("ends", 2) or ()
    axes = step.told("axes", 3) or range(len(starts))
    steps = step.told("steps", 4) or [1] * len(starts)
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        places = range(*slice(start, end, stride).indices(whole.shape[axis]))
        whole = np.take(whole, list(places), axis)
    return whole


def _divided(step: Step, of: list[Array]) -> Array:
    """Whole numbers are cut towards zero; their divisors are known to be above it."""
    quotient = np.trunc(of[0] / of[1])
    return of[0] / of[1] if of[0].dtype.kind == "f" else quotient.astype(of[0].dtype)


_COMPUTED: dict[str, Callable[[Step, list[Array]], Array]] = {
    "Add": lambda step, of: np.asarray(of[0] + of[1]),
    "Concat": lambda step, of: np.concatenate(of, step.integer("axis", 1)),
    "Div": _divided,
    "Gather": lambda step, of: np.asarray(np.take(of[0], of[1], step.integer("axis", 0))),
    "Mul": lambda step, of: np.asarray(of[0] * of[1]),
    "Slice": _sliced,
    "Sub": lambda step, of: np.asarray(of[0] - of[1]),
}
