"""A session of frames larger than its package's input: cut, judged in tiles, put together.

The same to a worker as models/session.BoundSession: `run(slot)` judges the views in the slot, and
`outputs` hold the score [1] and the map of the whole frame. Tiles are taken one after another by
lanes: each has a session with one thread, bound to a place for one tile (or for as many as the
graph takes at once), and a thread that cuts, runs and puts the map's cells where they belong.

Why lanes: an operator of a small network on one tile takes 10 to 100 us, and one session on two
threads waits for the slower of the two after each of them. Two sessions of one thread never wait
for one another: on 2 cores `synthetic-part` takes 4.3 ns a pixel so and 6.2 with one session of two
threads (docs/packages.md). Batches gain nothing there; on a device they save starts of kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np

from edge.core.config import TileOptions
from edge.core.errors import EngineError
from edge.core.pool import FramePool, View
from edge.core.types import ViewSpec
from models.coarse import FirstPass, shrink_into
from models.manifest import Manifest, Outputs
from models.tiles import Lanes, batched, tiles_of, whole

Job = Iterator[Sequence[int]]


class Session(Protocol):
    """One graph bound to the slots of a pool, as models/session.BoundSession is."""

    outputs: dict[str, View]

    def run(self, slot: int) -> None: ...


# Opens a session on the views of a tile, bound to a pool of one slot, with so many threads.
Open = Callable[[tuple[ViewSpec, ...], FramePool, int], Session]


class TiledSession:
    """One package over all slots of a pool whose views are whole frames.

    skipped counts the tiles that the package let the first pass leave out.
    """

    def __init__(
        self,
        manifest: Manifest,
        options: TileOptions,
        pool: FramePool,
        open_session: Open,
        lanes: Lanes,
    ) -> None:
        """manifest: the package's own, of one tile; the pool's views are those of `whole`.

        EngineError where the graph's outputs are not what the manifest says of them.
        """
        self._manifest = manifest
        self._tiles, frame = tiles_of(manifest, options), whole(manifest, options)
        self._slots = [pool.arrays(slot) for slot in range(pool.slots)]
        names, self._batch = frame.outputs, manifest.tiling.batch
        self._score = np.zeros(1, np.float32)
        self._map = np.zeros(names.map_shape, np.float32) if names.map_shape else None
        typed = names.map_shape if names.types is not None else None
        self._types = np.zeros(typed, np.uint8) if typed else None
        self._own = np.zeros(len(self._tiles), np.float32)
        self.outputs: dict[str, View] = {names.score: self._score}
        if names.map is not None and self._map is not None:
            self.outputs[names.map] = self._map
        if names.types is not None and self._types is not None:
            self.outputs[names.types] = self._types
        self._first_pass = (
            FirstPass(
                self._tiles,
                {view.name: view.shape for view in frame.views},
                manifest.tiling.skip_below,
            )
            if manifest.tiling.allow_skip
            else None
        )
        # What an empty tile's cells are: below whatever makes a region.
        self._nothing = min(0.0, manifest.outputs.map_threshold - 1.0)
        self.skipped = 0
        self._lanes = [
            _Lane(self, manifest, options.shrink, open_session, lanes.threads)
            for _ in range(lanes.number)
        ]
        self._done: SimpleQueue[Exception | None] = SimpleQueue()
        self._jobs: list[SimpleQueue[tuple[Job, int] | None]] = []
        for place, lane in enumerate(self._lanes[1:]):
            jobs: SimpleQueue[tuple[Job, int] | None] = SimpleQueue()
            self._jobs.append(jobs)
            cpu = lanes.cpus[place : place + 1]
            Thread(target=self._serve, args=(lane, jobs, cpu), daemon=True).start()

    def run(self, slot: int) -> None:
        """Judge the slot's frame; the results are in `outputs` until the next run."""
        there = self._occupied(slot)
        step = self._batch
        job = iter([there[place : place + step] for place in range(0, len(there), step)])
        for jobs in self._jobs:
            jobs.put((job, slot))
        failures = [self._work(self._lanes[0], job, slot)]
        failures += [self._done.get() for _ in self._jobs]
        for failure in failures:
            if failure is not None:
                raise failure
        # Nothing looked at is no score, and never a pass.
        self._score[0] = self._own[there].max() if there else np.nan

    def judge(self, arrays: Mapping[str, View], score: str = "score") -> float:
        """The score of one picture of a tile's size, by the session of the first lane."""
        return self._lanes[0].judge(arrays)

    def take(self, number: int, score: float, cells: View | None, types: View | None) -> None:
        """What a tile has come to; called by the lanes, each for other tiles.

        A score that is the peak of the tile's own map is the peak of the cells that the tile owns,
        so that the frame's score and its regions agree. A score of another making stands for
        itself. NaN stays NaN.
        """
        if cells is not None and self._map is not None:
            tile = self._tiles[number]
            owned = cells[tile.inside]
            self._map[tile.owned] = owned
            if types is not None and self._types is not None:
                self._types[tile.owned] = types[tile.inside]
            if score == cells.max():
                score = owned.max()
        self._own[number] = score

    def cut(self, slot: int, number: int) -> Iterator[tuple[str, View]]:
        """A tile's part of each view in the slot, in place."""
        place = self._tiles[number].frame
        return ((name, array[place]) for name, array in self._slots[slot].items())

    def close(self) -> None:
        """End the lanes' threads; they end with the process otherwise."""
        for jobs in self._jobs:
            jobs.put(None)

    def _occupied(self, slot: int) -> list[int]:
        """The tiles to judge: all, but for those that may be skipped and are empty."""
        if self._first_pass is None:
            return list(range(len(self._tiles)))
        empty = self._first_pass.empty(self._slots[slot])
        for tile, skip in zip(self._tiles, empty, strict=True):
            if skip and self._map is not None:
                self._map[tile.owned] = self._nothing
        self.skipped += sum(empty)
        return [number for number, skip in enumerate(empty) if not skip]

    def _serve(
        self, lane: _Lane, jobs: SimpleQueue[tuple[Job, int] | None], cpu: tuple[int, ...]
    ) -> None:
        if cpu:
            with suppress(OSError):  # a processor that is not there: the kernel places the thread
                os.sched_setaffinity(0, cpu)
        while (given := jobs.get()) is not None:
            self._done.put(self._work(lane, *given))

    @staticmethod
    def _work(lane: _Lane, job: Job, slot: int) -> Exception | None:
        """Judge tiles until none is left; all lanes draw from one iterator."""
        try:
            for numbers in job:
                lane.run(slot, numbers)
        except Exception as error:  # the thread's boundary: `run` raises it
            return error
        return None


class _Lane:
    """A session, and the place that it is bound to for the tiles of one run."""

    def __init__(
        self,
        frame: TiledSession,
        manifest: Manifest,
        shrink: int,
        open_session: Open,
        threads: int,
    ) -> None:
        batch = manifest.tiling.batch
        self._frame, self._shrink = frame, shrink
        self._pool = FramePool.create(batched(manifest.views, batch), 1)
        shapes = {view.name: (batch, *view.shape) for view in manifest.views}
        self._places = {
            name: array.reshape(shapes[name]) for name, array in self._pool.arrays(0).items()
        }
        self._session = open_session(self._pool.views, self._pool, threads)
        outputs = _per_tile(self._session.outputs, manifest.outputs, batch)
        self._scores, self._maps, self._types = outputs

    def run(self, slot: int, numbers: Sequence[int]) -> None:
        """Judge tiles of the frame in the slot, as many as the graph takes at most."""
        for place, number in enumerate(numbers):
            for name, picture in self._frame.cut(slot, number):
                self._write(name, place, picture)
        self._session.run(0)
        for place, number in enumerate(numbers):
            cells = None if self._maps is None else self._maps[place]
            types = None if self._types is None else self._types[place]
            self._frame.take(number, float(self._scores[place]), cells, types)

    def judge(self, arrays: Mapping[str, View]) -> float:
        """The score of one picture of a tile's size."""
        for name, places in self._places.items():
            np.copyto(places[0], arrays[name], casting="no")
        self._session.run(0)
        return float(self._scores[0])

    def _write(self, name: str, place: int, picture: View) -> None:
        out = self._places[name][place]
        if self._shrink == 1:
            np.copyto(out, picture)
        else:
            shrink_into(picture, out)


def _per_tile(
    outputs: Mapping[str, View], names: Outputs, batch: int
) -> tuple[View, View | None, View | None]:
    """Scores [batch], maps and types [batch, rows, columns] of a session, as far as it has them.

    EngineError where its outputs are not what the manifest says of them.
    """

    def output(name: str | None, shape: tuple[int, ...] | None, dtype: str) -> View | None:
        if name is None or shape is None:
            return None
        if name not in outputs:
            raise EngineError(f"output {name} of the manifest is not in the graph")
        there, shape = outputs[name], (batch, *shape)
        if there.dtype != dtype or there.size != np.prod(shape):
            raise EngineError(f"output {name} is {there.dtype} {there.shape}, not {dtype} {shape}")
        return there.reshape(shape)

    scores = output(names.score, (), "float32")
    assert scores is not None
    cells = output(names.map, names.map_shape, "float32")
    return scores, cells, output(names.types, names.map_shape, "uint8")
