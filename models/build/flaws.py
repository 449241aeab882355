"""Flaws put on good training pictures: marked examples where a set has few, or only labels.

With image labels alone a network must find out by itself which of a thousand cells is the bad
one; on 180 pictures it does not (docs/models.md). A flaw of known place shows it what out of place
looks like. Kinds: "blemish", scratches, spots and patches of another picture, some of them faint;
"crack" and "pit", clearly darker than what is around; "implant", a marked defect of another
picture, in this one's light; "board", irregular copper where there should be none and none where
there should be some, on pictures of two levels; "bridge", copper right across a gap or a gap right
across copper, on the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from models.build.boards import ridge
from models.build.datasets import Array
from models.build.paste import blemished
from models.build.recipe import Flaw

_SOFT_PX = 1.2
_LEAST_SIDE_PX = 56  # the largest flaw that is drawn, and a rim around it
_AT_BORDER_PX = 2
_TRIES = 8
_LEAST_CHANGE = 10  # gray levels: what is fainter may be a stain, which is no flaw
_BRIDGE_PX = 28  # half the patch that a short or an open has room in
_LEAST_PX = 18  # a flaw of fewer changed pixels is one that nobody would mark


def drawn(
    flaw: Flaw, picture: Array, donor: Array, marks: Array | None, rng: np.random.Generator
) -> tuple[Array, Array] | None:
    """A copy of a gray picture (H, W) uint8 with one flaw, and its mask (255 on 0).

    donor: another picture of the set, of any size, with its marks if it is defective. None where
    the picture has no room for the flaw.
    """
    if min(picture.shape) < _LEAST_SIDE_PX:
        return None
    if flaw == "implant" and marks is not None:
        return implanted(picture, donor, marks, rng)
    if flaw == "board":
        return miscoppered(picture, rng)
    if flaw == "bridge":
        return bridged(picture, rng)
    if flaw in ("crack", "pit"):
        return darkened(picture, _crack if flaw == "crack" else _pit, rng)
    return blemished(picture, cv2.resize(donor, picture.shape[::-1]), rng)


def implanted(
    picture: Array, donor: Array, marks: Array, rng: np.random.Generator
) -> tuple[Array, Array] | None:
    """One marked defect of the donor, mirrored and scaled by chance, in the picture's own light."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(marks)
    one = int(rng.integers(1, count)) if count > 1 else 0
    if not one:
        return None
    x, y, width, height = (int(v) for v in boxes[one][:4])
    around = slice(max(0, y - 6), y + height + 6), slice(max(0, x - 6), x + width + 6)
    patch, mask = donor[around], (labels[around] == one).astype(np.uint8)
    # A chipped edge stays at an edge, as no tile has it inside: -1 is the top or left one.
    sides = [
        _side(at, size, most)
        for at, size, most in zip((y, x), (height, width), marks.shape, strict=True)
    ]
    for axis in (0, 1):
        if rng.random() < 0.5:
            patch, mask, sides[axis] = np.flip(patch, axis), np.flip(mask, axis), -sides[axis]
    scale = rng.uniform(0.7, 1.4)
    patch = cv2.resize(np.ascontiguousarray(patch), None, fx=scale, fy=scale)
    mask = cv2.resize(
        np.ascontiguousarray(mask), patch.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    if mask.sum() < _LEAST_PX // 2 or any(
        small >= large for small, large in zip(mask.shape, picture.shape, strict=True)
    ):
        return None
    place = _place(sides, picture.shape, mask.shape, rng)
    there = picture[place].astype(np.float32)
    beside = patch[mask == 0]
    base = float(np.median(beside)) if beside.size else float(patch.mean())
    new = np.clip(patch * (np.median(there) / max(base, 5.0)), 0, 255)
    soft = cv2.GaussianBlur(
        cv2.dilate(mask, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), _SOFT_PX
    )
    out, marked = picture.copy(), np.zeros_like(picture)
    out[place] = (there * (1 - soft) + new * soft).astype(np.uint8)
    marked[place] = mask * 255
    return out, marked


def _side(start: int, size: int, most: int) -> int:
    """Which border a mark lies at along an axis: -1 the first, 1 the last, 0 none."""
    return -1 if start <= _AT_BORDER_PX else int(start + size >= most - _AT_BORDER_PX)


def _place(
    sides: Sequence[int],
    picture: tuple[int, ...],
    patch: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[slice, slice]:
    """Where a patch goes: to the border that it came from, or anywhere."""
    at = []
    for side, large, small in zip(sides, picture, patch, strict=True):
        room = large - small
        at.append(int(rng.integers(room + 1)) if side == 0 else room * (side > 0))
    return slice(at[0], at[0] + patch[0]), slice(at[1], at[1] + patch[1])


def darkened(
    picture: Array,
    shape: Callable[[tuple[int, ...], np.random.Generator], Array],
    rng: np.random.Generator,
) -> tuple[Array, Array] | None:
    """A hole or a gap: light that is lost, by a third to nearly all of it.

    shape: of the picture's rows and columns, float32 0..1. A place that is dark already shows
    none, so another is tried.
    """
    for _ in range(_TRIES):
        ink = shape(picture.shape, rng)
        lost = picture * (ink * np.float32(rng.uniform(0.35, 0.9)))
        changed = lost > _LEAST_CHANGE
        if changed.sum() >= _LEAST_PX:
            out = picture - lost + rng.normal(0, 2, picture.shape) * ink
            return np.clip(out, 0, 255).astype(np.uint8), changed.astype(np.uint8) * np.uint8(255)
    return None


def _crack(size_px: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A thin line: half of them nearly straight and along a side, the others wander anywhere."""
    height, width = size_px
    length = np.exp(rng.uniform(np.log(25), np.log(0.9 * max(size_px))))
    steps = max(3, int(length / 6))
    straight = bool(rng.integers(2))
    begins = np.pi / 2 * rng.integers(4) if straight else rng.uniform(0, 2 * np.pi)
    bends = rng.uniform(0.005, 0.03) if straight else rng.uniform(0.03, 0.35)
    heading = begins + np.cumsum(rng.normal(0, bends, steps))
    along = np.stack([np.cos(heading), np.sin(heading)], 1) * 6
    points = rng.uniform(0, (width, height)) + np.cumsum(along, 0) - along.sum(0) / 2
    widths = np.abs(np.cumsum(rng.normal(0, 0.25, steps)) + rng.uniform(1.0, 4.0)).clip(0.8, 6)
    ink = np.zeros(size_px, np.uint8)
    for start, end, thick in zip(points[:-1], points[1:], widths[1:], strict=True):
        here, there = ((start * 16).astype(int).tolist(), (end * 16).astype(int).tolist())
        cv2.line(ink, here, there, 255, max(1, round(thick)), cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.5, 1.0)), np.float32) / 255


def _pit(size_px: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A ragged blob of 3 to 20 px in radius, or a few together."""
    ink = np.zeros(size_px, np.uint8)
    at = rng.uniform(0, size_px[::-1])
    for _ in range(1 if rng.random() < 0.7 else int(rng.integers(2, 5))):
        corners = int(rng.integers(6, 12))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = np.exp(rng.uniform(np.log(2.5), np.log(20)))
        rim = np.stack([np.cos(angles), np.sin(angles)], 1) * radius * rng.uniform(0.5, 1, 2)
        rim *= rng.uniform(0.6, 1.2, (corners, 1))
        cv2.fillPoly(ink, [((at + rim) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        at = at + rng.normal(0, 2 * radius, 2)
    return np.asarray(cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.6, 1.5)), np.float32) / 255


def miscoppered(picture: Array, rng: np.random.Generator) -> tuple[Array, Array] | None:
    """An irregular flaw in one of the picture's two materials, drawn in the other's gray."""
    grays = _materials(picture)
    if grays is None:
        return None
    copper = picture > sum(grays) / 2
    height, width = picture.shape
    for _ in range(_TRIES):
        side = int(rng.integers(12, 44))
        y, x = int(rng.integers(4, height - side - 4)), int(rng.integers(4, width - side - 4))
        place = slice(y, y + side), slice(x, x + side)
        share = copper[place].mean()
        at_an_edge = 0.08 < share < 0.92
        if not at_an_edge and rng.random() < 0.75:
            continue
        towards_dark = bool(rng.integers(2)) if at_an_edge else share > 0.5
        soft = cv2.GaussianBlur(_shape(rng, side), (0, 0), rng.uniform(0.6, 1.2))
        made = _recoppered(picture, copper, place, soft, grays, rng, bright=not towards_dark)
        if made is not None:
            return made
    return None


def bridged(picture: Array, rng: np.random.Generator) -> tuple[Array, Array] | None:
    """A short or an open: a bar of one of the picture's two materials, right across the other."""
    grays = _materials(picture)
    if grays is None:
        return None
    copper = picture > sum(grays) / 2
    bright = bool(rng.integers(2))
    crossed = (copper != bright).astype(np.uint8)
    depth = cv2.distanceTransform(crossed, cv2.DIST_L2, 3)
    middle = ridge(depth, 2, 18)
    middle[:_BRIDGE_PX], middle[-_BRIDGE_PX:] = False, False
    middle[:, :_BRIDGE_PX], middle[:, -_BRIDGE_PX:] = False, False
    ys, xs = np.nonzero(middle)
    for _ in range(_TRIES if len(ys) else 0):
        one = int(rng.integers(len(ys)))
        y, x = int(ys[one]), int(xs[one])
        place = (slice(y - _BRIDGE_PX, y + _BRIDGE_PX), slice(x - _BRIDGE_PX, x + _BRIDGE_PX))
        bar = _bar(depth[place], rng)
        soft = cv2.GaussianBlur(bar, (0, 0), rng.uniform(0.6, 1.2)).astype(np.float32) / 255
        made = _recoppered(picture, copper, place, soft, grays, rng, bright=bright)
        if made is not None:
            return made
    return None


def _bar(depth: Array, rng: np.random.Generator) -> Array:
    """A ragged bar through the middle of a patch, the way that its material is thinnest; 0..255.

    depth: how far each point of the patch is from the other material.
    """
    middle = np.array(depth.shape[::-1]) / 2
    reach = float(depth[depth.shape[0] // 2, depth.shape[1] // 2]) + 1.5
    angles = np.arange(16) * np.pi / 16
    ways = np.stack([np.cos(angles), np.sin(angles)], 1)
    out, back = ((middle + sign * ways * reach).astype(int) for sign in (-1, 1))
    thin = depth[out[:, 1], out[:, 0]] + depth[back[:, 1], back[:, 0]]
    way = ways[int(np.argmin(thin))]
    bent = np.array([-way[1], way[0]]) * rng.normal(0, 0.35)
    steps = np.linspace(-1, 1, 5)[:, None] * (way + bent) * reach * rng.uniform(1.0, 1.4)
    points = middle + steps + rng.normal(0, rng.uniform(0, 1.5), steps.shape)
    bar: Array = np.zeros(depth.shape, np.uint8)
    thick = float(np.exp(rng.uniform(np.log(2.5), np.log(11))))
    for start, end in pairwise(points):
        here, there = ((point * 16).astype(int).tolist() for point in (start, end))
        width = max(1, round(thick * rng.uniform(0.8, 1.2)))
        cv2.line(bar, here, there, 255, width, cv2.LINE_AA, 4)
    return bar


def _materials(picture: Array) -> tuple[float, float] | None:
    """The grays of the two materials, dark and bright; None where there is one only."""
    dark, bright = (float(gray) for gray in np.percentile(picture, (4, 96)))
    return (dark, bright) if bright - dark >= 40 else None


def _recoppered(
    picture: Array,
    copper: Array,
    place: tuple[slice, slice],
    soft: Array,
    grays: tuple[float, float],
    rng: np.random.Generator,
    *,
    bright: bool,
) -> tuple[Array, Array] | None:
    """The picture with a shape (0..1) of the bright or the dark material at a place, and its mask.

    In the gray that the material has there. None where it changes next to nothing.
    """
    there = picture[place].astype(np.float32)
    alike = there[copper[place] == bright]
    level = float(np.median(alike)) if alike.size > 10 else grays[bright] + rng.normal(0, 6)
    new = there * (1 - soft) + level * soft
    changed = np.abs(new - there) > (grays[1] - grays[0]) * 0.4
    if changed.sum() < _LEAST_PX:
        return None
    out, marks = picture.copy(), np.zeros_like(picture)
    out[place] = np.clip(new + rng.normal(0, 1.5, new.shape) * soft, 0, 255).astype(np.uint8)
    marks[place] = changed * np.uint8(255)
    return out, marks


def _shape(rng: np.random.Generator, side: int) -> Array:
    """An irregular shape in a square of `side` px: strokes, a ragged blob or spots; 0..1 float32.

    Drawn four times as large, so that thin strokes have soft edges.
    """
    large = side * 4
    ink: Array = np.zeros((large, large), np.uint8)
    middle = np.array([large / 2, large / 2])
    kind = rng.random()
    if kind < 0.45:
        for _ in range(int(rng.integers(1, 4))):
            steps = rng.normal(0, side * 0.5, (int(rng.integers(1, 5)), 2))
            points = np.cumsum(np.vstack([middle + rng.normal(0, side * 0.35, 2), steps]), 0)
            points = np.clip(points, side * 0.4, side * 3.6).astype(np.int32)
            thick = int(rng.uniform(2, 6) * 2.8)
            cv2.polylines(ink, [points], False, 255, thick, cv2.LINE_AA)
    elif kind < 0.85:
        corners = int(rng.integers(5, 11))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(0.25, 1.0, corners) * side * rng.uniform(0.6, 1.8)
        offsets = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
        points = (middle + offsets * rng.uniform(0.5, 1.0, 2)).astype(np.int32)
        cv2.fillPoly(ink, [points], 255)
    else:
        for _ in range(int(rng.integers(1, 5))):
            at = tuple(int(v) for v in middle + rng.normal(0, side * 0.5, 2))
            axes = tuple(int(side * v) for v in rng.uniform(0.15, 0.7, 2))
            cv2.ellipse(ink, at, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    turn = cv2.getRotationMatrix2D((large / 2, large / 2), rng.uniform(0, 360), 1.0)
    ink = cv2.warpAffine(ink, turn, (large, large))
    return cv2.resize(ink, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
