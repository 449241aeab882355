"""Why a part was judged as it was: its picture in evidence with the map and the regions on it.

The map is the one that its worker left, kept beside the picture, so no package and no session is
needed. It was kept in 16 bits: a cell comes back within a 65535th of the map's range.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.errors import RecordsError
from edge.core.regions import SizedRegion, label
from edge.historian import evidence
from edge.historian.overlay import overlay
from edge.historian.records.query import Shown
from edge.historian.records.rows import regions_of

Pixels = npt.NDArray[Any]

LEAST_PX = 480  # of a picture's longer side: below it, words would cover what they are about


class Explained(NamedTuple):
    """A part's picture in BGR, and what could not be shown on it, "" where all of it is."""

    picture: Pixels
    lacks: str


def explained(database: Path, found: Shown) -> Explained:
    """The part's first picture with its map and its regions, each with its type and area.

    Small pictures are enlarged by a whole number. RecordsError where there is no picture.
    """
    row = found.row
    if row is None or not row.evidence:
        raise RecordsError(
            f"{database}: no picture of this part in evidence; kept are those of parts that "
            "failed, were held or defaulted, and of a share of the others"
        )
    file = evidence.folder_of(database) / Path(row.evidence).name
    picture = evidence.picture_of(file)
    if picture is None:
        raise RecordsError(f"{file}: cannot be read (any more); retention removes the oldest")
    cells = evidence.map_of(evidence.map_file(file))
    drawn = _drawn(picture, cells, regions_of(row.regions), found)
    return Explained(drawn, "" if cells is not None else "no map of this part is in evidence")


def _drawn(
    picture: Pixels, cells: Pixels | None, regions: tuple[SizedRegion, ...], found: Shown
) -> Pixels:
    times = -(-LEAST_PX // max(picture.shape[:2]))
    large = picture.repeat(times, 0).repeat(times, 1)
    cell_px = found.session.cell_px if found.session else 0
    serving = found.serving
    threshold = serving.map_threshold if serving else None
    if cells is None:  # what is drawn of it then is nothing
        cells, cell_px, threshold = np.zeros((1, 1), np.float32), 1, 1.0
    if threshold is None:  # of a record from before it was kept: no region begins below
        threshold = min((one.peak for one in regions), default=float(cells.max()))
    return overlay(
        large,
        cells,
        [_enlarged(one, times) for one in regions],
        cell_px=times * (cell_px or max(1, picture.shape[1] // cells.shape[1])),
        threshold=threshold,
        labels=[label(one) for one in regions],
    )


def _enlarged(one: SizedRegion, times: int) -> SizedRegion:
    return msgspec.structs.replace(
        one, x=one.x * times, y=one.y * times, width=one.width * times, height=one.height * times
    )


def write_png(file: Path, picture: Pixels) -> None:
    """Write a picture, whole or not at all; RecordsError where it cannot be written."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RecordsError(f"{file}: cannot be written: {error.strerror}") from None
