"""Defect map -> regions: connected areas of cells at or above the map's threshold.

Records, not objects: the worker writes them straight into its answer.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models import native
from models.manifest import Manifest

MAX_REGIONS = 64
REGION = np.dtype(
    [
        ("x", "<u2"),
        ("y", "<u2"),
        ("width", "<u2"),
        ("height", "<u2"),
        ("area_px", "<u4"),
        ("peak", "<f4"),
    ]
)

Array = npt.NDArray[Any]


def use_one_thread() -> None:
    """Keep OpenCV from waking helper threads for a few thousand pixels; for the whole process."""
    cv2.setNumThreads(1)


class Decoder:
    """Regions of one package's map, in pixels of its first picture view."""

    def __init__(self, manifest: Manifest, helper: Any = native.helper) -> None:
        outputs = manifest.outputs
        self._helper = helper
        self._cell_px = outputs.cell_px
        self._threshold = np.float32(outputs.map_threshold)
        shape = outputs.map_shape or (1, 1)
        self._columns = shape[-1]
        self._over = np.empty(shape[-2:], np.bool_)
        self._labels = np.empty(shape[-2:], np.int32)

    def regions(self, cells: Array, out: Array) -> tuple[float, int, bool]:
        """Write the regions of a contiguous float32 map into `out` (REGION, 64).

        Returns (peak, count, overflow). peak is the map's largest value, NaN if any cell is; if
        it is not finite there are no regions. Largest peak first, ties by row and column of the
        corner; overflow says that there were more, and that the ones with the smaller peaks are
        left out. Cells touch by sides and corners.
        """
        if self._helper:
            found: tuple[float, int, bool] = self._helper.regions(
                cells, self._columns, self._threshold, self._cell_px, out
            )
            return found
        peak = float(np.maximum.reduce(cells, axis=None))
        if not math.isfinite(peak) or peak < self._threshold:
            return peak, 0, False
        return peak, *self._regions(cells.reshape(self._over.shape), out)

    def _regions(self, cells: Array, out: Array) -> tuple[int, bool]:
        np.greater_equal(cells, self._threshold, out=self._over)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(
            self._over.view(np.uint8), self._labels, None, None, 8, cv2.CV_32S
        )
        found = []
        for label in range(1, count):
            x, y, width, height, area = (int(value) for value in boxes[label])
            window = cells[y : y + height, x : x + width]
            inside = self._labels[y : y + height, x : x + width] == label
            found.append((-float(window[inside].max()), y, x, width, height, area))
        found.sort()
        for place, (peak, y, x, width, height, area) in enumerate(found[: len(out)]):
            side = self._cell_px
            out[place] = (x * side, y * side, width * side, height * side, area * side**2, -peak)
        return min(len(found), len(out)), len(found) > len(out)
