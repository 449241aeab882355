"""The dims that networks' own operators put out: convolutions, pools, products, recurrences.

Rules may stumble over malformed operators with any ArithmeticError, LookupError, TypeError or
ValueError; their caller (models/graph/operators.py) says so in one line.
"""

from __future__ import annotations

from math import floor
from typing import cast

import msgspec

from models.graph.step import Rule, Shapes, Step, broadcast, normal
from models.graph.tensors import Dims
from models.protobuf import FormatError

_MOST_STEP = 4096  # pixels of a kernel, stride, dilation or pad


def same(step: Step) -> Shapes:
    return (step.dims(),)


def of_input(place: int) -> Rule:
    """The dims of input `place`, whatever the others are."""
    return lambda step: (step.dims(place),)


def joined(*places: int) -> Rule:
    """Broadcast: of the inputs named, or of all."""

    def rule(step: Step) -> Shapes:
        # None may be left out: ONNX Runtime 1.31 dies of a Sum with a gap.
        each = places or range(len(step.given))
        return (broadcast(*(step.dims(place) for place in each)),)

    return rule


class _Window(msgspec.Struct, frozen=True):
    """How a kernel goes over the picture."""

    kernel: Dims
    strides: Dims
    dilations: Dims
    pads: Dims
    auto: str

    def spread(self, at: int) -> int:
        """The pixels from a kernel's first to its last."""
        return (self.kernel[at] - 1) * self.dilations[at] + 1


def window(step: Step, kernel: Dims) -> _Window:
    """A window's attributes, whole and in bounds."""
    rank = len(kernel)
    strides, dilations = (step.integers(n) or (1,) * rank for n in ("strides", "dilations"))
    pads = step.integers("pads") or (0,) * (2 * rank)
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or not rank:
        raise FormatError("kernel, strides, dilations and pads are not of one picture")
    steps = (*kernel, *strides, *dilations)
    if min(*steps, min(pads) + 1) < 1 or max(*steps, *pads) > _MOST_STEP:
        raise FormatError(f"a kernel, stride, dilation or pad beyond 1 (0) to {_MOST_STEP}")
    return _Window(kernel, strides, dilations, pads, step.word("auto_pad", "NOTSET"))


def _windowed(dims: Dims, over: _Window, *, up: bool = False) -> Dims:
    """The places that a window takes over a picture's spatial dims; up: the last may stick out."""
    sides = []
    for at, side in enumerate(dims):
        stride = over.strides[at]
        if over.auto in ("SAME_UPPER", "SAME_LOWER"):
            sides.append(-(-side // stride))
            continue
        before = 0 if over.auto == "VALID" else over.pads[at]
        after = 0 if over.auto == "VALID" else over.pads[at + len(dims)]
        room = side + before + after - over.spread(at)
        if room < 0:
            raise FormatError(f"a kernel of {over.spread(at)} on {side} pixels")
        places = (-(-room // stride) if up else room // stride) + 1
        sides.append(places - 1 if up and (places - 1) * stride >= side + before else places)
    return tuple(sides)


def convolved(picture: int, weight: int) -> Rule:
    """A convolution of input `picture` (N, C, ...) with input `weight` (M, C / groups, ...)."""

    def rule(step: Step) -> Shapes:
        dims, kernel = step.dims(picture), step.dims(weight)
        over, groups = window(step, kernel[2:]), step.integer("group", 1)
        _check_kernel(step, kernel[2:])
        if len(dims) != len(kernel) or dims[1] != kernel[1] * groups or kernel[0] % groups:
            raise FormatError(f"weights {list(kernel)} in {groups} groups on {list(dims)}")
        return ((dims[0], kernel[0], *_windowed(dims[2:], over)),)

    return rule


def transposed_convolution(step: Step) -> Shapes:
    dims, kernel = step.dims(), step.dims(1)
    over, groups = window(step, kernel[2:]), step.integer("group", 1)
    _check_kernel(step, kernel[2:])
    if len(dims) != len(kernel) or groups < 1 or dims[1] != kernel[0] or dims[1] % groups:
        raise FormatError(f"weights {list(kernel)} in {groups} groups on {list(dims)}")
    more = step.integers("output_padding") or (0,) * len(over.kernel)
    sides = step.integers("output_shape")
    if sides is None:
        sides = tuple(
            side * over.strides[at]
            if over.auto.startswith("SAME")
            else over.strides[at] * (side - 1) + more[at] + over.spread(at)
            - sum(over.pads[at :: len(over.kernel)])
            for at, side in enumerate(dims[2:])
        )  # fmt: skip
    if any(not 0 <= extra <= _MOST_STEP for extra in more) or len(sides) != len(over.kernel):
        raise FormatError("output_padding or output_shape")
    return ((dims[0], kernel[1] * groups, *sides),)


def _check_kernel(step: Step, kernel: Dims) -> None:
    if step.integers("kernel_shape") not in (None, kernel):
        raise FormatError(f"kernel_shape is not that of the weights, {list(kernel)}")


def pooled(step: Step) -> Shapes:
    dims, kernel = step.dims(), step.integers("kernel_shape") or ()
    over = window(step, kernel)
    if len(dims) != len(kernel) + 2:
        raise FormatError(f"a kernel {list(kernel)} on {list(dims)}")
    if step.integer("channels_last", 0):  # of com.microsoft
        return ((dims[0], *_windowed(dims[1:-1], over), dims[-1]),)
    return ((*dims[:2], *_windowed(dims[2:], over, up=bool(step.integer("ceil_mode", 0)))),)


def pooled_whole(step: Step) -> Shapes:
    dims = step.dims()
    if step.integer("channels_last", 0):
        return ((dims[0], *(1 for _ in dims[1:-1]), dims[-1]),)
    return ((*dims[:2], *(1 for _ in dims[2:])),)


def reduced(step: Step) -> Shapes:
    dims, axes = step.dims(), step.told("axes", 1)
    if not axes and step.integer("noop_with_empty_axes", 0):
        return (dims,)
    gone = {normal(axis, len(dims)) for axis in axes or range(len(dims))}
    return (_without(dims, gone, step.integer("keepdims", 1)),)


def best(step: Step) -> Shapes:
    dims = step.dims()
    gone = {normal(step.integer("axis", 0), len(dims))}
    return (_without(dims, gone, step.integer("keepdims", 1)),)


def _without(dims: Dims, gone: set[int], keep: int) -> Dims:
    if keep:
        return tuple(1 if at in gone else side for at, side in enumerate(dims))
    return tuple(side for at, side in enumerate(dims) if at not in gone)


def multiplied(left: int, right: int) -> Rule:
    """A matrix product as NumPy's."""

    def rule(step: Step) -> Shapes:
        a, b = step.dims(left), step.dims(right)
        a = (*a[:-2], a[-1], a[-2]) if step.integer("transA", 0) else a
        b = (*b[:-2], b[-1], b[-2]) if step.integer("transB", 0) else b
        if step.integer("transBatchA", 0) or step.integer("transBatchB", 0):
            raise FormatError("transBatchA and transBatchB are not admitted")
        if a[-1] != b[-2 if len(b) > 1 else 0]:
            raise FormatError(f"matrices {list(a)} and {list(b)} do not go together")
        sides = (*a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
        return ((*broadcast(a[:-2], b[:-2]), *sides),)

    return rule


def general_product(left: int, right: int) -> Rule:
    """Gemm: two matrices, each perhaps transposed."""

    def rule(step: Step) -> Shapes:
        (rows, inner), (depth, columns) = step.dims(left), step.dims(right)
        if step.integer("transA", 0):
            rows, inner = inner, rows
        if step.integer("transB", 0):
            depth, columns = columns, depth
        if inner != depth:
            raise FormatError(f"matrices with {inner} columns and {depth} rows")
        return ((rows, columns),)

    return rule


def recurrent(gates: int) -> Rule:
    """RNN, GRU or LSTM: all steps, the last one, and the LSTM's last cell."""

    def rule(step: Step) -> Shapes:
        if step.integer("layout", 0):
            raise FormatError("layout 1 is not admitted")
        (steps, batch, _), (directions, rows, _) = step.dims(), step.dims(1)
        hidden = rows // gates
        if hidden != step.integer("hidden_size", hidden) or rows % gates:
            raise FormatError(f"hidden_size is not that of the weights, {hidden}")
        last = (directions, batch, hidden)
        return ((steps, directions, batch, hidden), last, last)

    return rule


def normalised(step: Step) -> Shapes:
    """Layer normalisation: the picture, and perhaps the means and spreads taken."""
    dims = step.dims()
    axis = normal(step.integer("axis", -1), len(dims))
    taken = (*dims[:axis], *(1 for _ in dims[axis:]))
    return (dims, taken, taken)


def resized(step: Step) -> Shapes:
    dims = step.dims()
    if step.word("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise FormatError("tf_crop_and_resize is not admitted")
    if step.word("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise FormatError("keep_aspect_ratio_policy: stretch is admitted")
    axes = step.integers("axes") or tuple(range(len(dims)))
    sizes = list(dims)
    scales_at = 1 if len(step.given) == 2 else 2
    if "scales" in step.node.attributes:  # Upsample before operator set 9
        scales: tuple[float, ...] = cast("tuple[float, ...]", step.node.attributes["scales"])
    else:
        known = step.has(scales_at) and step.tensor(scales_at).count > 0
        scales = step.numbers(scales_at) if known else ()
    told = scales or step.numbers(3)
    if len(told) != len(axes):
        raise FormatError(f"{len(told)} sizes or scales for {len(axes)} axes")
    for axis, number in zip(axes, told, strict=True):
        at = normal(axis, len(dims))
        sizes[at] = floor(dims[at] * number) if scales else int(number)
    return (tuple(sizes),)
