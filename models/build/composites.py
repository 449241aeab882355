"""Pictures of larger tiles, put together from a golden set's own: as a camera sees several parts.

As many pictures as fit lie in a tile, each somewhere in its share of it, on the gray that the
pictures have at their edges. All but one are good. That one goes from good to bad by degrees, so
that models/build/golden.py finds what it looks for: parts near the limits, and what they share
with others of their series is stored once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edge.core.errors import ConfigError
from edge.core.types import Verdict
from models.build.datasets import Array
from models.build.series import Series
from models.golden import Golden, Part
from models.manifest import Thresholds

SERIES = 40  # what models/build/golden.py looks at before it tries to fill a set
_SEED = 6


class _Family(NamedTuple):
    """The lowest and the highest of the parts that share a key; views (views, H, W)."""

    name: str
    score: float
    good: Array
    bad: Array


class _Tile(NamedTuple):
    """A tile without parts, one gray a view, and the corners of the shares for one part each."""

    empty: Array
    corners: tuple[tuple[int, int], ...]
    room: tuple[int, int]  # by how much a part may lie off its corner


def composites(held: Golden, limits: Thresholds, tile_px: tuple[int, int]) -> Iterator[Series]:
    """Up to SERIES series of tiles (views, H, W) uint8; the same ones on every call.

    ConfigError for a golden set without a part that passes.
    """
    families = _families(held)
    good = [one for one in families if limits.verdict(one.score) is Verdict.PASS]
    if not good:
        raise ConfigError(f"{held.name}: no golden part passes: nothing to fill a tile with")
    good.sort(key=lambda one: one.score)
    dice = np.random.default_rng(_SEED)
    tile = _tile([one.good for one in good], tile_px)
    for number, family in enumerate(itertools.islice(itertools.cycle(families), SERIES)):
        passes = limits.verdict(family.score) is Verdict.PASS
        lead = number % len(tile.corners)
        others = dice.permutation(len(good))
        clean = tile.empty.copy()
        places = [_drawn(dice, corner, tile.room) for corner in tile.corners]
        for place, other in zip(places, itertools.cycle(others.tolist()), strict=False):
            _put(clean, good[other].good, place)
        flawed = clean.copy()
        _put(clean, family.good if passes else good[0].good, places[lead])
        _put(flawed, family.bad, places[lead])
        yield Series(f"{family.name}, among {len(places) - 1}, {number}", clean, flawed)


def samples(held: Golden, tile_px: tuple[int, int]) -> Iterator[tuple[str, str, bool, Array]]:
    """Limit and challenge samples, each alone in a tile: (kind, name, defect, views)."""
    for part, arrays in zip(held.parts, held.pictures(), strict=True):
        if part.kind != "golden":
            views = _stacked(held, arrays)
            tile = _tile([views], tile_px)
            _put(tile.empty, views, tile.corners[0])
            yield part.kind, part.name, part.expected is Verdict.FAIL, tile.empty


def _families(held: Golden) -> list[_Family]:
    """Golden parts by the key they share, in the set's order."""
    families: list[list[tuple[Part, Array]]] = []
    for part, arrays in zip(held.parts, held.pictures(), strict=True):
        if part.kind != "golden":
            continue
        if not (part.keyed and families):
            families.append([])
        families[-1].append((part, _stacked(held, arrays)))
    found = []
    for parts in families:
        (low, good), *_, (_, bad) = sorted([*parts, *parts], key=lambda pair: pair[0].fp32)
        found.append(_Family(low.name.rsplit(",", 1)[0], low.fp32, good, bad))
    return found


def _tile(pictures: Sequence[Array], tile_px: tuple[int, int]) -> _Tile:
    """As many shares as pictures fit, on the median gray of the pictures' edges, view by view."""
    height, width = pictures[0].shape[1:3]
    down, along = tile_px[0] // height, tile_px[1] // width
    share = tile_px[0] // down, tile_px[1] // along
    edges = [
        np.concatenate([part[:, 0], part[:, -1], part[:, :, 0], part[:, :, -1]], axis=1)
        for part in pictures
    ]
    gray = np.median(np.concatenate(edges, axis=1), axis=1).astype(np.uint8)
    empty = np.empty((len(gray), *tile_px), np.uint8)
    empty[:] = gray[:, None, None]
    corners = tuple((y * share[0], x * share[1]) for y in range(down) for x in range(along))
    return _Tile(empty, corners, (share[0] - height, share[1] - width))


def _drawn(
    dice: np.random.Generator, corner: tuple[int, int], room: tuple[int, int]
) -> tuple[int, int]:
    """A place within a share."""
    y, x = (at + int(dice.integers(off + 1)) for at, off in zip(corner, room, strict=True))
    return y, x


def _put(tile: Array, picture: Array, place: tuple[int, int]) -> None:
    y, x = place
    height, width = picture.shape[1:3]
    tile[:, y : y + height, x : x + width] = picture


def _stacked(held: Golden, arrays: dict[str, Array]) -> Array:
    return np.stack([arrays[view.name] for view in held.views])
