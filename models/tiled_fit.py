"""The envelope of big frames: how many of a frame's tiles look like the package's pictures.

A package's bounds were measured on pictures of one part. A tile of a big frame may hold a part, a
piece of one, or the place between two, so no bound holds for each tile and none for the frame. But
where the lamp is dead, the lens capped or out of focus, no tile at all keeps to them. So a share
of the tiles must, and the station file says which (engine.tiles.fit_share). What covers less of
the frame than the rest is not seen by this. Presence is asked only of packages that compare: what
a tile without a reference should be like, nobody knows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.config import TileOptions
from models import native
from models.coarse import shrink_into
from models.envelope import PRESENCE, Gauge
from models.manifest import Manifest
from models.tiles import tiles_of, windows

Array = npt.NDArray[Any]


class TiledGauge:
    """Holds the tiles of a frame's views against a package's envelope."""

    def __init__(
        self, manifest: Manifest, options: TileOptions, helper: Any = native.helper
    ) -> None:
        """manifest: the package's own, of one tile."""
        if manifest.tiling.envelope_px is not None:
            # Bounds of smaller pictures: held against windows of that size, wherever tiles lie.
            manifest = windows(manifest)
            options = msgspec.structs.replace(options, overlap_px=0)
        envelope = manifest.envelope
        compares = manifest.reference() is not None
        bounds = tuple(b for b in envelope.bounds if compares or b.feature != PRESENCE)
        envelope = msgspec.structs.replace(envelope, bounds=bounds, thumbnail="")
        self._gauge = Gauge(manifest.views, envelope, helper)
        self._tiles = [tile.frame for tile in tiles_of(manifest, options)]
        self._wanted = math.ceil(options.fit_share * len(self._tiles)) if bounds else 0
        self._small = (
            {view.name: np.zeros(view.shape, np.uint8) for view in manifest.views}
            if options.shrink > 1
            else None
        )

    def unfit(self, arrays: Mapping[str, Array]) -> str:
        """Why the frame is not fit to judge, with what most tiles lack; "" if it is fit.

        Looks no further than to the first tiles that decide it.
        """
        fit, left, why = 0, len(self._tiles), Counter[str]()
        for tile in self._tiles:
            if fit >= self._wanted or fit + left < self._wanted:
                break
            left -= 1
            if reason := self._gauge.unfit(self._cut(arrays, tile)):
                why[reason.split(" is ")[0]] += 1
            else:
                fit += 1
        if fit >= self._wanted:
            return ""
        seen = len(self._tiles) - left
        feature, times = why.most_common(1)[0]
        return (
            f"{fit} of {seen} tiles are like the package's pictures, {self._wanted} of "
            f"{len(self._tiles)} must be; {feature} is out of range in {times}"
        )

    def _cut(self, arrays: Mapping[str, Array], tile: tuple[slice, slice]) -> Mapping[str, Array]:
        if self._small is None:
            return {name: array[tile] for name, array in arrays.items()}
        for name, out in self._small.items():
            shrink_into(arrays[name][tile], out)
        return self._small
