"""What the product's own files keep allocated, or pass through, over a stretch of parts.

Kept is what a line has alive at the end beyond what it had alive at the beginning, after a full
collection at either end. So:

- A structure that rolls (a deque with maxlen) puts block in place of block: nothing is kept, once
  its window has been filled while traced. While it fills it does grow, and counts.
- A table that grows (a dict, a list) frees the old one: no block is kept, the larger size counts.
- What one line made and another line's replaces (a last value set in two places) counts as one:
  lines are not offset against each other, for a leak must not hide behind something that was freed.

An allocation is the product's where its innermost frame in the product's or these files is the
product's: what a library allocates for a line of the product is that line's, and what a recorder
here keeps is not the product's, but for objects the product made: a recorder must not keep those.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("edge", "models", "sensors", "control")
MEASURE = Path(__file__).parents[1]
SMALLEST_VIEW = 256 * 256  # bytes, of the packages that are shipped
FRAMES = 6  # callers known of an allocation: from a library's depths back to the line that asked


class Line(NamedTuple):
    """A line of the product and what it kept."""

    place: str  # file:line
    blocks: int
    bytes: int


class Kept(NamedTuple):
    """In the order of `Counters`' fields."""

    blocks: int
    bytes: int
    frame_sized_blocks: int


class Allocations:
    """Traces this process's memory: `start`, some hundred parts, `begin`, 1,000 parts, `end`.

    start after the parts that allocate what is allocated once, and at least as many parts before
    begin as the longest window that rolls (200 in models/service.py); begin starts if need be.
    begin and end take tens of milliseconds of the thread that calls: only with no part open.
    """

    def __init__(
        self,
        view_bytes: int = SMALLEST_VIEW,
        *,
        own: Sequence[Path] | None = None,
        measure: Path = MEASURE,
    ) -> None:
        """view_bytes: of the smallest view; own: the product's folders, measure: the recorder's."""
        self._view_bytes = view_bytes
        folders = _packages() if own is None else own
        self._own = tuple(f"{folder}/" for folder in folders)
        self._measure = f"{measure}/"
        self._passed = self._current = 0
        self._before: tracemalloc.Snapshot | None = None
        self.lines: tuple[Line, ...] = ()  # after end: the largest keeper first

    def start(self) -> None:
        """Trace every allocation from here on; parts may be open. Parts take longer from now on."""
        if not tracemalloc.is_tracing():
            tracemalloc.start(FRAMES)

    def begin(self) -> None:
        """What is alive now was there before."""
        self.start()
        gc.collect()
        self._before = tracemalloc.take_snapshot()
        self._passed = 0
        self._current = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()

    def part(self) -> None:
        """Look whether something as large as a view came and went since the last look; some us.

        Called after every part, the count is of parts, and small garbage of many parts that adds
        up to a view's size is not taken for one. It is of the whole process, libraries included.
        """
        current, peak = tracemalloc.get_traced_memory()
        self._passed += peak - max(current, self._current) >= self._view_bytes
        self._current = current
        tracemalloc.reset_peak()

    def end(self) -> Kept:
        """What was kept, and ends the tracing.

        Every frame-sized block of the product that is alive counts, whenever it came: after start
        there is no good reason for one, and one that each part replaces would look like none kept.
        """
        if self._before is None:
            raise ValueError("begin() first")
        self.part()
        gc.collect()
        snapshot = tracemalloc.take_snapshot()
        tracemalloc.stop()
        before, after = self._alive(self._before), self._alive(snapshot)
        self._before = None
        kept = [
            Line(place, max(0, now.blocks - was.blocks), max(0, now.bytes - was.bytes))
            for place, now in after.items()
            for was in (before.get(place, _NONE),)
        ]
        self.lines = tuple(
            sorted((one for one in kept if one.blocks or one.bytes), key=lambda one: -one.bytes)
        )
        return Kept(
            blocks=sum(one.blocks for one in kept),
            bytes=sum(one.bytes for one in kept),
            frame_sized_blocks=self._passed + sum(now.frame_sized for now in after.values()),
        )

    def _alive(self, snapshot: tracemalloc.Snapshot) -> dict[str, _Alive]:
        """What the product has alive, by line."""
        blocks: Counter[str] = Counter()
        size: Counter[str] = Counter()
        large: Counter[str] = Counter()
        places: dict[tracemalloc.Traceback, str | None] = {}
        for trace in snapshot.traces:
            if trace.traceback not in places:
                places[trace.traceback] = self._place(trace.traceback)
            if place := places[trace.traceback]:
                blocks[place] += 1
                size[place] += trace.size
                large[place] += trace.size >= self._view_bytes
        return {place: _Alive(blocks[place], size[place], large[place]) for place in blocks}

    def _place(self, traceback: tracemalloc.Traceback) -> str | None:
        """The product's line that an allocation is for; None where it is not the product's."""
        for frame in reversed(traceback):  # innermost first
            if frame.filename.startswith(self._measure):
                return None
            for folder in self._own:
                if frame.filename.startswith(folder):
                    return f"{frame.filename}:{frame.lineno}"
        return None


class _Alive(NamedTuple):
    blocks: int
    bytes: int
    frame_sized: int


_NONE = _Alive(0, 0, 0)


def _packages() -> list[Path]:
    specs = (find_spec(name) for name in PACKAGES)
    return [Path(spec.origin).parent for spec in specs if spec and spec.origin]
