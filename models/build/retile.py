"""A package of the same weights for tiles of another size, or for several tiles at once.

    python -m models.build.retile PACKAGE FILE [--tile-px ROWSxCOLUMNS] [--batch N] [--twin FILE]

Larger tiles have fewer pixels in their overlaps. A batch gains nothing on a processor; on a device
each run costs the start of some 40 kernels whatever it holds, so there it pays (docs/packages.md).
What comes out judges nothing but tiles of frames. Weights, thresholds, envelope, terms and seen
pictures are the old package's. Figures are not: they were measured on single parts by another
graph, and `extra.made_of` says which package to ask for them. The golden set of larger tiles is
made of the old one's pictures (models/build/composites.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx

from edge.core.errors import ConfigError, EdgeError
from edge.core.types import ViewSpec
from models import golden
from models.build import measure
from models.build.composites import composites, samples
from models.build.export import batched, resized
from models.build.golden import choose, of_twin
from models.manifest import Figures, Manifest
from models.package import Package, find, load, seal, unsealed
from models.tiles import cells_of, overlap_px

_MAX_COUNT = 256
_MAX_SIDE_PX = 2048  # a tile beyond the caches costs more than its overlap saves
# Operators of models/build/export.py that see a neighbourhood at most, or the map as a whole.
_LOCAL = frozenset(
    (
        "Add",
        "ArgMax",
        "Cast",
        "Concat",
        "Conv",
        "DequantizeLinear",
        "QuantizeLinear",
        "ReduceMax",
        "Relu",
        "Reshape",
        "Sigmoid",
    )
)
# Between a twin's scores here and those on record; another processor adds in another order.
_TWIN_DELTA = 1e-3


class _Made(NamedTuple):
    """What a package file is sealed from."""

    model: Any
    manifest: Manifest
    golden: str


def retiled(
    package: Package,
    *,
    tile_px: tuple[int, int] | None = None,
    batch: int = 1,
    twin: Package | None = None,
) -> bytes:
    """The new package file's bytes; the same bytes on every call.

    tile_px: rows, columns of a tile; None leaves them. batch: tiles that the graph takes at once.
    twin: the FP32 twin, which larger tiles need for their golden set; by default the one that lies
    where `edge model build` writes it. ConfigError for what cannot be had, in one line.
    """
    name, tiling = package.manifest.name, package.manifest.tiling
    if tiling.tiles_only:
        raise ConfigError(f"{name}: made for tiles already; begin with the package it was made of")
    if tile_px is None and batch == 1:
        raise ConfigError(f"{name}: nothing to change: a tile's size, a batch, or both")
    made = _opened(package)
    if tile_px is not None:
        made = _larger(package, made, tile_px, twin or _twin_of(package))
    if batch != 1:
        made = _by(made, batch)
    origin = f"{name}@{package.manifest.version} {package.content_sha256}"
    manifest = msgspec.structs.replace(
        made.manifest, figures=Figures(), extra={**made.manifest.extra, "made_of": origin}
    )
    return seal(made.model.SerializeToString(deterministic=True), manifest, made.golden)


def _opened(package: Package) -> _Made:
    """ConfigError for a graph that models/build did not make."""
    model = onnx.load_model_from_string(unsealed(package.model_bytes()))
    names = {weight.name for weight in model.graph.initializer}
    others = sorted({node.op_type for node in model.graph.node} - _LOCAL)
    if not {"map.shape", "score.shape"} <= names or others:
        why = f" (it has {', '.join(others)})" if others else ""
        raise ConfigError(f"{package.manifest.name}: not a graph of `edge model build`{why}")
    return _Made(model, package.manifest, (package.golden_bytes() or b"").decode())


def _by(made: _Made, count: int) -> _Made:
    manifest = made.manifest
    if not 2 <= count <= _MAX_COUNT:
        raise ConfigError(f"{manifest.name}: batch {count}: 2 to {_MAX_COUNT}")
    tiling = msgspec.structs.replace(manifest.tiling, batch=count)
    manifest = msgspec.structs.replace(manifest, name=f"{manifest.name}-by-{count}", tiling=tiling)
    return _Made(batched(made.model, count), manifest, made.golden)


def _larger(package: Package, made: _Made, tile_px: tuple[int, int], twin: Package) -> _Made:
    manifest = of_tiles(package.manifest, tile_px)
    held = golden.load(package)
    if held is None:
        raise ConfigError(f"{package.manifest.name}: no golden set to make one of larger tiles of")
    fp32 = _opened(twin).model
    _check_twin(held, twin)
    model, reference = resized(made.model, tile_px), resized(fp32, tile_px)
    names = [view.name for view in manifest.views]
    limits = manifest.thresholds
    chosen = choose(
        composites(held, limits, tile_px),
        measure.score_of(reference.SerializeToString(), names),
        measure.score_of(model.SerializeToString(), names),
        limits,
        samples(held, tile_px),
    )
    parts = of_twin(chosen.parts) if manifest.precision == "fp32" else chosen.parts
    manifest = msgspec.structs.replace(manifest, gate=chosen.gate)
    return _Made(model, manifest, golden.encoded(list(parts)))


def of_tiles(manifest: Manifest, tile_px: tuple[int, int]) -> Manifest:
    """The manifest of tiles of that size; ConfigError for a size that it cannot have."""
    side, cell = manifest.picture().shape[:2], manifest.outputs.cell_px
    cells_of(manifest)
    if tile_px == side or any(
        size % cell or not least <= size <= _MAX_SIDE_PX
        for size, least in zip(tile_px, side, strict=True)
    ):
        raise ConfigError(
            f"tile {tile_px[0]}x{tile_px[1]}: {manifest.name} takes multiples of {cell}, larger "
            f"than {side[0]}x{side[1]}, {_MAX_SIDE_PX} at most"
        )
    rows, columns = (size // cell for size in tile_px)
    views = tuple(_sized(view, tile_px) for view in manifest.views)
    outputs = msgspec.structs.replace(
        manifest.outputs, map_shape=(rows, columns) if manifest.outputs.map else None
    )
    tiling = msgspec.structs.replace(
        manifest.tiling, min_overlap_px=overlap_px(manifest), envelope_px=(side[0], side[1])
    )
    name = f"{manifest.name}-{tile_px[0]}x{tile_px[1]}"
    return msgspec.structs.replace(manifest, name=name, views=views, outputs=outputs, tiling=tiling)


def _sized(view: ViewSpec, tile_px: tuple[int, int]) -> ViewSpec:
    return msgspec.structs.replace(view, shape=(*tile_px, *view.shape[2:]))


def _twin_of(package: Package) -> Package:
    """The package itself where it is FP32, else the twin beside it."""
    if package.manifest.precision == "fp32":
        return package
    file = package.path.parent / "twins" / f"{package.manifest.name}-fp32.onnx"
    if not file.is_file():
        raise ConfigError(f"{package.manifest.name}: no FP32 twin at {file}; say where (--twin)")
    return load(file)


def _check_twin(held: golden.Golden, twin: Package) -> None:
    """ConfigError unless the twin gives the golden set's FP32 scores."""
    name = twin.manifest.name
    if twin.manifest.precision != "fp32" or twin.manifest.views != held.views:
        raise ConfigError(f"{name}: no FP32 twin of {held.name}: other views, or not FP32")
    score = measure.score_of(twin.model_bytes(), [view.name for view in held.views])
    for part, arrays in zip(held.parts, held.pictures(), strict=True):
        found = score(np.stack([arrays[view.name] for view in held.views]))
        if not abs(found - part.fp32) <= _TWIN_DELTA:
            raise ConfigError(
                f"{name}: no FP32 twin of {held.name}: {part.name} scores {found:.4f}, "
                f"{part.fp32:.4f} is on record"
            )


def _size(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: ROWSxCOLUMNS, as 560x536")
    return int(rows), int(columns)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 with one line about why not."""
    parser = argparse.ArgumentParser(prog="retile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package", metavar="PACKAGE", help="by name, or a file")
    parser.add_argument("file", metavar="FILE", type=Path, help="the package to write")
    parser.add_argument("--tile-px", metavar="ROWSxCOLUMNS", type=_size)
    parser.add_argument("--batch", metavar="N", type=int, default=1)
    parser.add_argument("--twin", metavar="FILE", help="its FP32 twin, where it lies elsewhere")
    asked = parser.parse_args(arguments)
    try:
        twin = load(asked.twin) if asked.twin else None
        package = find(asked.package)
        asked.file.write_bytes(
            retiled(package, tile_px=asked.tile_px, batch=asked.batch, twin=twin)
        )
    except (EdgeError, OSError) as error:
        print(f"retile: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
