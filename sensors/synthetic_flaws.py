"""Surface flaws drawn onto a synthetic scene: scratch, dent and stain, with exact masks.

Each drawing changes the scene in place only where its mask is set: anything fainter than
`FAINTEST` gray levels is cut off, so the mask holds what can be seen and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import cv2
import numpy as np
import numpy.typing as npt

from sensors.synthetic_scene import Field

Mask = npt.NDArray[np.uint8]
Flaw = Literal["scratch", "dent", "stain"]

FAINTEST = 2.0  # gray levels, about one standard deviation of the sensor noise
_PLAIN = 20.0  # gray levels that a careful person sees on turned metal
_TRIES = 40  # a place on the face is found in 1.5 tries on average
_SMALLEST_PX = {"scratch": 70.0, "dent": 100.0, "stain": 150.0}  # plain area at 256 px
_KEPT = {"scratch": 0.5, "dent": 0.75, "stain": 0.75}  # share of it that no hole or edge swallows


@dataclass(frozen=True)
class Place:
    """Where the part lies in the picture, and where light comes from (a unit vector)."""

    centre_px: tuple[float, float]
    unit: float  # picture pixels for each pixel of a 256 px picture, the part's scale included
    light: tuple[float, float]


def draw_flaw(
    flaw: Flaw, scene: Field, face: Field, place: Place, rng: np.random.Generator
) -> Mask:
    """Draw one flaw on the part's face; its mask, uint8 of the scene's shape, 255 on the flaw."""
    best, best_kept = np.zeros_like(scene), 0
    for _ in range(_TRIES):
        match flaw:
            case "scratch":
                change = _scratch(scene, place, rng)
            case "dent":
                change = _dent(scene, place, rng)
            case "stain":
                change = _stain(scene, place, rng)
            case _:
                assert_never(flaw)
        drawn = int(np.count_nonzero(np.abs(change) >= _PLAIN))
        change *= face
        strength = np.abs(change)
        change[strength < FAINTEST] = 0.0
        kept = int(np.count_nonzero(strength >= _PLAIN))
        if kept > best_kept:
            best, best_kept = change, kept
        if kept >= _SMALLEST_PX[flaw] * place.unit**2 and kept >= _KEPT[flaw] * drawn:
            break
    scene += best
    return np.where(best != 0.0, np.uint8(255), np.uint8(0))


def _on_face(place: Place, rng: np.random.Generator) -> tuple[float, float]:
    radius = np.sqrt(rng.uniform(31.0**2, 88.0**2)) * place.unit
    angle = rng.uniform(0.0, 2 * np.pi)
    cx, cy = place.centre_px
    return cx + radius * np.cos(angle), cy + radius * np.sin(angle)


def _scratch(scene: Field, place: Place, rng: np.random.Generator) -> Field:
    """A thin bowed line with a burr: bright beside dark, strength varying along it."""
    x, y = _on_face(place, rng)
    length = rng.uniform(32.0, 95.0) * place.unit
    angle, bow = rng.uniform(0.0, 2 * np.pi), rng.uniform(-0.16, 0.16)
    along = np.linspace(-0.5, 0.5, 17)
    across = bow * (1.0 - 4.0 * along**2)
    c, s = np.cos(angle), np.sin(angle)
    points = np.stack(
        [x + length * (along * c - across * s), y + length * (along * s + across * c)]
    )
    points = np.round(points.T * 16).astype(np.int32)
    strength = np.clip(0.8 + 0.15 * rng.standard_normal(16), 0.5, 1.0) * 255
    thickness = max(1, round(rng.uniform(0.9, 2.4) * place.unit))
    canvas = np.zeros(scene.shape, np.uint8)
    for i in range(16):
        cv2.line(
            canvas, points[i], points[i + 1], int(strength[i]), thickness, cv2.LINE_AA, shift=4
        )
    contrast = rng.uniform(58.0, 95.0) * (1.0 if rng.random() < 0.6 else -1.0) / 255.0
    line: Field = canvas.astype(np.float32) * np.float32(contrast)
    change = line.copy()
    dx, dy = (1, 0) if abs(s) > abs(c) else (0, 1)
    rows, columns = scene.shape
    change[dy:, dx:] -= 0.45 * line[: rows - dy, : columns - dx]
    return change


def _dent(scene: Field, place: Place, rng: np.random.Generator) -> Field:
    """A pit: dark on the side of the light, bright on the far side, dull in the middle."""
    reach = rng.uniform(6.5, 13.0) * place.unit
    squeeze, angle = rng.uniform(0.7, 1.0), rng.uniform(0.0, np.pi)
    depth = rng.uniform(70.0, 115.0)
    window, dx, dy = _window(scene, _on_face(place, rng), reach * 1.1)
    c, s = np.cos(angle), np.sin(angle)
    p, q = (dx * c + dy * s) / reach, (dy * c - dx * s) / (reach * squeeze)
    bowl = np.clip(1.0 - (p * p + q * q), 0.0, None)
    lobes = -(dx * place.light[0] + dy * place.light[1]) / reach
    change = np.zeros_like(scene)
    change[window] = depth * bowl * (2.2 * lobes * np.sqrt(bowl) - 0.28 * bowl)
    return change


def _stain(scene: Field, place: Place, rng: np.random.Generator) -> Field:
    """A soft blob of oil or coolant: a few overlapping drops, mostly darker than the metal."""
    size = rng.uniform(8.0, 17.0) * place.unit
    x, y = _on_face(place, rng)
    gain = rng.uniform(-0.52, -0.30) if rng.random() < 0.7 else rng.uniform(0.26, 0.40)
    window, dx, dy = _window(scene, (x, y), size * 2.3)
    thickness = np.zeros_like(dx)
    for _ in range(int(rng.integers(3, 6))):
        ox, oy = rng.uniform(-0.7, 0.7, 2) * size
        drop = size * rng.uniform(0.5, 1.0)
        thickness += np.exp(-((dx - ox) ** 2 + (dy - oy) ** 2) / (0.5 * drop * drop))
    soft = np.clip((thickness - 0.25) * 1.6, 0.0, 1.0)
    change = np.zeros_like(scene)
    change[window] = gain * soft * scene[window]
    return change


def _window(
    scene: Field, at: tuple[float, float], reach: float
) -> tuple[tuple[slice, slice], Field, Field]:
    """The square of the scene around a point, and each pixel's offset from the point."""
    rows, columns = scene.shape
    left, right = max(0, int(at[0] - reach)), min(columns, int(at[0] + reach) + 2)
    top, bottom = max(0, int(at[1] - reach)), min(rows, int(at[1] + reach) + 2)
    dx = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(at[0])
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(at[1])
    grid_x, grid_y = np.broadcast_arrays(dx, dy)
    return (slice(top, bottom), slice(left, right)), grid_x, grid_y
