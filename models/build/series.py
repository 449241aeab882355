"""Series of parts that go from good to bad by degrees: where golden parts are looked for.

A series is a good part and a bad one with the same views; strength 0..1 blends their pixels.
Drawn flaws cover a few hundred pixels, so every part of a series but its first costs next to
nothing to store (models/lossless.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from edge.core.errors import ConfigError
from edge.core.types import Fit
from models.build import datasets
from models.build.boards import FLAWS, board
from models.build.datasets import Array, Split
from models.build.paste import blemished
from models.build.recipe import Data, Drawn
from models.build.surfaces import surface
from models.manifest import Manifest

# Above the seeds of the shipped trainings, below those of bars and demonstrations.
FIRST_SEED, END_SEED = 9_000, 10_000


class Series:
    """One good part and what becomes of it. good and bad: uint8 (views, H, W)."""

    def __init__(self, name: str, good: Array, bad: Array) -> None:
        self.name, self._good, self._bad = name, good, bad

    def at(self, strength: float) -> Array:
        """The views at a strength: 0 is the good part, 1 the bad one."""
        step = self._bad.astype(np.float32) - self._good
        return np.asarray(np.rint(self._good + np.float32(strength) * step), np.uint8)

    def coarser(self, bits: int) -> Series:
        """The same without the lowest bits of the gray: most of the noise, and of the bytes."""
        keep = np.uint8(0xFF << bits & 0xFF)
        return Series(self.name, self._good & keep, self._bad & keep)


def drawn(kind: Drawn, manifest: Manifest, seed: int) -> Iterator[Series]:
    """Parts drawn from seeds, of the package's size, with its views."""
    return _DRAWN[kind](manifest, seed)


def _flanges(manifest: Manifest, first: int) -> Iterator[Series]:
    from sensors.fit import fit_into
    from sensors.synthetic import PartGenerator

    view = msgspec.structs.replace(manifest.picture(), fit=Fit(mode="resize"))
    for seed in range(FIRST_SEED + first, END_SEED):
        generator = PartGenerator(seed, size_px=min(view.shape[:2]), defect_share=1.0)
        views = np.zeros((2, 1, *view.shape), np.uint8)
        for out, part in zip(views, (generator.twin(0), generator.part(0)), strict=True):
            fit_into(part.image, view, out[0])
        yield Series(f"flange {seed}, {generator.defect_type(0)}", *views)


def _boards(manifest: Manifest, first: int) -> Iterator[Series]:
    from sensors.align import References, UnplacedError

    height, width = manifest.picture().shape[:2]
    references = References(manifest.views)
    for seed in range(FIRST_SEED + first, END_SEED):
        flaw = FLAWS[seed % len(FLAWS)]
        made = board(np.random.default_rng(seed), (height, width), flaw)
        if made is not None:
            reference, good, bad = made
            name, views = f"board {seed}, {flaw}", [reference] if manifest.reference() else []
            pair = {v.name: good if v.kind == "picture" else reference for v in manifest.views}
            try:
                references.place(pair)  # as a station does
            except UnplacedError:
                continue
            yield Series(name, np.stack([good, *views]), np.stack([bad, *views]))


def _surfaces(manifest: Manifest, first: int) -> Iterator[Series]:
    height, width = manifest.picture().shape[:2]
    for seed in range(FIRST_SEED + first, END_SEED):
        good, bad = surface(np.random.default_rng(seed), (height, width))
        yield Series(f"surface {seed}", good[None], bad[None])


_DRAWN = {"flanges": _flanges, "boards": _boards, "surfaces": _surfaces}


def from_split(split: Split, seed: int) -> Iterator[Series]:
    """Pictures of a data set: good ones with drawn blemishes, and towards real defects.

    Two series in three are a good picture and a copy of it with one blemish; the third goes
    from a good picture to a defective one.
    """
    rng = np.random.default_rng(seed)
    good, bad = np.flatnonzero(~split.defect), np.flatnonzero(split.defect)
    for turn in itertools.count():
        place = int(good[turn % len(good)])
        part, other = split.pictures[place], split.pictures[int(rng.choice(bad))]
        if turn % 3 == 2:
            yield Series(f"{split.names[place]}, towards a defect", part, other)
        else:
            spoiled = part.copy()
            spoiled[0], _ = blemished(part[0], other[0], rng)
            yield Series(f"{split.names[place]}, blemished", part, spoiled)


def samples(folder: Path, data: Data) -> Iterator[tuple[str, str, bool, Array]]:
    """Limit and challenge samples as (kind, name, defect, views).

    FOLDER/limit and FOLDER/challenge hold good/ and defect/; a package that compares finds the
    reference of a picture in reference/ beside them, under the same name. ConfigError for a
    folder without any, or a picture that cannot be read or lacks its reference.
    """
    found = 0
    for kind in ("limit", "challenge"):
        for label in ("good", "defect"):
            at = folder / kind / label
            for path in sorted(p for p in at.glob("*") if p.suffix.lower() in datasets.SUFFIXES):
                reference = folder / kind / "reference" / path.name if data.reference else None
                yield kind, path.name, label == "defect", datasets.views_of(path, reference, data)
                found += 1
    if not found:
        raise ConfigError(
            f"golden.samples {folder.name}: no pictures in limit/ or challenge/, good/ or defect/"
        )
