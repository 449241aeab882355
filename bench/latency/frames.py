"""The pictures of a latency run, in memory before it starts: real ones, or drawn to fit.

A picture that a package's envelope refuses is never scored, and a run on such pictures would
measure the wrong path: so every picture shown has passed the package's own gauge.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.latency.draw import drawn
from edge.core.errors import EdgeError, FootageError
from edge.core.types import ViewSpec
from models.envelope import Gauge
from models.package import Package
from sensors.footage import open_footage
from sensors.grabber import UnreadError
from sensors.synthetic import FIRST_UNSEEN_SEED, PartGenerator

MOST = 64  # pictures shown in turn
DRAWN = 24
LEAST = 4  # fewer would let a part find its own bytes in the caches
SMALLEST_PX = 64  # of the generator's pictures
SEED, DEFECT_SHARE = FIRST_UNSEEN_SEED + 70_000, 0.1

Part = dict[str, npt.NDArray[Any]]


class Frames(NamedTuple):
    """Parts as arrays by view name, and one line that says where they come from."""

    parts: list[Part]
    source: str


def frames(model: Package, footage: Path | None = None) -> Frames:
    """Fit pictures for a package: footage, its test data beside the checkout, synthetic parts
    where its envelope admits them, or patterns.

    EdgeError where none can be had that the package's envelope admits.
    """
    beside = _beside(model.manifest.name)
    if footage is not None:
        return _admitted(model, _of_footage(model, footage), f"{footage}, as recorded")
    if beside is not None:
        return _admitted(model, _of_footage(model, beside), f"the test split of {beside.name}")
    if parts := _synthetic(model):
        with suppress(EdgeError):  # another product
            return _admitted(model, parts, f"synthetic parts, seed {SEED}")
    return drawn_frames(model)


def drawn_frames(model: Package) -> Frames:
    """Patterns drawn to lie within the package's envelope; EdgeError asks for --footage."""
    name = model.manifest.name
    try:
        return _admitted(model, drawn(model.manifest, DRAWN), "patterns drawn to fit the envelope")
    except EdgeError as error:
        raise EdgeError(
            f"{name}: no picture could be drawn that its envelope admits ({error}): "
            "give pictures of the product with --footage PATH"
        ) from None


def _beside(name: str) -> Path | None:
    """A data set of the package's own name, where the checkout has the shared data beside it."""
    folder = Path(__file__).parents[2].parent / "shared" / "data" / name
    return folder if folder.is_dir() else None


def _of_footage(model: Package, path: Path) -> list[Part]:
    views = model.manifest.views
    footage, parts = open_footage(path, split="test", views=views), []
    reader = footage.reader()
    try:
        for row in range(min(MOST, len(footage))):
            part = _empty(views)
            with suppress(UnreadError):  # a broken file is not shown
                reader.fill(row, part)
                parts.append(part)
    finally:
        reader.close()
    if not parts:
        raise FootageError(f"{path}: none of the first {MOST} rows can be read")
    return parts


def _synthetic(model: Package) -> list[Part]:
    """The generator's parts, for a package that takes one square gray picture; else none."""
    view, *more = model.manifest.views
    if more or view.kind != "picture" or len(view.shape) != 2:
        return []
    height, width = view.shape
    if height != width or height < SMALLEST_PX:
        return []
    generator = PartGenerator(SEED, size_px=height, defect_share=DEFECT_SHARE)
    return [{view.name: generator.part(index).image} for index in range(1, MOST + 1)]


def _empty(views: Sequence[ViewSpec]) -> Part:
    return {view.name: np.zeros(view.shape, view.dtype) for view in views}


def _admitted(model: Package, parts: list[Part], source: str) -> Frames:
    """The parts that the package's gauge finds fit; EdgeError names why where too few are."""
    manifest = model.manifest
    gauge = Gauge(manifest.views, manifest.envelope)
    reasons = [gauge.unfit(part) for part in parts]
    fit = [part for part, reason in zip(parts, reasons, strict=True) if not reason]
    if len(fit) < min(LEAST, len(parts)):
        why = next(reason for reason in reasons if reason)
        raise EdgeError(
            f"{source}: {len(parts) - len(fit)} of {len(parts)} pictures are unfit for "
            f"{manifest.name}: {why}"
        )
    left_out = len(parts) - len(fit)
    return Frames(fit, source + (f", without {left_out} unfit ones" if left_out else ""))


def save(folder: Path, shown: Frames) -> None:
    """Write the parts where the station process finds them, one file a view."""
    for name in shown.parts[0]:
        np.save(folder / f"view-{name}.npy", np.stack([part[name] for part in shown.parts]))


def load(folder: Path, views: Sequence[ViewSpec]) -> list[Part]:
    """The parts that `save` has written."""
    stacks = {view.name: np.load(folder / f"view-{view.name}.npy") for view in views}
    count = len(next(iter(stacks.values())))
    return [{name: stack[place] for name, stack in stacks.items()} for place in range(count)]
