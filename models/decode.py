"""Defect map -> regions: connected areas of cells at or above the map's threshold, and their types.

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
        ("type", "<u4"),  # the k-th of the package's type names; 0: unknown, or it knows none
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
        self._kinds = len(outputs.type_names)
        shape = outputs.map_shape or (1, 1)
        self._columns = shape[-1]
        self._over = np.empty(shape[-2:], np.bool_)
        self._labels = np.empty(shape[-2:], np.int32)

    def regions(
        self, cells: Array, out: Array, types: Array | None = None
    ) -> tuple[float, int, bool]:
        """Write the regions of a contiguous float32 map into `out` (REGION, 64).

        types: contiguous uint8 of the map's shape, k for the k-th of the package's type names. A
        region has the type whose cells in it have the largest sum of map values, the lower number
        where two have the same; cells of any other number have no say.

        Returns (peak, count, overflow). peak is the map's largest value, NaN if any cell is; if
        it is not finite there are no regions. Largest peak first, ties by row and column of the
        corner; overflow says that there were more, and that the ones with the smaller peaks are
        left out. Cells touch by sides and corners.
        """
        if self._helper:
            found: tuple[float, int, bool] = self._helper.regions(
                cells, self._columns, self._threshold, self._cell_px, out, types, self._kinds
            )
            return found
        peak = float(np.maximum.reduce(cells, axis=None))
        if not math.isfinite(peak) or peak < self._threshold:
            return peak, 0, False
        shape = self._over.shape
        return peak, *self._regions(
            cells.reshape(shape), None if types is None else types.reshape(shape), out
        )

    def _regions(self, cells: Array, types: Array | None, out: Array) -> tuple[int, bool]:
        np.greater_equal(cells, self._threshold, out=self._over)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(
            self._over.view(np.uint8), self._labels, None, None, 8, cv2.CV_32S
        )
        found = []
        for label in range(1, count):
            x, y, width, height, area = (int(value) for value in boxes[label])
            window = slice(y, y + height), slice(x, x + width)
            inside = self._labels[window] == label
            peak = float(cells[window][inside].max())
            found.append((-peak, y, x, width, height, area, label))
        found.sort()
        side = self._cell_px
        for place, (peak, y, x, width, height, area, label) in enumerate(found[: len(out)]):
            box = x * side, y * side, width * side, height * side
            window = slice(y, y + height), slice(x, x + width)
            kind = 0
            if types is not None:
                inside = self._labels[window] == label
                kind = self._type(types[window][inside], cells[window][inside])
            out[place] = (*box, area * side**2, -peak, kind)
        return min(len(found), len(out)), len(found) > len(out)

    def _type(self, types: Array, cells: Array) -> int:
        """What most of a region's cells say, each with its value; added row by row, in double."""
        known = self._kinds + 1
        said = np.bincount(types, minlength=known)[:known] > 0
        said[0] = False
        sums = np.bincount(types, weights=cells, minlength=known)[:known]
        return int(np.where(said, sums, -np.inf).argmax())
