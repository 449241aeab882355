"""Frames for the tests of tiles: parts on a tray, and a package over them."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.config import TileOptions
from edge.core.pool import FramePool
from models import package
from models.session import BoundSession
from models.tiled_session import TiledSession
from models.tiles import Lanes, whole
from sensors.synthetic import PartGenerator

LEVEL = 60  # of the tray between the parts, about that of their belt
SIDE, GAP = 256, 32
ROWS, COLUMNS = 2, 3
FRAME = (608, 896)
TWO = Lanes(2, 1)


class Tray:
    """A frame of six synthetic parts, with their labels and upper left corners (y, x)."""

    def __init__(self, seed=20_001, *, defects=0.0, first=1):
        generator = PartGenerator(seed, defect_share=defects)
        self.frame = np.full(FRAME, LEVEL, np.uint8)
        self.labels, self.corners = [], []
        for place in range(ROWS * COLUMNS):
            y = GAP + place // COLUMNS * (SIDE + GAP)
            x = GAP // 2 + place % COLUMNS * (SIDE + GAP)
            part = generator.part(first + place)
            self.frame[y : y + SIDE, x : x + SIDE] = part.image
            self.labels.append(part.label == "defect")
            self.corners.append((y, x))


class Tiled:
    """A package over frames in a pool of its own; changes are of its TileOptions."""

    def __init__(self, loaded, lanes=TWO, *, frame_px=FRAME, model=None, **changes):
        self.options = TileOptions(frame_px=frame_px, **changes)
        self.whole = whole(loaded.manifest, self.options)
        self.pool = FramePool.create(self.whole.views, 2)
        model = model or loaded.model_bytes()
        self.session = TiledSession(
            loaded.manifest,
            self.options,
            self.pool,
            lambda views, pool, threads: BoundSession(model, views, pool, "cpu", threads),
            lanes,
        )

    def judge(self, *pictures, slot=1):
        """(score, map) of one frame, its views in order."""
        for array, picture in zip(self.pool.arrays(slot).values(), pictures, strict=True):
            array[:] = picture
        self.session.run(slot)
        score, *cells = self.session.outputs.values()
        return float(score[0]), cells[0].copy() if cells else None


@pytest.fixture(scope="session")
def synthetic():
    """The shipped package of 256 x 256 parts."""
    return package.find("synthetic-part")


@pytest.fixture
def tray():
    return Tray


@pytest.fixture
def tiled():
    """Makes a package over frames; its threads end with the test."""
    made = []

    def make(*args, **kwargs):
        made.append(Tiled(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.session.close()
        one.pool.close()
