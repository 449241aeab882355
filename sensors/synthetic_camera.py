"""Synthetic parts as rows for a camera, and as a data-set folder; part n is the same in both."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path

import cv2

from edge.core.pool import View
from edge.core.types import Fault, ViewSpec
from sensors.align import References, UnplacedError
from sensors.fit import Scratch, UnfitError, fit_into
from sensors.grabber import UnreadError
from sensors.scheduled import Label, Reader
from sensors.synthetic import PartGenerator

NS_PER_S = 1_000_000_000
MANIFEST_COLUMNS = (
    *("path", "label", "defect_type", "mask_path", "boxes_path", "group", "split"),
    *("width", "height", "mode", "bytes", "sha256", "reference_path", "source_path"),
    *("meta", "notes"),
)
FOOTAGE_COLUMNS = ("seq", "timestamp_ns", "path", "label", "defect_type", "group", "repeat")


class SyntheticRows:
    """`Rows` over a generator: part n is its part n, at rate_hz parts a second.

    Every picture view shows the part, a reference view its good twin; a view of samples is
    filled with zeros. parts: None for no end.
    """

    def __init__(
        self,
        generator: PartGenerator,
        views: tuple[ViewSpec, ...],
        *,
        rate_hz: float,
        parts: int | None = None,
    ) -> None:
        if rate_hz <= 0.0:
            raise ValueError(f"rate_hz {rate_hz:g}: above 0")
        self._generator, self._views = generator, views
        self._rate_hz, self._parts = rate_hz, parts

    @property
    def parts(self) -> int | None:
        return self._parts

    def arrival_ns(self, row: int) -> int:
        return round(row * NS_PER_S / self._rate_hz)

    def label(self, part: int) -> Label | None:
        return self._generator.label(part)

    def defect_type(self, part: int) -> str:
        return self._generator.defect_type(part)

    def encoder(self, row: int) -> int | None:
        return None

    def reader(self) -> Reader:
        return _Renderer(self._generator, self._views)


class _Renderer:
    def __init__(self, generator: PartGenerator, views: tuple[ViewSpec, ...]) -> None:
        self._generator, self._views = generator, views
        self._scratch: Scratch = {}
        self._references = References(views)

    def fill(self, row: int, arrays: Mapping[str, View]) -> int:
        index = row + 1
        part = self._generator.part(index)
        for spec in self._views:
            out = arrays[spec.name]
            if spec.kind == "samples":
                out.fill(0)
                continue
            image = self._generator.twin(index).image if spec.kind == "reference" else part.image
            try:
                fit_into(image, spec, out, scratch=self._scratch)
            except UnfitError as why:
                raise UnreadError(Fault.BAD_FRAME, f"synthetic part {index}: {why}") from None
        try:
            return self._references.place(arrays)
        except UnplacedError as why:
            raise UnreadError(Fault.UNFIT_IMAGE, f"synthetic part {index}: {why}") from None

    def close(self) -> None:
        """Nothing is held open between rows."""


def write_footage(
    generator: PartGenerator,
    folder: str | Path,
    parts: int,
    *,
    first: int = 1,
    split: str = "test",
    rate_hz: float = 20.0,
) -> Path:
    """Render parts into a data-set folder: images, masks, references, manifest.csv, footage.csv.

    Pictures are lossless PNG, so reading them gives the generator's bytes. The good twin of a
    defective part is written as its reference; a good part is its own. Returns the folder.
    """
    folder = Path(folder)
    for name in ("images", "masks", "references"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    manifest: list[dict[str, str | int]] = []
    for index in range(first, first + parts):
        part = generator.part(index)
        image = folder / "images" / f"{index:06d}.png"
        reference, mask = image, None
        _write_png(image, part.image)
        if part.label == "defect":
            mask, reference = folder / "masks" / image.name, folder / "references" / image.name
            _write_png(mask, part.mask)
            _write_png(reference, generator.twin(index).image)
        data = image.read_bytes()
        manifest.append(
            {
                "path": image.relative_to(folder).as_posix(),
                "label": part.label,
                "defect_type": part.defect_type,
                "mask_path": mask.relative_to(folder).as_posix() if mask else "",
                "group": f"part{index:06d}",
                "split": split,
                "width": generator.size_px,
                "height": generator.size_px,
                "mode": "L",
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "reference_path": reference.relative_to(folder).as_posix(),
                "meta": f"seed={generator.seed};index={index}",
            }
        )
    footage = [
        {**row, "seq": seq, "timestamp_ns": round(seq * NS_PER_S / rate_hz), "repeat": 0}
        for seq, row in enumerate(manifest)
    ]
    _write_csv(folder / "manifest.csv", MANIFEST_COLUMNS, manifest)
    _write_csv(folder / "footage.csv", (*FOOTAGE_COLUMNS, "reference_path"), footage)
    return folder


def _write_png(path: Path, picture: View) -> None:
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"{path}: cannot be written")


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, str | int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
