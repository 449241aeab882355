"""The pictures worth looking at: the worst misses and false rejects, with what the model saw."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge.archive.inspector import Inspector
from edge.core.types import PartRecord, Region, ViewSpec
from edge.historian.overlay import overlay
from edge.historian.report.pictures import shrunk
from edge.report.judge import Judged, Known, only
from models.manifest import Manifest
from sensors.fit import UnfitError, fit_into
from sensors.grabber import UnreadError
from sensors.readers import read_picture

MOST = 8  # of each kind
SIDE_PX = 360  # the longer side in the page; 16 x 2 of them are about 1 MB
_MISSED = ("accepted", "held")  # of a defective picture, the worse first
_REJECTED = ("fail", "held")  # of a good one
_MASK = 127

Pixels = npt.NDArray[Any]


class Look(NamedTuple):
    """A picture as JPEG: as it was, with its known defect in boxes, and with map and regions."""

    plain: bytes
    seen: bytes


def misses(found: Sequence[Judged]) -> list[Judged]:
    """Defective pictures that did not fail: those accepted first, the lowest score first."""
    return sorted(
        (one for one in found if one.defect and one.fate in _MISSED),
        key=lambda one: (_MISSED.index(one.fate), one.score),
    )[:MOST]


def false_rejects(found: Sequence[Judged]) -> list[Judged]:
    """Good pictures that did not pass: those that failed first, the highest score first."""
    return sorted(
        (one for one in found if not one.defect and one.fate in _REJECTED),
        key=lambda one: (_REJECTED.index(one.fate), -(one.score or 0.0)),
    )[:MOST]


def looks(known: Known, by: Inspector, manifest: Manifest, chosen: Sequence[Judged]) -> list[Look]:
    """Judge the chosen pictures once more and draw what the model saw on each."""
    footage = only(known, [one.row for one in chosen])
    found = []
    for one, row, record in zip(chosen, footage.rows, by.inspect(footage), strict=True):
        arrays, cells = by.last()
        view = manifest.picture()
        boxes = known_boxes(row.marks, row.paths[footage.views.index(view)], view)
        found.append(_look(arrays[view.name], cells, record, boxes, one.type, manifest))
    return found


def _look(
    picture: Pixels,
    cells: Pixels | None,
    record: PartRecord,
    boxes: Sequence[Region],
    kind: str,
    manifest: Manifest,
) -> Look:
    draw = partial(
        overlay,
        picture,
        cell_px=manifest.outputs.cell_px,
        threshold=manifest.outputs.map_threshold,
    )
    nothing, regions = np.zeros((1, 1), np.float32), record.decision.regions
    plain = draw(nothing, boxes, labels=[_ascii(kind)] * len(boxes))
    said = [_ascii(f"{region.type} {region.peak:.2f}".strip()) for region in regions]
    seen = draw(nothing if cells is None else cells, regions, labels=said)
    return Look(*(shrunk(pixels, SIDE_PX, ".jpg") for pixels in (plain, seen)))


def known_boxes(marks: Path | None, picture: Path | None, view: ViewSpec) -> list[Region]:
    """Where the defect is, in pixels of the view: each box of a table, or the one around a mask.

    Nothing where nobody says, or what is said cannot be read: it is for the eye alone.
    """
    if marks is None or picture is None:
        return []
    try:
        masks = _masks(marks, picture)
        spec = msgspec.structs.replace(
            view, shape=view.shape[:2], fit=msgspec.structs.replace(view.fit, fill=0)
        )
        found = []
        for mask in masks:
            out = np.zeros(spec.shape, np.uint8)
            fit_into(mask, spec, out)
            found += _around(out)
    except (OSError, ValueError, UnreadError, UnfitError):
        return []
    return found


def _masks(marks: Path, picture: Path) -> list[Pixels]:
    """One mask a box of a .txt table (x1 y1 x2 y2 type), or the mask picture itself."""
    if marks.suffix.lower() != ".txt":
        return [read_picture(marks, gray=True)]
    size = read_picture(picture, gray=True).shape
    found = []
    for line in marks.read_text(encoding="utf-8").splitlines():
        x1, y1, x2, y2 = (int(word) for word in line.split()[:4])
        mask = np.zeros(size, np.uint8)
        mask[y1:y2, x1:x2] = 255
        found.append(mask)
    return found


def _around(mask: Pixels) -> list[Region]:
    rows, columns = np.nonzero(mask > _MASK)
    if not len(rows):
        return []
    x, y = int(columns.min()), int(rows.min())
    wide, high = int(columns.max()) - x + 1, int(rows.max()) - y + 1
    return [Region(x, y, wide, high, len(rows), 1.0)]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
