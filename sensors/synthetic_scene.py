"""The static fields of a synthetic scene: a turned flange in its own frame, and a conveyor belt.

Everything here is computed once per generator; a part is then a few dozen passes over these
fields. Lengths are given for a 256 px picture and scale with it. The flange has a bore with a
keyway, a raised hub, six countersunk bolt holes and one milled slot, so its pose has no symmetry.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

PLATE_RADIUS = 102.0
BORE_RADIUS = 24.0
BOLT_CIRCLE = 72.0
HOLE_RADIUS = 8.5
SLOT_HALF_ANGLE = 0.21
SLOT_HALF_WIDTH = 5.0
HOLE_ANGLES = tuple(np.deg2rad(a) for a in (0.0, 60.0, 120.0, 180.0, 240.0, 300.0))
SLOT_ANGLE = np.deg2rad(90.0)


@dataclass(frozen=True)
class Surface:
    """What light meets: gray level (0 outside the plate) and slope along x and y."""

    level: Field
    slope_x: Field
    slope_y: Field

    def copy(self) -> Surface:
        return Surface(self.level.copy(), self.slope_x.copy(), self.slope_y.copy())


@dataclass(frozen=True)
class Feature:
    """A hole or slot: its window in the part's frame and the surface there when it is absent."""

    name: str
    window: tuple[slice, slice]
    without: Surface
    support: Field  # 1 wherever the feature changes the surface, chamfer included


@dataclass(frozen=True)
class Flange:
    """The part in its own frame, H = W = size_px, centre in the middle, angle 0 along x."""

    surface: Surface
    alpha: Field  # coverage of the plate, 0..1
    face: Field  # 1 where a surface flaw can lie: not the bore, holes, slot or outer chamfer
    textures: Field  # (3, H, W) turning marks, standard deviation 1
    lobes: Field  # (4, H, W) cos 2t, sin 2t, cos 4t, sin 4t of the polar angle t
    features: tuple[Feature, ...]


def flange(size_px: int, rng: np.random.Generator) -> Flange:
    """Build the part's fields for a square picture of size_px."""
    unit = size_px / 256.0
    centre = (size_px - 1) / 2.0
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    x, y = (x - centre) / unit, (y - centre) / unit
    radius, angle = np.hypot(x, y), np.arctan2(y, x)

    plain = _plate(x, y, radius, unit)
    surface = plain.copy()
    alpha = _inside(radius - PLATE_RADIUS, unit)
    bore = _bore(x, y, radius)
    face = ((bore > 2.5) & (radius < PLATE_RADIUS - 9.0)).astype(np.float32)
    features = []
    for name, distance in _features(x, y, radius, angle):
        _cut(surface, distance, unit, chamfer=3.0)
        support = (distance < 3.0 + 1.5 / unit).astype(np.float32)
        rows, columns = np.flatnonzero(support.any(axis=1)), np.flatnonzero(support.any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        without = Surface(plain.level[window], plain.slope_x[window], plain.slope_y[window])
        features.append(Feature(name, window, without, support))
        face[support > 0] = 0.0

    lobes = [f(k * angle) for k in (2.0, 4.0) for f in (np.cos, np.sin)]
    textures = [_turning_marks(radius, angle, unit, rng) for _ in range(3)]
    return Flange(
        surface,
        alpha,
        face,
        np.stack(textures),
        np.stack(lobes).astype(np.float32),
        tuple(features),
    )


def belt_field(size_px: int, rng: np.random.Generator) -> Field:
    """A fabric belt of (2 size_px, 2 size_px): weave, wear along the travel, blotches."""
    unit, side = size_px / 256.0, 2 * size_px
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / unit
    weave = np.sin(x * (2 * np.pi / 5.3)) * np.sin(y * (2 * np.pi / 6.1))
    grain = _blurred_noise(rng, (side, side), 0.8 * unit)
    blotch = _blurred_noise(rng, (side, side), 22.0 * unit)
    wear = _blurred_noise(rng, (1, side), 3.0 * unit)
    field: Field = (50.0 + 3.2 * weave + 2.6 * grain + 3.0 * blotch + 1.6 * wear).astype(np.float32)
    return field


def _plate(x: Field, y: Field, radius: Field, unit: float) -> Surface:
    """The flange without bolt holes and slot."""
    hub = _inside(radius - 46.0, unit)
    groove = _inside(np.abs(radius - 48.0) - 1.6, unit)
    rim = _inside(93.0 - radius, unit)
    level = 142.0 + 16.0 * hub - 10.0 * rim - 52.0 * groove
    level *= _inside(radius - PLATE_RADIUS, unit)
    outward_x, outward_y = x / np.maximum(radius, 1.0), y / np.maximum(radius, 1.0)
    tilt = 0.55 * _inside(np.abs(radius - 97.5) - 4.0, unit)  # outer chamfer falls away
    tilt += 0.70 * _inside(np.abs(radius - 46.5) - 1.2, unit)  # edge of the raised hub
    surface = Surface(
        level.astype(np.float32),
        (tilt * outward_x).astype(np.float32),
        (tilt * outward_y).astype(np.float32),
    )
    _cut(surface, _bore(x, y, radius), unit, chamfer=2.2)
    return surface


def _bore(x: Field, y: Field, radius: Field) -> Field:
    keyway = np.maximum(np.abs(x) - 5.0, np.abs(y + 24.0) - 8.0)
    bore: Field = np.minimum(radius - BORE_RADIUS, keyway)
    return bore


def _features(x: Field, y: Field, radius: Field, angle: Field) -> list[tuple[str, Field]]:
    """Signed distance to the edge of each hole and of the slot, negative inside."""
    shapes: list[tuple[str, Field]] = []
    for i, at in enumerate(HOLE_ANGLES):
        hole = np.hypot(x - BOLT_CIRCLE * np.cos(at), y - BOLT_CIRCLE * np.sin(at)) - HOLE_RADIUS
        shapes.append((f"hole_{i}", hole.astype(np.float32)))
    turn = np.angle(np.exp(1j * (angle - SLOT_ANGLE)))
    along = np.maximum(np.abs(turn) - SLOT_HALF_ANGLE, 0.0) * BOLT_CIRCLE
    slot = np.hypot(radius - BOLT_CIRCLE, along) - SLOT_HALF_WIDTH
    shapes.append(("slot", slot.astype(np.float32)))
    return shapes


def _cut(surface: Surface, distance: Field, unit: float, *, chamfer: float) -> None:
    """Sink an opening with a chamfer: dark inside, its far wall catching some light."""
    gradient_y, gradient_x = np.gradient(distance)
    length = np.maximum(np.hypot(gradient_x, gradient_y), 1e-3)
    toward_x, toward_y = -gradient_x / length, -gradient_y / length
    hole = _inside(distance, unit)
    slope = 0.75 * _inside(np.abs(distance - chamfer / 2) - chamfer / 2, unit)
    wall = 0.32 * hole * np.exp(np.minimum(distance, 0.0) / 3.0)
    for field, toward in ((surface.slope_x, toward_x), (surface.slope_y, toward_y)):
        field *= 1.0 - hole
        field += ((slope + wall) * toward).astype(np.float32)
    level = surface.level
    level *= 1.0 - hole
    level += hole * (24.0 + 14.0 * np.exp(np.minimum(distance, 0.0) / 2.0))


def _turning_marks(radius: Field, angle: Field, unit: float, rng: np.random.Generator) -> Field:
    """Lathe marks: noise that is long around the centre and short across it."""
    columns, rows = 256, 512
    noise = rng.standard_normal((rows, columns)).astype(np.float32)
    noise = np.concatenate([noise, noise, noise])  # so that the blur closes around the circle
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.7, sigmaY=34.0)[rows : 2 * rows]
    rings = cv2.GaussianBlur(rng.standard_normal((1, columns)).astype(np.float32), (0, 0), 0.6)
    polar = streaks / streaks.std() + 0.8 * rings / rings.std()
    polar = np.concatenate([polar, polar[:1]])
    map_x = (radius * (columns / 150.0)).astype(np.float32)
    map_y = ((angle / (2 * np.pi)) % 1.0 * rows).astype(np.float32)
    marks = cv2.remap(polar.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR).astype(np.float32)
    marks += 0.5 * _blurred_noise(rng, radius.shape, 0.6 * unit)
    scaled: Field = marks / marks.std()
    return scaled


def _inside(distance: Field, unit: float) -> Field:
    """Coverage of a pixel by the side where distance < 0, antialiased over one pixel."""
    coverage: Field = np.clip(0.5 - distance * unit, 0.0, 1.0).astype(np.float32)
    return coverage


def _blurred_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_px: float) -> Field:
    noise = rng.standard_normal(shape).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma_px).astype(np.float32)
    scaled: Field = blurred / blurred.std()
    return scaled
