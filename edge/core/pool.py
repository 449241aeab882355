"""FramePool: a memfd of slots that the camera fills and the engine reads in place.

A slot holds one part's views, each 64-byte aligned. Who still needs a slot is a set of
holders in the shared memory; a slot is free when nobody holds it. Each lease bumps the
slot's generation, so that an answer about an earlier lease is recognised and dropped.

Threads: `lease` may run in the grabber thread; everything else runs in the loop's. A leased
slot left the free queue first, so the two never write the same header (no lock needed).
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from contextlib import suppress
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.core.types import ViewSpec

ALIGN = 64  # cache line, and the widest vector load of today's CPUs
_GENERATION, _PART, _HOLDERS, _WORDS = 0, 1, 2, 3  # 64-bit words of a slot's header

View = npt.NDArray[Any]


class Holder(IntFlag):
    """Who keeps a slot from being leased again."""

    PART = 1  # the camera while it fills, then the loop until the part is decided
    ENGINE = 2  # a live worker may still read it
    QUARANTINE = 4  # a killed worker may still read it, until it is reaped


class FramePool:
    """Slots of shared memory for parts' views; created by the station, attached by workers."""

    def __init__(self, fd: int, views: tuple[ViewSpec, ...], slots: int) -> None:
        """Map an existing memfd; use `create` in the station. Takes ownership of fd."""
        self.fd, self.views, self.slots = fd, views, slots
        self._offsets, self._stride = _layout(views)
        size = _header_bytes(slots) + slots * self._stride
        self._map = mmap.mmap(fd, size)
        # A memoryview of words: reading one takes 46 ns, a field of a NumPy record 142.
        self._header = memoryview(self._map)[: slots * _WORDS * 8].cast("Q")
        self._arrays = [self._slot_arrays(slot) for slot in range(slots)]
        self._free: deque[int] = deque(range(slots))

    @classmethod
    def create(cls, views: tuple[ViewSpec, ...], slots: int) -> FramePool:
        """Allocate and pre-fault a pool; nothing is left to unlink after a crash."""
        fd = os.memfd_create("edge-pool", os.MFD_CLOEXEC)
        os.ftruncate(fd, _header_bytes(slots) + slots * _layout(views)[1])
        pool = cls(fd, views, slots)
        for arrays in pool._arrays:  # touch every page now, not under the first part
            for array in arrays.values():
                array.fill(0)
        return pool

    def _slot_arrays(self, slot: int) -> dict[str, View]:
        base = _header_bytes(self.slots) + slot * self._stride
        arrays: dict[str, View] = {}
        for view, offset in zip(self.views, self._offsets, strict=True):
            count = int(np.prod(view.shape))
            flat = np.frombuffer(self._map, dtype=view.dtype, count=count, offset=base + offset)
            arrays[view.name] = flat.reshape(view.shape)
        return arrays

    def arrays(self, slot: int) -> dict[str, View]:
        """The slot's views by name, writable, in place."""
        return self._arrays[slot]

    def lease(self, part: int) -> tuple[int, int] | None:
        """Take a free slot for a part: (slot, generation), or None when every slot is held."""
        try:
            slot = self._free.popleft()
        except IndexError:
            return None
        word = slot * _WORDS
        generation = self._header[word + _GENERATION] + 1
        self._header[word + _GENERATION] = generation
        self._header[word + _PART] = part
        self._header[word + _HOLDERS] = int(Holder.PART)
        return slot, generation

    def hold(self, slot: int, holder: Holder) -> None:
        """Add a holder to a leased slot."""
        word = slot * _WORDS + _HOLDERS
        if not self._header[word]:
            raise ValueError(f"slot {slot} is free: lease it first")
        self._header[word] |= int(holder)

    def release(self, slot: int, holder: Holder) -> None:
        """Drop one holder; the slot is free when nobody is left. Twice is a bug: raises."""
        word, bit = slot * _WORDS + _HOLDERS, int(holder)
        held = self._header[word]
        if not held & bit:
            raise ValueError(f"slot {slot} is not held by {holder!r}")
        self._header[word] = held & ~bit
        if held == bit:
            self._free.append(slot)

    def quarantine(self, slot: int) -> None:
        """Turn a killed worker's hold into one that only its reaping ends."""
        self.hold(slot, Holder.QUARANTINE)
        self.release(slot, Holder.ENGINE)

    def holders(self, slot: int) -> Holder:
        """Who holds the slot now."""
        return Holder(self._header[slot * _WORDS + _HOLDERS])

    def generation(self, slot: int) -> int:
        """The slot's current lease; a worker reads it before and after it looks at the views."""
        return self._header[slot * _WORDS + _GENERATION]

    @property
    def free(self) -> int:
        return len(self._free)

    def close(self) -> None:
        """Unmap and close; arrays handed out earlier must be gone, or the unmap waits for them."""
        self._arrays = []
        self._header.release()
        with suppress(BufferError):  # an array is still referenced; the mapping goes when it does
            self._map.close()
        os.close(self.fd)


def _header_bytes(slots: int) -> int:
    return -(-slots * _WORDS * 8 // mmap.PAGESIZE) * mmap.PAGESIZE


def _layout(views: tuple[ViewSpec, ...]) -> tuple[list[int], int]:
    """Offsets of the views in a slot and the slot's stride in bytes (whole pages)."""
    offsets, offset = [], 0
    for view in views:
        offsets.append(offset)
        size = int(np.prod(view.shape)) * np.dtype(view.dtype).itemsize
        offset += -(-size // ALIGN) * ALIGN
    return offsets, -(-max(offset, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
