"""Pictures, marks and digests of a recipe's data, by split, in plain arrays.

Three sources: a folder with manifest.csv (splits given), a folder pair good/ and defect/
(split here), and the synthetic part generator. A split stays in memory as uint8.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.errors import ConfigError
from edge.core.types import Fit, ViewSpec
from models.build.recipe import Data

CELL_PX = 8
IGNORED = 255
# A cell counts as defective from this share of marked pixels on; below it the cell is left out
# of the loss, since boxes are looser than the defects they hold.
CELL_SHARE = 0.2
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

Array = npt.NDArray[Any]


class Split(msgspec.Struct, frozen=True):
    """One split. pictures (n, views, H, W) uint8; defect (n,) bool; cells (n, H/8, W/8) uint8.

    cells: 1 defective, 0 good, 255 not known. marked (n,) says that a defect has cells.
    digests are the SHA-256 of the picture files; empty for synthetic parts.
    """

    pictures: Array
    defect: Array
    cells: Array
    marked: Array
    digests: tuple[bytes, ...]
    names: tuple[str, ...]
    types: tuple[str, ...]


class Row(msgspec.Struct, frozen=True):
    """One picture of a folder, before it is read."""

    path: Path
    defect: bool
    split: str
    type: str = ""
    reference: Path | None = None
    mask: Path | None = None
    boxes: Path | None = None


def load(data: Data, base: Path, split: str) -> Split:
    """Read one split (train, calib or test); `base` is the folder of the recipe."""
    if data.source == "synthetic":
        return _gathered(_synthetic(data, split), data, split)
    root = (base / data.root).resolve()
    chosen = [row for row in rows(root) if row.split == split]
    if not chosen or all(r.defect for r in chosen) or not any(r.defect for r in chosen):
        raise ConfigError(f"{data.root}: split {split} needs good and defect pictures")
    return _gathered((_read(row, data) for row in chosen), data, split)


def rows(root: Path) -> list[Row]:
    """Every picture below root with its label and split."""
    if (root / "manifest.csv").is_file():
        return _manifest_rows(root)
    if (root / "good").is_dir() and (root / "defect").is_dir():
        return _folder_rows(root)
    raise ConfigError(f"{root.name}: neither manifest.csv nor the folders good/ and defect/")


def _manifest_rows(root: Path) -> list[Row]:
    found = []
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if missing := {"path", "label", "split"} - set(line):
                raise ConfigError(f"{root.name}/manifest.csv: no column {sorted(missing)[0]}")
            if line["label"] not in ("good", "defect"):
                raise ConfigError(
                    f"{root.name}/manifest.csv: label {line['label']!r}: good, defect"
                )
            at = {k: root / line[k] for k in _PATHS if line.get(k)}
            found.append(
                Row(
                    path=root / line["path"],
                    defect=line["label"] == "defect",
                    split=line["split"],
                    type=line.get("defect_type", "") or "",
                    reference=at.get("reference_path"),
                    mask=at.get("mask_path"),
                    boxes=at.get("boxes_path"),
                )
            )
    return found


_PATHS = ("reference_path", "mask_path", "boxes_path")


def _folder_rows(root: Path) -> list[Row]:
    """good/ and defect/: 60 % train, 20 % calib, 20 % test, dealt by the file's own digest.

    By digest, so that a copy of a picture under another name lands in the same split.
    """
    found = []
    for label in ("good", "defect"):
        files = sorted(p for p in (root / label).rglob("*") if p.suffix.lower() in SUFFIXES)
        if len(files) < 10:
            raise ConfigError(f"{root.name}/{label}: {len(files)} pictures; at least 10 are needed")
        ranked = sorted(files, key=lambda p: hashlib.sha256(p.read_bytes()).digest())
        for rank, path in enumerate(ranked):
            place = rank % 5
            split = "calib" if place == 3 else "test" if place == 4 else "train"
            found.append(Row(path=path, defect=label == "defect", split=split))
    return found


_Sample = tuple[list[Array], bool, Array | None, bytes, str, str]


def views_of(path: Path, reference: Path | None, data: Data) -> Array:
    """One picture, and its reference where data.reference asks for it, as (views, H, W) uint8."""
    return np.stack(_read(Row(path, False, "", reference=reference), data)[0])


def _read(row: Row, data: Data) -> _Sample:
    from sensors.fit import UnfitError

    picture, digest = _gray(row.path)
    try:
        views = [fitted(picture, data)]
        if data.reference:
            if row.reference is None:
                raise ConfigError(f"{row.path.name}: data.reference is set but it has no reference")
            views.append(fitted(_gray(row.reference)[0], data))
        mask = _marks(row, picture.shape)
        if mask is not None:
            mask = fitted(mask, msgspec.structs.replace(data, fill=0))
    except UnfitError as error:
        raise ConfigError(f"{row.path.name}: {error}") from None
    return views, row.defect, mask, digest, row.path.name, row.type


def _marks(row: Row, shape: tuple[int, ...]) -> Array | None:
    """The marked pixels of a picture, 255 on 0, from its boxes or its mask."""
    if row.boxes is not None:
        marks = np.zeros(shape, np.uint8)
        for line in row.boxes.read_text(encoding="utf-8").splitlines():
            x1, y1, x2, y2 = (int(v) for v in line.split()[:4])
            marks[y1:y2, x1:x2] = 255
        return marks
    if row.mask is not None:
        return (_gray(row.mask)[0] > 127).astype(np.uint8) * 255
    return None


def _gray(path: Path) -> tuple[Array, bytes]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read: {error.strerror}") from None
    picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ConfigError(f"{path.name}: not a picture that can be decoded")
    return np.asarray(picture), hashlib.sha256(raw).digest()


def fitted(picture: Array, data: Data) -> Array:
    """The picture as the station will write it into the slot: (H, W) uint8 of data.size_px."""
    from sensors.fit import fit_into

    out = np.empty(data.size_px, np.uint8)
    fit_into(picture, view_of(data, "image"), out)
    return out


def view_of(data: Data, name: str) -> ViewSpec:
    """The manifest's view of that name."""
    kind: Literal["picture", "reference"] = "reference" if name == "reference" else "picture"
    return ViewSpec(name, kind, "uint8", data.size_px, Fit(mode=data.fit, fill=data.fill))


def _synthetic(data: Data, split: str) -> Iterator[_Sample]:
    from sensors.synthetic import PartGenerator

    first, last = getattr(data, f"{split}_seeds")
    for seed in range(first, last + 1):
        generator = PartGenerator(seed)
        for index in range(data.parts_per_seed):
            part = generator.part(index)
            defect = part.label == "defect"
            name = f"seed{seed}/{index}"
            yield [fitted(part.image, data)], defect, part.mask, b"", name, part.defect_type or ""


def cells_of(mask: Array, cell_px: int = CELL_PX) -> Array:
    """Marked pixels (H, W) as cells (H/8, W/8) uint8: 1 defective, 0 good, 255 not known."""
    height, width = mask.shape
    marked = (mask > 127).reshape(height // cell_px, cell_px, width // cell_px, cell_px)
    share = marked.mean(axis=(1, 3))
    cells = np.where(share >= CELL_SHARE, 1, np.where(share > 0, IGNORED, 0)).astype(np.uint8)
    if share.max() > 0:
        cells[share >= share.max()] = 1  # a defect smaller than a cell still has one
    return cells


def _gathered(samples: Iterator[_Sample], data: Data, split: str) -> Split:
    pictures, defect, cells, marked, digests, names, types = [], [], [], [], [], [], []
    blank = np.zeros((data.size_px[0] // CELL_PX, data.size_px[1] // CELL_PX), np.uint8)
    for views, is_defect, mask, digest, name, kind in samples:
        pictures.append(np.stack(views))
        has_marks = is_defect and mask is not None and bool((mask > 127).any())
        cells.append(cells_of(mask) if has_marks and mask is not None else blank)
        defect.append(is_defect)
        marked.append(has_marks)
        digests.append(digest)
        names.append(name)
        types.append(kind)
    if not pictures:
        raise ConfigError(f"split {split}: no pictures")
    return Split(
        pictures=np.stack(pictures),
        defect=np.array(defect, bool),
        cells=np.stack(cells),
        marked=np.array(marked, bool),
        digests=tuple(d for d in digests if d),
        names=tuple(names),
        types=tuple(types),
    )
