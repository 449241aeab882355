"""What the product's own files keep allocated, or pass through, over a stretch of parts.

Kept is what grows and goes on growing: a line's blocks count when it had more of them alive after
each quarter of the parts than before it, full collections in between. So:

- A structure that rolls (a deque with maxlen) grows until its window is full, and then no more:
  nothing is kept. Nor is it where a line's last value takes the place of another line's.
- A table that grows (a dict, a list) frees the old one and is one block still: only resident
  memory over a long run shows it.
- Lines are not offset against each other: a leak must not hide behind something that was freed.

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
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("edge", "models", "sensors", "control")
MEASURE = Path(__file__).parents[2]
SMALLEST_VIEW = 256 * 256  # bytes, of the packages that are shipped
QUARTER = 250  # parts from one look to the next
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
        self._passed = self._current = self._parts = 0
        self._looks: list[dict[str, _Alive]] = []  # what was alive at begin, and after each quarter
        self.lines: tuple[Line, ...] = ()  # after end: what grew, kept or not, the largest first

    def start(self) -> None:
        """Trace every allocation from here on; parts may be open. Parts take longer from now on."""
        if not tracemalloc.is_tracing():
            tracemalloc.start(FRAMES)

    def begin(self) -> None:
        """What is alive now was there before."""
        self.start()
        self._looks, self._passed, self._parts = [], 0, 0
        self._look()

    def _look(self) -> None:
        gc.collect()
        self._looks.append(self._alive(tracemalloc.take_snapshot()))
        self._current = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()

    def part(self) -> None:
        """Look whether something as large as a view came and went since the last part; some us,
        and tens of milliseconds after every QUARTER parts.

        Called after every part, the count is of parts, and small garbage of many parts that adds
        up to a view's size is not taken for one. It is of the whole process, libraries included.
        """
        current, peak = tracemalloc.get_traced_memory()
        self._passed += peak - max(current, self._current) >= self._view_bytes
        self._current = current
        tracemalloc.reset_peak()
        self._parts += 1
        if self._parts % QUARTER == 0:
            self._look()

    def end(self) -> Kept:
        """What was kept, and ends the tracing.

        Every frame-sized block of the product that is alive counts, whenever it came: after start
        there is no good reason for one, and one that each part replaces would look like none kept.
        """
        if not self._looks:
            raise ValueError("begin() first")
        if self._parts % QUARTER or not self._parts:
            self.part()
            self._look()
        tracemalloc.stop()
        looks, self._looks = self._looks, []
        grown = [_grown(place, looks) for place in looks[-1]]
        self.lines = tuple(
            sorted((one for one, _ in grown if one.blocks > 0 or one.bytes > 0), key=_largest)
        )
        kept = [one for one, steadily in grown if steadily]
        return Kept(
            blocks=sum(one.blocks for one in kept),
            bytes=sum(max(0, one.bytes) for one in kept),
            frame_sized_blocks=self._passed + sum(now.frame_sized for now in looks[-1].values()),
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


def _grown(place: str, looks: Sequence[dict[str, _Alive]]) -> tuple[Line, bool]:
    """What a line has alive beyond what it had at the beginning, and whether it grew every time."""
    alive = [look.get(place, _NONE) for look in looks]
    grown = Line(place, alive[-1].blocks - alive[0].blocks, alive[-1].bytes - alive[0].bytes)
    return grown, all(now.blocks > was.blocks for was, now in pairwise(alive))


def _largest(line: Line) -> int:
    return -line.bytes


def _packages() -> list[Path]:
    specs = (find_spec(name) for name in PACKAGES)
    return [Path(spec.origin).parent for spec in specs if spec and spec.origin]
