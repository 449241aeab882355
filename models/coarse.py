"""Pictures at a lower resolution: tiles of several frame pixels to one, and the first pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.tiles import Tile

COARSE_PX = 8  # frame pixels to one of the first pass

Array = npt.NDArray[Any]


def shrink_into(picture: Array, out: Array) -> None:
    """Write the means of n x n pixels into `out`, whose sides are an n-th of the picture's."""
    height, width = out.shape[:2]
    done = cv2.resize(picture, (width, height), dst=out, interpolation=cv2.INTER_AREA)
    if done is not out and not np.shares_memory(done, out):
        np.copyto(out, done.reshape(out.shape))  # OpenCV could not use the destination


class FirstPass:
    """Finds the tiles of a frame that are empty, at an eighth of its resolution.

    A tile is empty where, in every view, its coarse pixels span fewer than `below` gray levels.
    What is smaller than a coarse pixel is thinned out by it, so a tile that holds nothing but a
    speck can pass for empty: whether that is admissible is the package's word (allow_skip).
    """

    def __init__(
        self, tiles: Sequence[Tile], views: Mapping[str, tuple[int, ...]], below: float
    ) -> None:
        """views: shapes of the frame's views by name."""
        self._below = below
        self._small = {
            name: np.zeros((shape[0] // COARSE_PX, shape[1] // COARSE_PX, *shape[2:]), np.uint8)
            for name, shape in views.items()
        }
        # Outward: a coarse pixel that a tile's edge runs through counts for both its tiles.
        self._windows = [
            tuple(slice(s.start // COARSE_PX, -(-s.stop // COARSE_PX)) for s in tile.frame)
            for tile in tiles
        ]

    def empty(self, arrays: Mapping[str, Array]) -> list[bool]:
        """Which tiles of the frame in `arrays` hold nothing to look at, in their order."""
        for name, small in self._small.items():
            rows, columns = (side * COARSE_PX for side in small.shape[:2])
            shrink_into(arrays[name][:rows, :columns], small)
        return [all(self._span(s[w]) < self._below for s in self._all()) for w in self._windows]

    def _all(self) -> list[Array]:
        return list(self._small.values())

    @staticmethod
    def _span(window: Array) -> int:
        return int(window.max()) - int(window.min()) if window.size else 255
