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
# 64-bit words of a slot's header. _SEEN is the historian's to write, the others are the station's.
_GENERATION, _PART, _HOLDERS, _SEEN, _WORDS = 0, 1, 2, 3, 4

View = npt.NDArray[Any]


class Holder(IntFlag):
    """Who keeps a slot from being leased again."""

    PART = 1  # the camera while it fills, then the loop until the part is decided
    ENGINE = 2  # a live worker may still read it
    QUARANTINE = 4  # a killed worker may still read it, until it is reaped
    HISTORY = 8  # the historian copies it for footage or evidence
    SHADOW = 16  # a candidate's worker may read it, after the part was decided


class FramePool:
    """Slots of shared memory for parts' views; created by the station, attached by workers."""

    def __init__(
        self,
        fd: int,
        views: tuple[ViewSpec, ...],
        slots: int,
        map_shape: tuple[int, int] | None = None,
    ) -> None:
        """Map an existing memfd; use `create` in the station. Takes ownership of fd.

        map_shape: of the defect map that a worker leaves beside the views, float32.
        """
        self.fd, self.views, self.slots = fd, views, slots
        self._map_view = ViewSpec("", "samples", "float32", map_shape) if map_shape else None
        self._offsets, self._stride = _layout(self._all())
        size = _header_bytes(slots) + slots * self._stride
        self._map = mmap.mmap(fd, size)
        # A memoryview of words: reading one takes 46 ns, a field of a NumPy record 142.
        self._header = memoryview(self._map)[: slots * _WORDS * 8].cast("Q")
        self._arrays = [self._slot_arrays(slot) for slot in range(slots)]
        self._maps = (
            [self._array(slot, self._map_view, self._offsets[-1]) for slot in range(slots)]
            if self._map_view
            else []
        )
        self._free: deque[int] = deque(range(slots))

    @classmethod
    def create(
        cls,
        views: tuple[ViewSpec, ...],
        slots: int,
        map_shape: tuple[int, int] | None = None,
    ) -> FramePool:
        """Allocate and pre-fault a pool; nothing is left to unlink after a crash."""
        fd = os.memfd_create("edge-pool", os.MFD_CLOEXEC)
        maps = (ViewSpec("", "samples", "float32", map_shape),) if map_shape else ()
        os.ftruncate(fd, _header_bytes(slots) + slots * _layout((*views, *maps))[1])
        pool = cls(fd, views, slots, map_shape)
        for arrays in pool._arrays:  # touch every page now, not under the first part
            for array in arrays.values():
                array.fill(0)
        return pool

    def _all(self) -> tuple[ViewSpec, ...]:
        return self.views if self._map_view is None else (*self.views, self._map_view)

    def _slot_arrays(self, slot: int) -> dict[str, View]:
        offsets = zip(self.views, self._offsets, strict=False)
        return {view.name: self._array(slot, view, offset) for view, offset in offsets}

    def _array(self, slot: int, view: ViewSpec, offset: int) -> View:
        base = _header_bytes(self.slots) + slot * self._stride
        count = int(np.prod(view.shape))
        flat = np.frombuffer(self._map, dtype=view.dtype, count=count, offset=base + offset)
        return flat.reshape(view.shape)

    def arrays(self, slot: int) -> dict[str, View]:
        """The slot's views by name, writable, in place."""
        return self._arrays[slot]

    def map(self, slot: int) -> View | None:
        """The defect map of the slot's part, as its worker left it; None where there is none."""
        return self._maps[slot] if self._maps else None

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

    def quarantine(self, slot: int, holder: Holder = Holder.ENGINE) -> None:
        """Turn a killed worker's hold into one that only its reaping ends."""
        self.hold(slot, Holder.QUARANTINE)
        self.release(slot, holder)

    def holders(self, slot: int) -> Holder:
        """Who holds the slot now."""
        return Holder(self._header[slot * _WORDS + _HOLDERS])

    def generation(self, slot: int) -> int:
        """The slot's current lease; a worker reads it before and after it looks at the views."""
        return self._header[slot * _WORDS + _GENERATION]

    def see(self, slot: int, generation: int) -> None:
        """The historian has what it wants of this lease; written in its own process."""
        self._header[slot * _WORDS + _SEEN] = generation

    def is_seen(self, slot: int, generation: int) -> bool:
        """Whether the historian has let this lease go."""
        return self._header[slot * _WORDS + _SEEN] == generation

    @property
    def free(self) -> int:
        return len(self._free)

    def close(self) -> None:
        """Unmap and close; arrays handed out earlier must be gone, or the unmap waits for them."""
        self._arrays, self._maps = [], []
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
