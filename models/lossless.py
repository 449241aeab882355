"""Arrays without loss and without an image library: a row filter, then zlib.

The same bytes on every machine, decoded by NumPy alone, so that a golden picture is the same
picture wherever it is judged. A picture may be stored as the difference from another one (its
key): one that differs in a few hundred pixels then costs a few hundred bytes, noise included.

    [ filter, 1 byte ][ zlib stream of exactly the array's bytes ]
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Bits of the first byte: which neighbour a byte is the difference from, and whether the array
# is the difference from its key before that.
_PLAIN, _LEFT, _UP, _KEYED = 0, 1, 2, 4
_CODES = (_PLAIN, _LEFT, _UP, _KEYED, _KEYED | _LEFT, _KEYED | _UP)


class LosslessError(Exception):
    """Bytes that are no array of the wanted shape; the message is the reason."""


def packed(array: Array, key: Array | None = None) -> bytes:
    """An array as bytes; where a key of the same shape and type is given, as what differs.

    The filter that gives the fewest bytes is taken; the first of equals.
    """
    cells = _cells(array)
    base = 0
    if key is not None:
        cells, base = cells - _cells(key), _KEYED
    left, up = cells.copy(), cells.copy()
    left[:, 1:] -= cells[:, :-1]
    up[1:] -= cells[:-1]
    made = [
        bytes([base | code]) + zlib.compress(filtered.tobytes(), 9)
        for code, filtered in ((_PLAIN, cells), (_LEFT, left), (_UP, up))
    ]
    return min(made, key=len)


def unpacked(data: bytes, shape: tuple[int, ...], dtype: str, key: Array | None = None) -> Array:
    """The array again; LosslessError if the bytes are not exactly one of this shape and type.

    Never more than the array's own size is inflated, whatever the stream would become.
    """
    code = data[0] if data else -1
    if code not in _CODES:
        raise LosslessError("an unknown filter")
    if code & _KEYED and key is None:
        raise LosslessError("a difference without a picture to differ from")
    out = np.zeros(shape, dtype)
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(memoryview(data)[1:], out.nbytes + 1)
    except zlib.error:
        raise LosslessError("not a zlib stream") from None
    if len(raw) != out.nbytes or not inflater.eof or inflater.unused_data:
        raise LosslessError(f"not the {out.nbytes} bytes of {dtype} {shape}")
    cells = _cells(out)
    cells[:] = np.frombuffer(raw, np.uint8).reshape(cells.shape)
    if code & (_LEFT | _UP):
        np.cumsum(cells, axis=1 if code & _LEFT else 0, dtype=np.uint8, out=cells)
    if code & _KEYED and key is not None:
        cells += _cells(key)
    return out


def _cells(array: Array) -> npt.NDArray[np.uint8]:
    """An array's bytes as (rows, columns, bytes of one cell), in place."""
    rows, columns = array.shape[0], array.shape[1] if array.ndim > 1 else 1
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat.reshape(rows, columns, -1)
