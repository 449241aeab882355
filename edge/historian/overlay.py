"""A part's picture with what the model saw on it: the map in colour, the regions in boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.regions import SizedRegion
from edge.core.types import Region

Pixels = npt.NDArray[Any]
Cells = npt.NDArray[np.float32]

_TINT = 0.5  # of the colour at the map's peak; half of it at the threshold, none at the floor
_LINE = (255, 255, 255)  # of boxes and words, BGR, on _GROUND
_GROUND = (0, 0, 0)
_FONT, _FONT_PX = cv2.FONT_HERSHEY_SIMPLEX, 22  # height of its capitals at scale 1
_SIDE_A_LETTER_PX = 50  # of the picture; words are that much smaller than it
_LEAST_LETTER_PX = 8


def overlay(
    picture: Pixels,
    cells: Cells,
    regions: Sequence[Region | SizedRegion],
    *,
    cell_px: int,
    threshold: float,
    labels: Sequence[str],
) -> Pixels:
    """The picture in BGR with its map blended over it and its regions in boxes.

    picture: uint8 (H, W) or (H, W, 3) in BGR, not written to. cells: float32 (rows, columns), each
    cell_px pixels wide and high from the upper left corner on; the colour turns from blue to red
    where a cell goes over the threshold, and cells far below it leave the picture as it is.
    regions: in pixels of the picture, worst first. labels: one a region, in ASCII; "" for none.
    Returns uint8 (H, W, 3).
    """
    gray = picture.ndim == 2
    seen = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if gray else picture.copy()
    height, width = (
        min(count * cell_px, side) for count, side in zip(cells.shape, seen.shape[:2], strict=True)
    )
    level = _levels(cells, threshold).repeat(cell_px, 0).repeat(cell_px, 1)[:height, :width]
    heat = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    share = (_TINT * level)[..., np.newaxis]
    under = seen[:height, :width]
    under[...] = np.rint(under * (1 - share) + heat * share)
    for region, label in reversed(list(zip(regions, labels, strict=True))):
        _box(seen, region, label)
    return seen


def _levels(cells: Cells, threshold: float) -> Cells:
    """0 at the floor, 0.5 at the threshold, 1 at a peak above it; cells that are no number are 0.

    The floor is 0, or the lowest cell below: a part without a defect then shows next to nothing,
    and not its own noise drawn out to all colours.
    """
    known = np.where(np.isnan(cells), -np.inf, cells.astype(np.float64))
    finite = known[np.isfinite(known)]
    floor = min(float(finite.min(initial=threshold)), 0.0 if threshold > 0 else threshold)
    peak = float(finite.max(initial=threshold))
    below = (known - floor) / max(threshold - floor, 1e-9) * 0.5
    above = 0.5 + (known - threshold) / max(peak - threshold, 1e-9) * 0.5
    level = np.where(known >= threshold, above, below)
    return np.clip(level, 0.0, 1.0).astype(np.float32)


def _box(seen: Pixels, region: Region | SizedRegion, label: str) -> None:
    letter_px = max(_LEAST_LETTER_PX, max(seen.shape[:2]) // _SIDE_A_LETTER_PX)
    line = max(1, letter_px // 8)
    corner = region.x + region.width - 1, region.y + region.height - 1
    cv2.rectangle(seen, (region.x, region.y), corner, _GROUND, 3 * line)
    cv2.rectangle(seen, (region.x, region.y), corner, _LINE, line)
    if not label:
        return
    scale = letter_px / _FONT_PX
    (wide, tall), below = cv2.getTextSize(label, _FONT, scale, line)
    gap = 2 * line
    # Above the box; below it at the picture's upper edge; inside the picture in any case.
    y = region.y - gap - below
    if y - tall < 0:
        y = corner[1] + gap + tall
    y = min(y, seen.shape[0] - 1 - below)
    x = max(0, min(region.x, seen.shape[1] - wide))
    cv2.rectangle(seen, (x, y - tall - line), (x + wide, y + below), _GROUND, cv2.FILLED)
    cv2.putText(seen, label, (x, y), _FONT, scale, _LINE, line, cv2.LINE_AA)
