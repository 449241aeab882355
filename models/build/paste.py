"""Blemishes drawn on good pictures, and seams, which look out of place and are no flaw."""

from __future__ import annotations

import cv2
import numpy as np

from models.build.datasets import Array


def blemished(picture: Array, donor: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """A copy of a gray picture (H, W) uint8 with one blemish, and its mask (255 on 0).

    Half are scratches and spots of another gray level, half are patches of the donor picture,
    which have a texture of their own. Edges are soft by a pixel, as a lens would have it.
    """
    height, width = picture.shape
    side = min(height, width)
    mask = np.zeros((height, width), np.uint8)
    centre = (
        int(rng.integers(width // 10, width * 9 // 10)),
        int(rng.integers(height // 10, height * 9 // 10)),
    )
    if rng.random() < 0.4:
        _scratch(mask, centre, side, rng)
    else:
        axes = tuple(int(v) for v in rng.integers(max(2, side // 80), max(4, side // 12), 2))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255
    if rng.random() < 0.5:
        step = rng.uniform(12, 70) * rng.choice((-1, 1))
        other = picture.astype(np.float32) + step
    else:
        shift = tuple(int(v) for v in rng.integers(side // 8, side * 7 // 8, 2))
        other = np.roll(donor, shift, (0, 1)).astype(np.float32) + rng.uniform(-25, 25)
    made = picture + soft * (other - picture)
    return np.clip(made, 0, 255).astype(np.uint8), mask


def seamed(picture: Array, rng: np.random.Generator, marks: Array | None = None) -> Array:
    """A copy of a picture (H, W) with patches of itself set off by some pixels: no flaw.

    Up to four, as where pictures were joined. Marked pixels are neither covered nor copied.
    """
    out = picture.copy()
    height, width = picture.shape
    for _ in range(int(rng.integers(1, 5))):
        h, w = (int(v) for v in rng.integers(20, min(72, height // 2, width // 2), 2))
        y, x = int(rng.integers(8, height - h - 8)), int(rng.integers(8, width - w - 8))
        down, along = (int(v) for v in rng.integers(-6, 7, 2))
        there = slice(y, y + h), slice(x, x + w)
        around = slice(y - 8, y + h + 8), slice(x - 8, x + w + 8)
        if marks is None or not marks[around].any():
            out[there] = picture[y + down : y + down + h, x + along : x + along + w]
    return out


def _scratch(mask: Array, centre: tuple[int, int], side: int, rng: np.random.Generator) -> None:
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
    length = rng.uniform(0.05, 0.3) * side
    along = np.linspace(0, 1, 12)
    heading = angle + bend * along
    points = np.stack(
        [
            centre[0] + np.cumsum(np.cos(heading)) * length / 12,
            centre[1] + np.cumsum(np.sin(heading)) * length / 12,
        ],
        axis=1,
    )
    cv2.polylines(mask, [points.round().astype(np.int32)], False, 255, int(rng.integers(1, 4)))
