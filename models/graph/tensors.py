"""What is known of a tensor before anything runs, and whether its bytes are all in the file."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import msgspec
import numpy as np

from models.protobuf import FormatError, numbers

Dims = tuple[int, ...]

MAX_ELEMENTS = 2**28  # of one tensor: 1 GiB of float32
MAX_RANK = 8
MAX_KNOWN = 64  # a constant up to so long can be a shape, so its numbers are read

FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9
# TensorProto.DataType -> bits. Text, complex numbers and 8-bit floats are not admitted.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16,
    21: 4, 22: 4,
}  # fmt: skip
FLOATS = frozenset((FLOAT, 10, 11, 16))
# The types whose numbers are read and worked on, as ONNX Runtime would.
KNOWN = {FLOAT: "<f4", INT32: "<i4", INT64: "<i8"}

RAW = 9
# TensorProto's field -> element types it may hold.
_TYPED = {
    4: frozenset((FLOAT,)),
    5: frozenset((2, 3, 4, 5, 6, 9, 10, 16)),
    7: frozenset((INT64,)),
    10: frozenset((11,)),
    11: frozenset((12, 13)),
}
DATA_FIELDS = (*_TYPED, RAW)
_FIXED_BYTES = {4: 4, 10: 8}


class Tensor(msgspec.Struct, frozen=True):
    """Dims, ONNX element type, and the numbers of a short constant.

    constant: it depends on nothing but initialisers, so it may be computed while loading.
    """

    dims: Dims
    element: int
    values: tuple[float, ...] | None = None
    constant: bool = False

    @property
    def count(self) -> int:
        return math.prod(self.dims)


def bounded(title: str, dims: Sequence[int], *, least: int) -> Dims:
    """The dims as they are; FormatError for a negative, missing or absurd size."""
    if len(dims) > MAX_RANK:
        raise FormatError(f"{title}: {len(dims)} dimensions, at most {MAX_RANK} are admitted")
    count = 1
    for side in dims:
        if side < least:
            raise FormatError(f"{title}: a dimension of {side} or unknown")
        count *= max(side, 1)  # a 0 hides nothing: the others stay bounded
    if count > MAX_ELEMENTS:
        raise FormatError(f"{title}: more than {MAX_ELEMENTS} elements")
    return tuple(dims)


def constant(title: str, dims: Dims, element: int, field: int | None, data: memoryview) -> Tensor:
    """The tensor of an initialiser whose data, `field` of its TensorProto, are whole.

    FormatError where the file holds more or less than dims and element type say.
    """
    count = math.prod(dims)
    if field is None or field == RAW:
        stored, wanted, unit = len(data), (count * BITS[element] + 7) // 8, "bytes"
    else:
        if element not in _TYPED[field]:
            raise FormatError(f"{title}: element type {element} in field {field}")
        if field in _FIXED_BYTES:
            stored, wanted, unit = len(data), count * _FIXED_BYTES[field], "bytes"
        else:
            stored, wanted, unit = _varints(title, data), count, "numbers"
    if stored != wanted:
        raise FormatError(f"{title}: {stored} {unit} of data where {list(dims)} needs {wanted}")
    return Tensor(dims, element, _values(element, count, field, data), True)


def _varints(title: str, data: memoryview) -> int:
    """How many varints there are, without a loop over each."""
    ends = np.frombuffer(data, np.uint8) < 128
    if len(ends) and not ends[-1]:
        raise FormatError(f"{title}: truncated numbers")
    return int(np.count_nonzero(ends))


def _values(
    element: int, count: int, field: int | None, data: memoryview
) -> tuple[float, ...] | None:
    code = KNOWN.get(element)
    if code is None or count > MAX_KNOWN:
        return None
    if field in (None, RAW) or field in _FIXED_BYTES:
        return struct.unpack(f"<{count}{ {'<f4': 'f', '<i4': 'i', '<i8': 'q'}[code] }", data)
    found = tuple(numbers(data))
    # ONNX Runtime keeps the lower half of a number too long for its type; nobody means that.
    return None if element == INT32 and any(abs(n) >> 31 for n in found) else found
