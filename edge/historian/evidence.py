"""Evidence: a part's pictures and its defect map as lossless PNG files that say what they show."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edge.core.history import Closed
from edge.core.pool import View
from edge.core.types import ViewSpec

_HEAD = 33  # bytes of a PNG's signature and its first chunk, IHDR
_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)
KEYWORD = "edge.part"  # of the text that holds the part's record as JSON
RANGE = "edge.range"  # of the text with the values that a map's 0 and 65535 stand for


def folder_of(database: Path) -> Path:
    """Where the evidence of a database's parts lies."""
    return database.with_name(f"{database.stem}-evidence")


def write(
    folder: Path,
    session: int,
    closed: Closed,
    views: tuple[ViewSpec, ...],
    arrays: Mapping[str, View],
    defect_map: View | None,
) -> str:
    """Write a part's pictures and map; the name of the first picture's file in the folder.

    NAME.png is the first picture with the record in it, NAME.VIEW.png each further one,
    NAME.map.png the map in 16 bits, with the values that 0 and 65535 stand for in it. OSError
    where the disk refuses.
    """
    name = f"{session:016x}-{closed.record.part:09d}"
    text = msgspec.json.encode(closed.record)
    first = ""
    for view in views:
        if view.kind == "samples":
            continue
        data = cv2.imencode(".png", arrays[view.name], _FAST)[1].tobytes()
        if view.kind == "picture" and not first:
            first = f"{name}.png"
            _write(folder / first, with_text(data, KEYWORD, text))
        else:
            _write(folder / f"{name}.{view.name}.png", data)
    if defect_map is not None and closed.record.decision.score is not None:
        _write(map_file(folder / f"{name}.png"), _map_png(defect_map))
    return first


def map_file(picture: Path) -> Path:
    """Where the map of a part lies, by the file of its first picture."""
    return picture.with_suffix(".map.png")


def picture_of(file: Path) -> View | None:
    """The pixels of a PNG file as they were written; None where it is gone or damaged."""
    try:
        return cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return None


def map_of(file: Path) -> View | None:
    """A defect map, float32 (rows, columns), within a step of its 16 bits; None as `picture_of`."""
    levels = picture_of(file)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 2:
        return None
    try:
        low, high = msgspec.json.decode(
            text_of(file.read_bytes(), RANGE) or b"", type=tuple[float, float]
        )
    except (OSError, msgspec.MsgspecError):
        return None
    return (low + levels * ((high - low) / 65535)).astype(np.float32)


def delete(folder: Path, name: str) -> None:
    """Delete every file of a part, of which `write` gave the first one's name."""
    for file in folder.glob(f"{Path(name).stem}.*png"):
        with suppress(OSError):  # then it stays until the disk lets go of it
            file.unlink(missing_ok=True)


def _map_png(defect_map: View) -> bytes:
    low, high = float(defect_map.min()), float(defect_map.max())
    levels = np.rint((defect_map - low) * (65535 / max(high - low, 1e-9))).astype(np.uint16)
    data = cv2.imencode(".png", levels, _FAST)[1].tobytes()
    return with_text(data, RANGE, msgspec.json.encode((low, high)))


def with_text(png: bytes, keyword: str, text: bytes) -> bytes:
    """A PNG with UTF-8 text behind its head (PNG specification, 11.3.3.4, iTXt)."""
    body = b"iTXt" + keyword.encode("ascii") + b"\0" * 5 + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEAD] + chunk + png[_HEAD:]


def text_of(png: bytes, keyword: str) -> bytes | None:
    """What `with_text` put there; None where there is nothing of that name."""
    at, head = 8, b"iTXt" + keyword.encode("ascii") + b"\0" * 5
    while at + 12 <= len(png):
        (size,) = struct.unpack_from(">I", png, at)
        if png.startswith(head, at + 4):
            return png[at + 4 + len(head) : at + 8 + size]
        at += 12 + size
    return None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: a picture cut off by a full disk would be a lie."""
    part = path.with_suffix(".part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
