"""Whether a session reads the slots themselves: what is written there later is what it judges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.latency.frames import Part
from edge.core.pool import FramePool, View
from models.package import Package
from models.session import BoundSession


def bound_slots(
    model: Package, provider: str, threads: int, parts: Sequence[Part], slots: int
) -> int:
    """How many slots' inputs are the slot's own memory, by what the session makes of them.

    Every slot is bound while it is empty. A picture written into one then must be judged as the
    same picture in slot 0, and not as the empty slot was: no copy was bound.
    """
    views, found = model.manifest.views, 0
    pool = FramePool.create(views, slots)
    session = BoundSession(model.model_bytes(), views, pool, provider, threads)
    for slot in range(slots):
        part, empty = parts[slot % len(parts)], _judged(session, slot)
        _write(pool, slot, part)
        written = _judged(session, slot)
        _write(pool, 0, part)  # slot 0 is the yardstick, once it was found to be read itself
        same = _same(written, _judged(session, 0))
        found += same and not _same(written, empty)
    del session
    pool.close()
    return found


def _write(pool: FramePool, slot: int, part: Part) -> None:
    for name, array in pool.arrays(slot).items():
        np.copyto(array, part[name])


def _same(first: list[View], second: list[View]) -> bool:
    return all(map(np.array_equal, first, second))


def _judged(session: BoundSession, slot: int) -> list[View]:
    session.run(slot)
    return [output.copy() for output in session.outputs.values()]
