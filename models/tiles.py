"""Tiles of a big frame: where they lie, which of them owns which cell, and the frame's manifest.

A frame larger than a package's input is judged in tiles of that input's size. Tiles overlap, and
each cell of the frame's map is taken from the tile in whose interior it lies: the border between
two tiles runs along the middle of their overlap. A network sees zeros where its input ends, so a
cell is the more like that of one large picture the farther it is from its tile's edge. (The
larger of the two cells would keep every defect too, but also what only the zeros look like.)

Everything lies on whole cells, so that the frame's map is one regular grid and a region across a
seam is one region. Where a tile's pixel is the mean of shrink x shrink pixels of the frame, a cell
is so many times larger in the frame: regions come out in pixels of the frame.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import msgspec

from edge.core.config import TileOptions
from edge.core.errors import ConfigError
from edge.core.types import Fit, ViewSpec
from models.manifest import Envelope, Manifest
from models.package import Package

# Of a tile's shorter side, where the manifest states no overlap.
OVERLAP_SHARE = 5
_MAX_SIDE_PX = 16384
# Providers whose sessions of one thread run side by side; on others one session has all threads.
SIDE_BY_SIDE = frozenset(("cpu", "openvino"))


class Span(NamedTuple):
    """A tile along one axis, in cells: where it begins, and the cells that it owns."""

    start: int
    first: int
    last: int  # behind the last one


class Tile(NamedTuple):
    """One tile: what it takes of the frame, and what its map gives to the frame's map."""

    frame: tuple[slice, slice]  # pixels of the frame
    owned: tuple[slice, slice]  # cells of the frame's map
    inside: tuple[slice, slice]  # the same cells in the tile's own map


class Lanes(NamedTuple):
    """How many sessions judge tiles side by side, and with how many threads each.

    cpus: processors of all lanes but the first, which is the judging thread's own.
    """

    number: int
    threads: int
    cpus: tuple[int, ...] = ()


def lanes_of(provider: str, threads: int, cpus: tuple[int, ...] = ()) -> Lanes:
    """The lanes of a worker that may use so many threads; cpus: for all but the judging one."""
    return Lanes(threads, 1, cpus) if provider in SIDE_BY_SIDE else Lanes(1, threads)


def rounds(manifest: Manifest, options: TileOptions, lanes: Lanes) -> int:
    """How many runs of a session follow one another in judging one frame.

    A frame's budget divided by it is what one run of a session with lanes.threads may take.
    """
    runs = -(-len(tiles_of(manifest, options)) // manifest.tiling.batch)
    return -(-runs // lanes.number)


def spans(frame: int, tile: int, overlap: int) -> tuple[Span, ...]:
    """Tiles that cover `frame` cells, evenly spread, neighbours sharing `overlap` cells at least.

    tile: cells of one tile, at most `frame`. 0 <= overlap < tile.
    """
    count = max(1, math.ceil((frame - overlap) / (tile - overlap)))
    starts = [place * (frame - tile) // max(1, count - 1) for place in range(count)]
    borders = [0, *((one + tile + two) // 2 for one, two in pairwise(starts))]
    ends = [*borders[1:], frame]
    return tuple(Span(*row) for row in zip(starts, borders, ends, strict=True))


def tiles_of(manifest: Manifest, options: TileOptions) -> tuple[Tile, ...]:
    """The tiles of a frame, row by row; ConfigError where the package or the frame has none.

    manifest: the package's own, of one tile.
    """
    side, across = cells_of(manifest), _frame_cells(manifest, options)
    overlap = _overlap_cells(manifest, options)
    down, along = (spans(*axis) for axis in zip(across, side, (overlap, overlap), strict=True))
    pixels = manifest.outputs.cell_px * options.shrink
    return tuple(
        Tile(
            (_frame(row, side[0], pixels), _frame(column, side[1], pixels)),
            (slice(row.first, row.last), slice(column.first, column.last)),
            (_inside(row), _inside(column)),
        )
        for row in down
        for column in along
    )


def cells_of(manifest: Manifest) -> tuple[int, int]:
    """A tile in cells; ConfigError for a package that cannot be laid in tiles."""
    tile, cell = manifest.picture().shape[:2], manifest.outputs.cell_px
    others = [view for view in manifest.views if view.kind == "samples" or view.shape[:2] != tile]
    if others:
        raise ConfigError(f"{manifest.name}: view {others[0].name} is no picture of a tile's size")
    rows, columns = tile[0] // cell, tile[1] // cell
    of_map = manifest.outputs.map_shape if manifest.outputs.map else (rows, columns)
    if of_map != (rows, columns) or (rows * cell, columns * cell) != tile:
        raise ConfigError(f"{manifest.name}: its map does not cover its picture: no tiles")
    return rows, columns


def overlap_px(manifest: Manifest) -> int:
    """What neighbouring tiles share at least where the station does not say: in tile pixels."""
    least = manifest.tiling.min_overlap_px
    return least or min(manifest.picture().shape[:2]) // OVERLAP_SHARE


def windows(manifest: Manifest) -> Manifest:
    """The manifest of tiles as large as the pictures that the envelope was learned on.

    Tiles of it lie where those of the package lay that larger tiles were made of
    (models/build/retile.py), so that a frame is fit to both or to neither.
    """
    size, cell = manifest.tiling.envelope_px, manifest.outputs.cell_px
    if size is None:
        return manifest
    views = tuple(
        msgspec.structs.replace(view, shape=(*size, *view.shape[2:])) for view in manifest.views
    )
    shape = (size[0] // cell, size[1] // cell) if manifest.outputs.map else None
    outputs = msgspec.structs.replace(manifest.outputs, map_shape=shape)
    return msgspec.structs.replace(manifest, views=views, outputs=outputs)


def whole(manifest: Manifest, options: TileOptions) -> Manifest:
    """What a package is to a station that shows it frames: views, map and cells of the frame.

    The envelope is left out, since its bounds were measured on pictures of one tile's size:
    models/tiled_fit.py holds the tiles against it. ConfigError where the two do not go together.
    """
    rows, columns = _frame_cells(manifest, options)
    _overlap_cells(manifest, options)  # refused now, not in the worker
    outputs = msgspec.structs.replace(
        manifest.outputs,
        map_shape=(rows, columns) if manifest.outputs.map else None,
        cell_px=manifest.outputs.cell_px * options.shrink,
    )
    views = tuple(
        msgspec.structs.replace(
            view,
            shape=(*options.frame_px, *view.shape[2:]),
            fit=Fit(options.fit, view.fit.fill),
        )
        for view in manifest.views
    )
    return msgspec.structs.replace(manifest, views=views, outputs=outputs, envelope=Envelope())


def shown(package: Package, options: TileOptions | None) -> Package:
    """The package as a station sees it: of whole frames where it is to cut tiles of them."""
    if options is None:
        tiling = package.manifest.tiling
        if not tiling.tiles_only:
            return package
        several = f"{tiling.batch} tiles at once" if tiling.batch > 1 else "tiles of frames"
        raise ConfigError(
            f"{package.manifest.name}: judges {several} and needs the table [engine.tiles]"
        )
    return msgspec.structs.replace(package, manifest=whole(package.manifest, options))


def batched(views: tuple[ViewSpec, ...], count: int) -> tuple[ViewSpec, ...]:
    """The views of so many tiles behind one another, as a graph with a batch takes them."""
    if count == 1:
        return views
    return tuple(msgspec.structs.replace(view, shape=(count, *view.shape)) for view in views)


def _frame_cells(manifest: Manifest, options: TileOptions) -> tuple[int, int]:
    """The frame in cells; ConfigError names sizes that would do."""
    side, pixels = cells_of(manifest), manifest.outputs.cell_px * options.shrink
    for size, least in zip(options.frame_px, side, strict=True):
        if size % pixels or not least * pixels <= size <= _MAX_SIDE_PX:
            raise ConfigError(
                f"engine.tiles.frame_px {list(options.frame_px)}: {manifest.name} takes multiples "
                f"of {pixels}, {side[0] * pixels} x {side[1] * pixels} at least, {_MAX_SIDE_PX} "
                'at most (fit = "crop" or "pad" brings another frame to such a size)'
            )
    return options.frame_px[0] // pixels, options.frame_px[1] // pixels


def _overlap_cells(manifest: Manifest, options: TileOptions) -> int:
    """The smallest overlap of neighbours: the station's, the package's, or a share of a tile."""
    shortest, cell = min(manifest.picture().shape[:2]), manifest.outputs.cell_px
    least = manifest.tiling.min_overlap_px
    wanted = options.overlap_px or overlap_px(manifest)
    if not least <= wanted <= shortest // 2:
        raise ConfigError(
            f"engine.tiles.overlap_px {wanted}: {manifest.name} takes {least} to {shortest // 2}, "
            "in pixels of a tile"
        )
    return -(-wanted // cell)


def _frame(span: Span, cells: int, pixels: int) -> slice:
    return slice(span.start * pixels, (span.start + cells) * pixels)


def _inside(span: Span) -> slice:
    return slice(span.first - span.start, span.last - span.start)
