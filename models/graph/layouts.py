"""The dims that operators put out which only move, cut, join or repeat numbers.

Rules may stumble over malformed operators, as those of models/graph/shapes.py.
"""

from __future__ import annotations

from math import ceil, prod

from models.graph.messages import Value
from models.graph.step import Shapes, Step, broadcast, normal
from models.graph.tensors import Dims, Tensor
from models.protobuf import FormatError


def _whole(numbers: tuple[float, ...]) -> Dims:
    return tuple(int(number) for number in numbers)


def reshaped(step: Step) -> Shapes:
    dims, wanted = step.dims(), list(step.told("shape", 1) or ())
    if not step.integer("allowzero", 0):
        wanted = [dims[at] if side == 0 else side for at, side in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = prod(side for side in wanted if side != -1)
        wanted[wanted.index(-1)] = prod(dims) // rest
    if prod(wanted) != prod(dims) or min(wanted, default=1) < 0:
        raise FormatError(f"{list(dims)} cannot become {wanted}")
    return (tuple(wanted),)


def flattened(step: Step) -> Shapes:
    dims, axis = step.dims(), step.integer("axis", 1)
    axis = axis if axis == len(step.dims()) else normal(axis, len(dims))
    return ((prod(dims[:axis]), prod(dims[axis:])),)


def squeezed(step: Step) -> Shapes:
    dims, axes = step.dims(), step.told("axes", 1)
    gone = {normal(axis, len(dims)) for axis in axes or ()}
    if axes is None:
        gone = {at for at, side in enumerate(dims) if side == 1}
    if any(dims[at] != 1 for at in gone):
        raise FormatError(f"axes {sorted(gone)} of {list(dims)} are not all 1")
    return (tuple(side for at, side in enumerate(dims) if at not in gone),)


def unsqueezed(step: Step) -> Shapes:
    dims, axes = list(step.dims()), step.told("axes", 1) or ()
    places = sorted(normal(axis, len(dims) + len(axes)) for axis in axes)
    if len(set(places)) != len(places):
        raise FormatError(f"axes {places} twice")
    for at in places:
        dims.insert(at, 1)
    return (tuple(dims),)


def transposed(step: Step) -> Shapes:
    dims = step.dims()
    order = step.integers("perm") or tuple(reversed(range(len(dims))))
    if sorted(order) != list(range(len(dims))):
        raise FormatError(f"perm {order} of {len(dims)} dimensions")
    return (tuple(dims[at] for at in order),)


def concatenated(step: Step) -> Shapes:
    return (_stacked([step.dims(at) for at in range(len(step.given))], step.integer("axis", 1)),)


def concatenated_quantised(step: Step) -> Shapes:
    """com.microsoft.QLinearConcat: scale and zero point, then each tensor with its own two."""
    if len(step.given) % 3 != 2 or not all(step.has(at) for at in range(len(step.given))):
        raise FormatError("a tensor without its scale and zero point")  # ends ONNX Runtime 1.31
    shapes = [step.dims(at) for at in range(2, len(step.given), 3)]
    return (_stacked(shapes, step.integer("axis", 1)),)


def _stacked(shapes: list[Dims], axis: int) -> Dims:
    first = shapes[0]
    at = normal(axis, len(first))
    if any(shape[:at] + shape[at + 1 :] != first[:at] + first[at + 1 :] for shape in shapes):
        raise FormatError(f"shapes {', '.join(map(str, map(list, shapes)))} do not go together")
    return (*first[:at], sum(shape[at] for shape in shapes), *first[at + 1 :])


def split(step: Step) -> Shapes:
    dims = step.dims()
    at, parts = normal(step.integer("axis", 0), len(dims)), len(step.node.outputs)
    sizes = step.told("split", 1)
    if sizes is None:
        each = ceil(dims[at] / parts)
        sizes = (*(each for _ in range(parts - 1)), dims[at] - each * (parts - 1))
    if sum(sizes) != dims[at] or len(sizes) != parts or step.integer("num_outputs", parts) != parts:
        raise FormatError(f"a split of {dims[at]} into {list(sizes)}")
    return tuple((*dims[:at], size, *dims[at + 1 :]) for size in sizes)


def sliced(step: Step) -> Shapes:
    dims = list(step.dims())
    starts, ends = step.told("starts", 1) or (), step.told("ends", 2) or ()
    axes = step.told("axes", 3) or tuple(range(len(starts)))
    steps = _whole(step.numbers(4)) if step.has(4) else (1,) * len(starts)
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        at = normal(axis, len(dims))
        dims[at] = len(range(*slice(start, end, stride).indices(dims[at])))
    return (tuple(dims),)


def gathered(step: Step) -> Shapes:
    dims, picked = step.dims(), step.dims(1)
    at = normal(step.integer("axis", 0), len(dims))
    return ((*dims[:at], *picked, *dims[at + 1 :]),)


def told_shape(step: Step) -> Shapes:
    """Shape: one number for each dimension that is asked for."""
    return ((len(shape_values(step)),),)


def shape_values(step: Step) -> Dims:
    dims = step.dims()
    return dims[slice(step.integer("start", 0), step.integer("end", len(dims)))]


def one_number(step: Step) -> Shapes:
    step.dims()
    return ((),)


def with_scale(step: Step) -> Shapes:
    """DynamicQuantizeLinear: the numbers, their scale, their zero point."""
    return (step.dims(), (), ())


def filled(step: Step) -> Shapes:
    return (_whole(step.numbers(0)),)


def expanded(step: Step) -> Shapes:
    return (broadcast(step.dims(), _whole(step.numbers(1))),)


def tiled(step: Step) -> Shapes:
    dims, times = step.dims(), _whole(step.numbers(1))
    return (tuple(side * number for side, number in zip(dims, times, strict=True)),)


def padded(step: Step) -> Shapes:
    dims, pads = list(step.dims()), step.told("pads", 1) or step.integers("paddings") or ()
    axes = _whole(step.numbers(3)) if step.has(3) else tuple(range(len(dims)))
    if len(pads) != 2 * len(axes):
        raise FormatError(f"{len(pads)} pads for {len(axes)} axes")
    for place, axis in enumerate(axes):
        dims[normal(axis, len(dims))] += pads[place] + pads[place + len(axes)]
    return (tuple(dims),)


def depth_to_space(step: Step) -> Shapes:
    count, depth, *sides = step.dims()
    block = step.integer("blocksize", 0)
    if depth % (block * block):
        raise FormatError(f"{depth} channels in blocks of {block}")
    return ((count, depth // (block * block), *(side * block for side in sides)),)


def space_to_depth(step: Step) -> Shapes:
    count, depth, *sides = step.dims()
    block = step.integer("blocksize", 0)
    if any(side % block for side in sides):
        raise FormatError(f"{sides} pixels in blocks of {block}")
    return ((count, depth * block * block, *(side // block for side in sides)),)


def largest(step: Step) -> Shapes:
    dims = step.dims()
    at = normal(step.integer("axis", -1), len(dims))
    (wanted,) = (step.integer("k", 0),) if "k" in step.node.attributes else _whole(step.numbers(1))
    if not 1 <= wanted <= dims[at]:
        raise FormatError(f"the {wanted} largest of {dims[at]}")
    return ((*dims[:at], wanted, *dims[at + 1 :]),)


def ranged(step: Step) -> Shapes:
    start, limit, stride = (step.numbers(place)[0] for place in range(3))
    return ((max(ceil((limit - start) / stride), 0),),)


def one_hot(step: Step) -> Shapes:
    dims, (depth,) = step.dims(), _whole(step.numbers(1))
    at = normal(step.integer("axis", -1), len(dims) + 1)
    return ((*dims[:at], depth, *dims[at:]),)


def given_constant(step: Step) -> Shapes:
    return (constant_of(step.node.attributes).dims,)


def constant_of(attributes: dict[str, Value]) -> Tensor:
    """What a Constant operator holds, in whichever of its attributes."""
    ((name, value),) = attributes.items()
    match name, value:
        case "value", Tensor():
            return value
        case "value_int", int():
            return Tensor((), 7, (value,), True)
        case "value_float", float():
            return Tensor((), 1, (value,), True)
        case (("value_ints" | "value_floats"), tuple()):
            numbers = tuple(number for number in value if not isinstance(number, bytes))
            return Tensor((len(value),), 7 if name == "value_ints" else 1, numbers, True)
        case _:
            raise FormatError(f"attribute {name} is not admitted")
