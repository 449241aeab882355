"""The blind check: what a score still says of bad pictures when their defects are gone.

Each marked defect is filled from the reference of its place, in the picture's own two grays, or
from a good area beside it. A network that judges defects then has nothing left to go by: AUROC
against the good pictures near 0.5. Above 0.6 it judges something else, a light or a border that
came with the label.
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np

from models.build.datasets import Array, Split

_GROW_PX = 6  # around a mark, whose border is part of the defect
_MOST = 0.25  # of a picture; of a larger defect too little is left that could fill it


def blinded(split: Split, fill: int | None = None) -> Split:
    """The good parts, and the bad ones that can be filled, still labelled defect.

    fill: the gray around pictures that were padded, which is no light to go by.
    """
    kept, views = [], []
    for number, bad in enumerate(split.defect):
        part, marks = split.pictures[number], split.marks[number]
        if bad:
            if marks is None:
                continue
            filled = _filled(part, marks, fill)
            if filled is None:
                continue
            part = np.concatenate([filled[None], part[1:]])
        kept.append(number)
        views.append(part)
    return msgspec.structs.replace(split.of(np.array(kept)), pictures=np.stack(views))


def _filled(part: Array, marks: Array, fill: int | None) -> Array | None:
    picture = part[0]
    hole = cv2.dilate(marks, np.ones((2 * _GROW_PX + 1,) * 2, np.uint8)) > 127
    part_of_it = picture != (-1 if fill is None else fill)
    hole &= part_of_it
    if not hole.any() or hole.sum() > _MOST * part_of_it.sum():
        return None
    if len(part) > 1:
        new: Array | None = _of_reference(picture, part[1], hole)
    else:
        new = _of_beside(picture, hole, part_of_it)
    if new is None:
        return None
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 1.5)
    return np.asarray(picture * (1 - soft) + new * soft, np.uint8)


def _of_reference(picture: Array, reference: Array, hole: Array) -> Array:
    """The design in the grays that the picture has around the hole, as soft as a camera's."""
    near = cv2.dilate(hole.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    copper = reference > 127
    grays = []
    for material in (~copper, copper):
        there = picture[near & ~hole & material]
        there = there if there.size > 20 else picture[~hole & material]
        grays.append(float(np.median(there)) if there.size else float(np.median(picture)))
    design = np.where(copper, grays[1], grays[0]).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1.5, design.shape)
    return np.asarray(np.clip(cv2.GaussianBlur(design, (0, 0), 0.9) + noise, 0, 255))


def _of_beside(picture: Array, hole: Array, part_of_it: Array) -> Array | None:
    """The picture moved so that good pixels lie where the hole is; None where no move does it.

    part_of_it (H, W) bool: what is not padding. The move whose pixels fit best along the rim of the
    hole, in the light of the hole's place.
    """
    ys, xs = np.nonzero(hole)
    top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    height, width = hole.shape
    size = (bottom - top, right - left)
    rim = (cv2.dilate(hole.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~hole
    best: tuple[float, Array] | None = None
    for down in range(-2 * size[0], 2 * size[0] + 1, max(1, size[0] // 2)):
        for along in range(-2 * size[1], 2 * size[1] + 1, max(1, size[1] // 2)):
            inside = 0 <= top + down <= height - size[0] and 0 <= left + along <= width - size[1]
            if not inside:
                continue
            if hole[top + down : bottom + down, left + along : right + along].any():
                continue
            move = np.array([[1, 0, -along], [0, 1, -down]], np.float32)
            moved = cv2.warpAffine(
                picture, move, (width, height), borderMode=cv2.BORDER_REFLECT
            ).astype(np.float32)
            there = cv2.warpAffine(part_of_it.astype(np.uint8), move, (width, height)) > 0
            seen = rim & part_of_it & there
            if not seen.any() or not there[hole].all():
                continue
            shift = float(picture[seen].mean() - moved[seen].mean())
            lost = float(np.abs(moved[seen] + shift - picture[seen]).mean())
            if best is None or lost < best[0]:
                best = lost, np.clip(moved + shift, 0, 255)
    return None if best is None else best[1]
