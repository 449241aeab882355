"""Arrays come back bit by bit, and bytes that are no such array are refused unread."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.lossless import LosslessError, packed, unpacked

SHAPES = [(1, 1), (7, 5), (64, 48), (9, 4, 3), (16, 2)]
GRAY = np.arange(35, dtype=np.uint8).reshape(7, 5)
WHOLE = packed(GRAY)
HOSTILE = {
    "an unknown filter": (b"", b"\x03" + WHOLE[1:], b"\x07" + WHOLE[1:], b"\xff" + WHOLE[1:]),
    "not a zlib stream": (b"\x00garbage", WHOLE[:1] + b"\x00" + WHOLE[1:]),
    "not the 35 bytes": (
        WHOLE[:1],
        WHOLE[:-3],  # cut short
        WHOLE + b"more",
        WHOLE + WHOLE[1:],  # a second stream behind the first
        b"\x00" + zlib.compress(bytes(34)),
        b"\x00" + zlib.compress(bytes(36)),
        b"\x00" + zlib.compress(bytes(200 * 2**20)),  # a bomb of 200 MiB in 200 kB
    ),
    "without a picture to differ from": (packed(GRAY, GRAY),),
}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SHAPES), st.sampled_from(["uint8", "float32"]), st.integers(0, 99))
def test_an_array_comes_back_bit_by_bit(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    key = rng.normal(128, 40, shape).astype(dtype)
    array = key.copy()
    array.reshape(-1)[:: 1 + seed] += np.asarray(3, dtype)
    for other in (None, key):
        back = unpacked(packed(array, other), shape, dtype, other)
        assert back.dtype == array.dtype
        assert back.tobytes() == array.tobytes()


def test_what_differs_little_costs_little():
    key = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    array = key.copy()
    array[100:110, 100:110] = 0
    assert len(packed(array)) > 60_000
    assert len(packed(array, key)) < 400


@pytest.mark.parametrize("reason", HOSTILE)
def test_other_bytes_are_refused(reason):
    for data in HOSTILE[reason]:
        with pytest.raises(LosslessError, match=reason):
            unpacked(data, GRAY.shape, "uint8")


def test_a_bomb_is_not_inflated():
    bomb = b"\x00" + zlib.compress(bytes(200 * 2**20))
    tracemalloc.start()
    with pytest.raises(LosslessError):
        unpacked(bomb, (64, 64), "uint8")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
