"""Evidence as small pictures in the page: shrunk, with the regions outlined, nothing left outside.

The files are the historian's own, but their names come from the records and their bytes from a
disk: a name with a path in it, a huge picture or a damaged one is named and not shown.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.regions import SizedRegion
from edge.core.types import Region

SIDE_PX = 320  # the longer side in the page; about 45 mm on paper
MOST_BYTES = 64 << 20
MOST_PX = 64 << 20
_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def picture(folder: Path, name: str, regions: Iterable[Region | SizedRegion]) -> str:
    """An evidence picture as HTML, or a box that says why there is none."""
    found = _shrunk(folder, name)
    if isinstance(found, str):
        return f'<div class="absent">{escape(name)}: {escape(found)}</div>'
    data, width, height = found
    return outlined(data, name, (width, height), regions)


def outlined(
    png: bytes, name: str, size: tuple[int, int], regions: Iterable[Region | SizedRegion]
) -> str:
    """A picture of (width, height) pixels, whatever the PNG's own, with regions outlined."""
    width, height = size
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    outlines = "".join(
        f'<rect class="region" x="{one.x}" y="{one.y}" width="{one.width}" height="{one.height}"/>'
        for one in regions
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}"><image href="{source}" width="{width}" height="{height}"/>'
        f"{outlines}</svg>"
    )


def shrunk(pixels: npt.NDArray[Any], side_px: int = SIDE_PX, suffix: str = ".png") -> bytes:
    """Pixels as PNG (or .jpg), no side longer than that."""
    height, width = pixels.shape[:2]
    share = min(1.0, side_px / max(width, height))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(suffix, small)[1].tobytes()


def _shrunk(folder: Path, name: str) -> tuple[bytes, int, int] | str:
    """PNG bytes with the width and height of the original in pixels, or what is in the way."""
    if Path(name).name != name or not name.endswith(".png") or "\0" in name:
        return "not a picture's name"
    try:
        path = folder / name
        if path.stat().st_size > MOST_BYTES:
            return "too large to show"
        data = path.read_bytes()
    except OSError as error:
        return "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
    if not data.startswith(_HEAD) or len(data) < len(_HEAD) + 8:
        return "not a PNG file"
    width, height = struct.unpack_from(">II", data, len(_HEAD))
    if not 0 < width * height <= MOST_PX:
        return "too large to show"
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        return "damaged"
    return shrunk(pixels), width, height
