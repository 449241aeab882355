"""Pictures, marks and digests of a recipe's data, by split, in plain arrays.

Three sources: a folder with manifest.csv (splits given), a folder pair good/ and defect/
(split here), and the synthetic part generator. A split stays in memory as uint8.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.errors import ConfigError
from edge.core.types import Fit, ViewSpec
from models.build.precision import Box
from models.build.recipe import Data
from models.splits import dealt

CELL_PX = 8
IGNORED = 255
# A cell counts as defective from this share of marked pixels on; below it the cell is left out
# of the loss, since boxes are looser than the defects they hold.
CELL_SHARE = 0.2
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

Array = npt.NDArray[Any]


class Split(msgspec.Struct, frozen=True):
    """One split. pictures (n, views, H, W) uint8; defect (n,) bool.

    marks: of each defect that is marked the mask (H, W) uint8, 255 on 0; None for the others.
    boxes: of each picture the defects that are marked by boxes, in its own pixels; empty where
    pictures are not taken as they are. unfit: of each part whether its reference could not be
    registered, which a line refuses to judge.
    groups name the physical part or design; a picture without one is its own. digests are the
    SHA-256 of the picture files; empty for synthetic parts.
    """

    pictures: Array
    defect: Array
    marks: tuple[Array | None, ...]
    digests: tuple[bytes, ...]
    names: tuple[str, ...]
    types: tuple[str, ...]
    groups: tuple[str, ...]
    boxes: tuple[tuple[Box, ...], ...] = ()
    unfit: tuple[bool, ...] = ()

    @property
    def marked(self) -> Array:
        """(n,) bool: defects whose place is known."""
        return np.array([mask is not None for mask in self.marks], bool)

    def type_names(self) -> tuple[str, ...]:
        """The single types of this split's defects, in order of the alphabet."""
        return tuple(sorted({kind for kind in self.types if kind and "+" not in kind}))

    def of(self, chosen: Array) -> Split:
        """The parts at these places, in this order."""

        def kept(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[place] for place in chosen) if column else ()

        return Split(
            pictures=self.pictures[chosen],
            defect=self.defect[chosen],
            marks=kept(self.marks),
            digests=kept(self.digests),
            names=kept(self.names),
            types=kept(self.types),
            groups=kept(self.groups),
            boxes=kept(self.boxes),
            unfit=kept(self.unfit),
        )


class Row(msgspec.Struct, frozen=True):
    """One picture of a folder, before it is read."""

    path: Path
    defect: bool
    split: str
    type: str = ""
    reference: Path | None = None
    mask: Path | None = None
    boxes: Path | None = None
    group: str = ""


def load(data: Data, base: Path, split: str) -> Split:
    """Read one split (train, calib or test); `base` is the folder of the recipe."""
    if data.source == "synthetic":
        return _gathered(_synthetic(data, split), split)
    root = (base / data.root).resolve()
    chosen = [row for row in rows(root, data.leave_out) if row.split == split]
    if not chosen or all(r.defect for r in chosen) or not any(r.defect for r in chosen):
        raise ConfigError(f"{data.root}: split {split} needs good and defect pictures")
    read = (_read(row, data) for row in chosen)
    # A line would refuse it: no use to learn from, but calib and test have to count it.
    return _gathered((one for one in read if not (one.unfit and split == "train")), split)


# The groups of the boards that are drawn beside a set's own pictures.
DRAWN, ROUTED = "drawn", "routed"


def with_drawn(train: Split, data: Data) -> Split:
    """The train split and the good boards that the recipe has drawn beside it."""
    if not data.drawn_boards and not data.routed_boards:
        return train
    from models.build.layouts import layout, pictured
    from models.build.routes import routed

    views = train.pictures.shape[1]

    def boards() -> Iterator[_Sample]:
        for count, draw, group in (
            (data.drawn_boards, layout, DRAWN),
            (data.routed_boards, routed, ROUTED),
        ):
            for seed in range(count):
                parts = list(pictured(seed, data.size_px, draw))[:views]
                yield _Sample(parts, False, f"{group} {seed}", group)

    more = _gathered(boards(), DRAWN)
    return Split(
        pictures=np.concatenate([train.pictures, more.pictures]),
        defect=np.concatenate([train.defect, more.defect]),
        marks=train.marks + more.marks,
        digests=train.digests,
        names=train.names + more.names,
        types=train.types + more.types,
        groups=train.groups + more.groups,
        boxes=train.boxes + ((),) * len(more.names) if train.boxes else (),
        unfit=train.unfit + more.unfit,
    )


def rows(root: Path, leave_out: Sequence[str] = ()) -> list[Row]:
    """Every picture below root with its label and split, but train pictures with such a note.

    leave_out: words of the manifest's `notes`. Calib and test keep theirs: what a line sends is
    not chosen.
    """
    if (root / "manifest.csv").is_file():
        return _manifest_rows(root, leave_out)
    if (root / "good").is_dir() and (root / "defect").is_dir():
        return _folder_rows(root)
    raise ConfigError(f"{root.name}: neither manifest.csv nor the folders good/ and defect/")


def _manifest_rows(root: Path, leave_out: Sequence[str]) -> list[Row]:
    found = []
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if missing := {"path", "label", "split"} - set(line):
                raise ConfigError(f"{root.name}/manifest.csv: no column {sorted(missing)[0]}")
            if line["label"] not in ("good", "defect"):
                raise ConfigError(
                    f"{root.name}/manifest.csv: label {line['label']!r}: good, defect"
                )
            notes = line.get("notes") or ""
            if line["split"] == "train" and any(word in notes for word in leave_out):
                continue
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
                    group=line.get("group") or "",
                )
            )
    return found


_PATHS = ("reference_path", "mask_path", "boxes_path")


def _folder_rows(root: Path) -> list[Row]:
    """good/ and defect/: 60 % train, 20 % calib, 20 % test, dealt by the file's own digest.

    By digest, so that a copy of a picture under another name lands in the same split.
    """
    found: list[Row] = []
    good: dict[bytes, str] = {}
    for label in ("good", "defect"):
        files = sorted(p for p in (root / label).rglob("*") if p.suffix.lower() in SUFFIXES)
        if len(files) < 10:
            raise ConfigError(f"{root.name}/{label}: {len(files)} pictures; at least 10 are needed")
        digests = {path: hashlib.sha256(path.read_bytes()).digest() for path in files}
        for path, digest in digests.items():
            if label == "defect" and digest in good:
                raise ConfigError(
                    f"{path}: the same file as good/{good[digest]}, which has the other label"
                )
        good |= {digest: path.name for path, digest in digests.items()}
        split_of = dealt(digests.values())
        for path in sorted(files, key=lambda p: digests[p]):
            found.append(Row(path=path, defect=label == "defect", split=split_of[digests[path]]))
    return found


class _Sample(NamedTuple):
    """One part as it goes into a Split; unfit where its reference could not be registered."""

    views: list[Array]
    defect: bool
    name: str
    group: str
    mask: Array | None = None
    digest: bytes = b""
    type: str = ""
    boxes: tuple[Box, ...] = ()
    unfit: bool = False


def views_of(path: Path, reference: Path | None, data: Data) -> Array:
    """One picture, and its reference where data.reference asks for it, as (views, H, W) uint8."""
    return np.stack(_read(Row(path, False, "", reference=reference), data).views)


def _read(row: Row, data: Data) -> _Sample:
    from sensors.fit import UnfitError

    picture, digest = _gray(row.path)
    placed = True
    try:
        views = [fitted(picture, data)]
        if data.reference:
            if row.reference is None:
                raise ConfigError(f"{row.path.name}: data.reference is set but it has no reference")
            views.append(fitted(_gray(row.reference)[0], data))
            placed = data.align == "none" or _placed(views)
        mask = _marks(row, picture.shape)
        if mask is not None:
            mask = fitted(mask, msgspec.structs.replace(data, fill=0))
    except UnfitError as error:
        raise ConfigError(f"{row.path.name}: {error}") from None
    return _Sample(
        views=views,
        defect=row.defect,
        name=row.path.name,
        group=row.group or row.path.name,
        mask=mask,
        digest=digest,
        type=row.type,
        boxes=_boxes(row) if data.fit == "exact" else (),
        unfit=not placed,
    )


def _placed(views: list[Array]) -> bool:
    """Register the reference, views[1], in place; left where it was if that fails."""
    from sensors.align import registered

    out = np.empty_like(views[1])
    ok = registered(views[1], views[0], out).ok
    if ok:
        views[1] = out
    return ok


def _marks(row: Row, shape: tuple[int, ...]) -> Array | None:
    """The marked pixels of a picture, 255 on 0, from its boxes or its mask."""
    if row.boxes is not None:
        marks = np.zeros(shape, np.uint8)
        for box in _boxes(row):
            marks[int(box.y1) : int(box.y2), int(box.x1) : int(box.x2)] = 255
        return marks
    if row.mask is not None:
        return (_gray(row.mask)[0] > 127).astype(np.uint8) * 255
    return None


def _boxes(row: Row) -> tuple[Box, ...]:
    """The boxes of a defect, all of the picture's type: lines of x1 y1 x2 y2 and more."""
    if row.boxes is None:
        return ()
    found = []
    for line in row.boxes.read_text(encoding="utf-8").splitlines():
        x1, y1, x2, y2 = (float(value) for value in line.split()[:4])
        found.append(Box(x1, y1, x2, y2, row.type))
    return tuple(found)


def _gray(path: Path) -> tuple[Array, bytes]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read: {error.strerror}") from None
    picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ConfigError(f"{path}: not a picture that can be decoded")
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
    align = data.align if kind == "reference" else "none"
    fit = Fit(mode=data.fit, fill=data.fill)
    return ViewSpec(name, kind, "uint8", data.size_px, fit, align=align)


def _synthetic(data: Data, split: str) -> Iterator[_Sample]:
    from sensors.synthetic import PartGenerator

    first, last = getattr(data, f"{split}_seeds")
    for seed in range(first, last + 1):
        generator = PartGenerator(seed)
        for index in range(data.parts_per_seed):
            part = generator.part(index)
            defect = part.label == "defect"
            name = f"seed{seed}/{index}"
            views, kind = [fitted(part.image, data)], part.defect_type or ""
            yield _Sample(views, defect, name, name, mask=part.mask, type=kind)


def cells_of(mask: Array, cell_px: int = CELL_PX) -> Array:
    """Marked pixels (H, W) as cells (H/8, W/8) uint8: 1 defective, 0 good, 255 not known."""
    height, width = mask.shape
    marked = (mask > 127).reshape(height // cell_px, cell_px, width // cell_px, cell_px)
    share = marked.mean(axis=(1, 3))
    cells = np.where(share >= CELL_SHARE, 1, np.where(share > 0, IGNORED, 0)).astype(np.uint8)
    if share.max() > 0:
        cells[share >= share.max()] = 1  # a defect smaller than a cell still has one
    return cells


def _gathered(samples: Iterator[_Sample], split: str) -> Split:
    found = list(samples)
    if not found:
        raise ConfigError(f"split {split}: no pictures")
    return Split(
        pictures=np.stack([np.stack(one.views) for one in found]),
        defect=np.array([one.defect for one in found], bool),
        marks=tuple(
            one.mask if one.defect and one.mask is not None and (one.mask > 127).any() else None
            for one in found
        ),
        digests=tuple(one.digest for one in found if one.digest),
        names=tuple(one.name for one in found),
        types=tuple(one.type for one in found),
        groups=tuple(one.group for one in found),
        boxes=tuple(one.boxes for one in found) if any(one.boxes for one in found) else (),
        unfit=tuple(one.unfit for one in found),
    )
