"""Training batches: which parts, in what pose and light, with what flaw drawn or implanted.

Poses are one affine warp of all views and marks, so that a picture is resampled once. Everything
is drawn from the generator that is given: the same seed gives the same batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from models.build.datasets import CELL_PX, Array, Split, cells_of
from models.build.flaws import drawn
from models.build.paste import seamed
from models.build.recipe import Augment, Recipe

# A crop keeps its defect's centre so far from its border at least.
_FOCUS_MARGIN_PX = 24


class Batch(NamedTuple):
    """views (n, v, h, w) float32 in 0..1; cells (n, h/8, w/8) of 1, 0 and 255 (not known).

    defect (n,) bool; located (n,) bool: good, or marked; types (n,): the place of the defect's
    type in the split's, -1 where it is good or of none.
    """

    views: Array
    cells: Array
    defect: Array
    located: Array
    types: Array


class Sampler:
    """The batches of one split, epoch by epoch."""

    def __init__(self, recipe: Recipe, split: Split) -> None:
        self._split, self._plan = split, recipe.training
        self._augment = recipe.augment
        crop = self._augment.crop_px
        self._size = (crop, crop) if crop else recipe.data.size_px
        self._fill = recipe.data.fill if recipe.data.fit == "pad" else None
        self._kinds = {name: place for place, name in enumerate(split.type_names())}
        self._marked = np.flatnonzero(split.marked)
        self._deals = _deals(split)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch: as many parts as the split has, but for an incomplete batch."""
        rng = np.random.default_rng((self._plan.seed, number))
        size, count = self._plan.batch, len(self._split.defect)
        if self._plan.balance == "picture":
            order = rng.permutation(count)
        else:
            order = np.array([self._dealt(rng, bad=place % 2 == 0) for place in range(count)])
        whole = count - count % size if count > size else count
        # One batch ahead, in a thread: warping takes as long as a step of a small network.
        with ThreadPoolExecutor(1) as ahead:
            waiting = None
            for at in range(0, whole, size):
                made = ahead.submit(self.batch, order[at : at + size], rng)
                if waiting is not None:
                    yield waiting.result()
                waiting = made
            if waiting is not None:
                yield waiting.result()

    def batch(self, chosen: Array, rng: np.random.Generator) -> Batch:
        """The chosen parts, augmented."""
        height, width = self._size
        cells = np.zeros((len(chosen), height // CELL_PX, width // CELL_PX), np.uint8)
        views = np.empty((len(chosen), self._split.pictures.shape[1], height, width), np.float32)
        defect, located = np.zeros(len(chosen), bool), np.ones(len(chosen), bool)
        types = np.full(len(chosen), -1)
        for place, number in enumerate(chosen):
            part, marks, bad = self._flawed(number, rng)
            if self._split.defect[number]:
                types[place] = self._kinds.get(self._split.types[number], -1)
            if rng.random() < self._augment.tone:
                other = self._split.pictures[self._dealt(rng, bad=bool(rng.integers(2))), 0]
                ours, theirs = (_content(one, self._fill) for one in (part[0], other))
                part = part.copy()
                part[0][ours] = toned(part[0][ours], other[theirs])
            if rng.random() < self._augment.invert:
                part, types[place] = 255 - part, -1  # in the negative its type is another
            pose = _pose(marks, part.shape[1:], self._size, self._augment, rng)
            views[place] = self._seen(part, pose, rng)
            defect[place] = bad
            if marks is None:
                located[place] = not bad
            else:
                there = cv2.warpAffine(marks, pose, (width, height), borderMode=cv2.BORDER_REFLECT)
                cells[place] = cells_of(there)
                defect[place] = bool(cells[place].any())
        return Batch(views, cells, defect, located, types)

    def _flawed(self, number: int, rng: np.random.Generator) -> tuple[Array, Array | None, bool]:
        """A part's views, its marks if it has any, and whether it is bad; perhaps with a flaw."""
        split, augment = self._split, self._augment
        part, bad = split.pictures[number], bool(split.defect[number])
        if rng.random() < augment.seams:
            part = np.concatenate([seamed(part[0], rng, split.marks[number])[None], part[1:]])
        if bad:
            return part, split.marks[number], True
        if rng.random() < augment.pen:
            part = np.concatenate([_penned(part[0], rng)[None], part[1:]])
        if rng.random() >= augment.paste:
            return part, None, False
        donor = int(rng.choice(self._marked)) if len(self._marked) else None
        other = int(rng.integers(len(split.defect)))
        flaw = augment.flaw[int(rng.integers(len(augment.flaw)))]
        source = donor if flaw == "implant" and donor is not None else other
        giver, given = split.pictures[source, 0], split.marks[source]
        here, there = (_content(one, self._fill) for one in (part[0], giver))
        given = None if given is None else given[there]
        made = drawn(flaw, part[0][here], giver[there], given, rng)
        if made is None:  # no room for a flaw here
            return part, None, False
        flawed, marks = part.copy(), np.zeros_like(part[0])
        flawed[0][here], marks[here] = made
        return flawed, marks, True

    def _seen(self, part: Array, pose: Array, rng: np.random.Generator) -> Array:
        """The views in a pose and a light; only the camera's picture has the latter."""
        height, width = self._size
        out = np.empty((len(part), height, width), np.float32)
        for place, view in enumerate(part):
            move = pose
            if place and self._augment.shift_px:
                move = pose.copy()
                move[:, 2] += rng.uniform(-self._augment.shift_px, self._augment.shift_px, 2)
            out[place] = cv2.warpAffine(
                view, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
        out[0] = _lit(out[0], self._augment, rng)
        out *= np.float32(1 / 255)
        return out

    def _dealt(self, rng: np.random.Generator, *, bad: bool) -> int:
        """A part: its type by chance, then its group by the root of how many pictures it has.

        Types with few pictures count as much as others; of a part that was taken a hundred times
        one picture is much like the next.
        """
        groups = self._deals[bad]
        kind = groups[list(groups)[int(rng.integers(len(groups)))]]
        share = np.sqrt([len(numbers) for numbers in kind])
        numbers = kind[int(rng.choice(len(kind), p=share / share.sum()))]
        return int(numbers[int(rng.integers(len(numbers)))])


def _content(picture: Array, fill: int | None) -> tuple[slice, slice]:
    """Where a picture (H, W) is more than the fill around it; all of it where it was not padded."""
    if fill is None:
        return slice(None), slice(None)
    there = picture != fill
    down, along = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    if not len(down):
        return slice(None), slice(None)
    return slice(down[0], down[-1] + 1), slice(along[0], along[-1] + 1)


def _deals(split: Split) -> dict[bool, dict[str, list[list[int]]]]:
    """Good and bad parts by type, then by group."""
    found: dict[bool, dict[str, dict[str, list[int]]]] = {
        False: defaultdict(lambda: defaultdict(list)),
        True: defaultdict(lambda: defaultdict(list)),
    }
    for number, bad in enumerate(split.defect):
        kind = split.types[number] if bad else ""
        found[bool(bad)][kind][split.groups[number]].append(number)
    return {
        bad: {kind: list(groups.values()) for kind, groups in kinds.items()}
        for bad, kinds in found.items()
    }


def _pose(
    marks: Array | None,
    size_in: tuple[int, ...],
    size_out: tuple[int, int],
    augment: Augment,
    rng: np.random.Generator,
) -> Array:
    """The 2 x 3 matrix from picture to batch: turned, zoomed, flipped, and the defect in view."""
    angle = rng.uniform(-augment.turn_deg, augment.turn_deg)
    if augment.rotate:
        angle += 90 * int(rng.integers(4)) if size_in[0] == size_in[1] else 180 * rng.integers(2)
    zoom = np.exp(rng.uniform(-augment.zoom, augment.zoom))
    stretch = np.exp(rng.uniform(-augment.stretch, augment.stretch) / 2)
    mirror = -1.0 if augment.flip and rng.integers(2) else 1.0
    turn = np.deg2rad(angle)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = turned @ np.diag([mirror * zoom * stretch, zoom / stretch])
    # Half of what the output spans of the picture, along the picture's own x and y.
    reach = np.abs(np.linalg.inv(linear)) @ (np.array(size_out[::-1]) / 2)
    middle = np.array(size_in[::-1]) / 2
    play = np.maximum(middle - reach, 0)
    centre = middle + rng.uniform(-play, play)
    if marks is not None and play.any():
        ys, xs = np.nonzero(marks > 127)
        if len(xs):
            room = np.maximum(reach - _FOCUS_MARGIN_PX, 0)
            focus = np.array([np.median(xs), np.median(ys)])
            centre = np.clip(focus + rng.uniform(-room, room), middle - play, middle + play)
    half = (np.array(size_out[::-1]) - 1) / 2
    move = half - linear @ (centre - 0.5)
    return np.hstack([linear, move[:, None]])


def _lit(picture: Array, augment: Augment, rng: np.random.Generator) -> Array:
    """Another exposure of a picture (h, w) float32 in 0..255."""
    height, width = picture.shape
    out = picture
    if augment.gamma:
        out = 255 * (out / 255) ** np.float32(np.exp(rng.uniform(-augment.gamma, augment.gamma)))
    gain = np.exp(rng.uniform(-augment.gain, augment.gain))
    middle = out.mean() if augment.about == "mean" else 0.0
    out = (out - middle) * np.float32(gain) + np.float32(
        middle + rng.uniform(-augment.offset, augment.offset)
    )
    if augment.slope and rng.random() < 0.5:
        along, down = rng.uniform(-augment.slope, augment.slope, 2)
        light = 1 + along * np.linspace(-1, 1, width) + down * np.linspace(-1, 1, height)[:, None]
        out = out * light.astype(np.float32)
    if augment.blur_px and rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, max(0.31, augment.blur_px)))
    if augment.noise and rng.random() < 0.5:
        out = out + rng.standard_normal(out.shape, np.float32) * np.float32(
            rng.uniform(0, augment.noise)
        )
    return np.asarray(np.clip(out, 0, 255))


def toned(picture: Array, other: Array) -> Array:
    """A picture (H, W) uint8 with the gray levels of another: its histogram, by rank."""
    ours, theirs = (np.cumsum(np.bincount(one.ravel(), minlength=256)) for one in (picture, other))
    middle = ours - np.bincount(picture.ravel(), minlength=256) / 2
    levels = np.searchsorted(theirs / other.size, middle / picture.size).clip(0, 255)
    return np.asarray(levels.astype(np.uint8)[picture])


def _penned(picture: Array, rng: np.random.Generator) -> Array:
    """A ring or a stroke as of a pen, which is no defect (H, W) uint8."""
    height, width = picture.shape
    ink = np.zeros((height, width), np.uint8)
    at = (int(rng.integers(width)), int(rng.integers(height)))
    thick = int(rng.integers(1, 4))
    if rng.random() < 0.5:
        axes = tuple(int(v) for v in rng.integers(10, 60, 2))
        start = float(rng.uniform(0, 180))
        cv2.ellipse(ink, at, axes, start, 0, float(rng.uniform(180, 360)), 255, thick, cv2.LINE_AA)
    else:
        steps = rng.normal(0, 18, (int(rng.integers(2, 5)), 2))
        points = np.cumsum(np.vstack([at, steps]), 0).astype(np.int32)
        cv2.polylines(ink, [points], False, 255, thick, cv2.LINE_AA)
    soft = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.8, 2)).astype(np.float32) / 255
    soft *= rng.uniform(0.2, 0.6)
    level = np.median(picture) * rng.uniform(0.5, 0.9)
    return np.asarray(picture * (1 - soft) + level * soft, np.uint8)
