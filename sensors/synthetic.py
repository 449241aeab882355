"""Seeded synthetic parts: machined flanges on a belt, good or with one known defect.

A picture is a pure function of (seed, index) for one library version and instruction set, so a
run can be repeated, and every label and mask is exact by construction. A good part and its
defective twin share pose, light, texture, dust and noise, and differ inside the mask only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from sensors.synthetic_flaws import Flaw, Mask, Place, draw_flaw
from sensors.synthetic_scene import Field, Surface, belt_field, flange

Picture = npt.NDArray[np.uint8]
DefectType = Literal["", "scratch", "dent", "stain", "missing_feature"]
DEFECT_TYPES: tuple[DefectType, ...] = ("scratch", "dent", "stain", "missing_feature")

# Seeds below this one are for training, thresholds and tests of a model; a demonstration or a
# bar takes its parts from here on, so that no model has seen them.
FIRST_UNSEEN_SEED = 10_000

_RELIEF = 78.0  # gray levels for a slope of 1 toward the light
_SCENE, _DEFECT, _STATIC = 0, 1, 2  # streams of random numbers, so that twins share the scene


@dataclass(frozen=True)
class SyntheticPart:
    """One rendered part: image and mask uint8 (H, W), mask 255 on the defect and 0 elsewhere."""

    image: Picture
    mask: Mask
    label: Literal["good", "defect"]
    defect_type: DefectType


class PartGenerator:
    """Renders part number `index` of a seeded series; safe to share between threads."""

    def __init__(self, seed: int, *, size_px: int = 256, defect_share: float = 0.5) -> None:
        """Precompute the static fields; size_px >= 64, defect_share within 0..1."""
        if size_px < 64:
            raise ValueError(f"size_px {size_px}: at least 64")
        if not 0.0 <= defect_share <= 1.0:
            raise ValueError(f"defect_share {defect_share}: between 0 and 1")
        self.seed, self.size_px, self.defect_share = seed, size_px, defect_share
        self._unit = size_px / 256.0
        rng = np.random.default_rng([seed, 0, _STATIC])
        self._flange = flange(size_px, rng)
        self._belt = belt_field(size_px, rng)
        self._noise = rng.standard_normal((2 * size_px, 2 * size_px)).astype(np.float32)
        ramp = np.linspace(-1.0, 1.0, size_px, dtype=np.float32)
        self._across, self._down = np.meshgrid(ramp, ramp)

    def part(self, index: int) -> SyntheticPart:
        """Part `index`, defective with the generator's share; the type is drawn evenly."""
        rng = np.random.default_rng([self.seed, index, _DEFECT])
        return self._render(index, self._drawn(rng), rng)

    def _drawn(self, rng: np.random.Generator) -> DefectType:
        defective = bool(rng.random() < self.defect_share)
        return DEFECT_TYPES[int(rng.integers(len(DEFECT_TYPES)))] if defective else ""

    def twin(self, index: int) -> SyntheticPart:
        """Part `index` as it would be without its defect."""
        return self._render(index, "", np.random.default_rng([self.seed, index, _DEFECT]))

    def label(self, index: int) -> Literal["good", "defect"]:
        """The label of part `index`, without rendering it."""
        return "defect" if self.defect_type(index) else "good"

    def defect_type(self, index: int) -> DefectType:
        """The defect of part `index`, "" for a good one, without rendering it."""
        return self._drawn(np.random.default_rng([self.seed, index, _DEFECT]))

    def belt(self, index: int) -> Picture:
        """The empty belt under the light that part `index` would have: uint8 (H, W)."""
        rng = np.random.default_rng([self.seed, index, _SCENE])
        scene = self._dusty_belt(rng)
        scene *= self._light(rng)
        return self._exposed(scene, rng)

    def _render(self, index: int, kind: DefectType, defect: np.random.Generator) -> SyntheticPart:
        rng = np.random.default_rng([self.seed, index, _SCENE])
        scene = self._dusty_belt(rng)
        light = self._light(rng)
        toward = rng.normal(-2.2, 0.35)  # light falls in from the upper left, give or take 20 deg
        direction = (float(np.cos(toward)), float(np.sin(toward)))
        pose, place = self._pose(rng, direction)

        surface, mask = self._flange.surface, np.zeros((self.size_px, self.size_px), np.uint8)
        if kind == "missing_feature":
            surface, mask = self._without_feature(pose, defect)
        metal = self._metal(surface, direction, pose, rng)
        alpha = self._placed(self._flange.alpha, pose)
        self._cast_shadow(scene, alpha, direction, rng)
        scene *= 1.0 - alpha
        scene += self._placed(metal, pose)
        if kind in ("scratch", "dent", "stain"):
            flaw: Flaw = kind
            mask = draw_flaw(flaw, scene, self._placed(self._flange.face, pose), place, defect)
        scene *= light
        image = self._exposed(scene, rng)
        return SyntheticPart(image, mask, "defect" if kind else "good", kind)

    def _dusty_belt(self, rng: np.random.Generator) -> Field:
        """A stretch of belt with specks and fibres; the belt was never clean."""
        side = self.size_px
        top, left = rng.integers(0, side, 2)
        belt = self._belt[top : top + side, left : left + side] * np.float32(rng.uniform(0.85, 1.2))
        dust = np.zeros((side, side), np.uint8)
        for x, y, size, level in rng.random((int(rng.poisson(14)), 4)):
            centre = int(x * side * 16), int(y * side * 16)
            radius = int((0.5 + 1.3 * size * size) * self._unit * 16)
            cv2.circle(dust, centre, radius, int(18 + 55 * level), -1, cv2.LINE_AA, shift=4)
        for x, y, size, angle in rng.random((int(rng.poisson(1.5)), 4)):
            centre = int(x * side * 16), int(y * side * 16)
            axes = int((4 + 8 * size) * self._unit * 16), int((3 + 3 * size) * self._unit * 16)
            turn = int(angle * 360)
            cv2.ellipse(dust, centre, axes, turn, 0, 120, 40, 1, cv2.LINE_AA, shift=4)
        return cv2.add(belt, dust, dtype=cv2.CV_32F)  # type: ignore[return-value]

    def _light(self, rng: np.random.Generator) -> Field:
        """Gain of the lamp over the scene: a gradient, falling off toward the corners."""
        level = rng.uniform(0.91, 1.17)
        across, down = rng.uniform(-0.12, 0.12, 2)
        x0, y0 = rng.uniform(-0.35, 0.35, 2)
        x, y = self._across - np.float32(x0), self._down - np.float32(y0)
        light = np.float32(across) * self._across + np.float32(down) * self._down
        light -= np.float32(rng.uniform(0.05, 0.11)) * (x * x + y * y)
        light += np.float32(level)
        return light

    def _pose(
        self, rng: np.random.Generator, direction: tuple[float, float]
    ) -> tuple[npt.NDArray[np.float64], Place]:
        """Where the guide rails left the part: a few pixels, degrees and per mille of height."""
        dx, dy = rng.normal(0.0, 2.6, 2).clip(-7.0, 7.0) * self._unit
        degrees, scale = rng.normal(0.0, 2.4), rng.normal(1.0, 0.010)
        centre = (self.size_px - 1) / 2.0
        pose = cv2.getRotationMatrix2D((centre, centre), degrees, scale).astype(np.float64)
        pose[:, 2] += dx, dy
        return pose, Place((centre + dx, centre + dy), self._unit * scale, direction)

    def _placed(self, field: Field, pose: npt.NDArray[np.float64]) -> Field:
        """A field of the part's frame as the camera sees it."""
        size = (self.size_px, self.size_px)
        return cv2.warpAffine(field, pose, size, flags=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def _without_feature(
        self, pose: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Surface, Mask]:
        """The surface with one hole or the slot never made, and where it should be."""
        feature = self._flange.features[int(rng.integers(len(self._flange.features)))]
        surface = self._flange.surface.copy()
        there = feature.support[feature.window] > 0
        for field, plain in (
            (surface.level, feature.without.level),
            (surface.slope_x, feature.without.slope_x),
            (surface.slope_y, feature.without.slope_y),
        ):
            np.copyto(field[feature.window], plain, where=there)
        seen = self._placed(feature.support, pose)
        return surface, np.where(seen > 0, np.uint8(255), np.uint8(0))

    def _metal(
        self,
        surface: Surface,
        direction: tuple[float, float],
        pose: npt.NDArray[np.float64],
        rng: np.random.Generator,
    ) -> Field:
        """Gray levels of the lit part in its own frame, 0 outside the plate."""
        c, s = float(pose[0, 0]), float(pose[0, 1])  # the light turns against the part
        lx, ly = c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]
        gloss = np.zeros_like(surface.level)
        # turned metal glints in two opposite sectors, the "bow tie" across the light
        sector = np.arctan2(ly, lx) + rng.normal(0.0, 0.2)
        amount, sharp = rng.uniform(0.05, 0.15), rng.uniform(0.0, 0.04)
        weights = (
            *(amount * np.cos(2 * sector), amount * np.sin(2 * sector)),
            *(sharp * np.cos(4 * sector), sharp * np.sin(4 * sector)),
        )
        for weight, field in zip(weights, self._flange.lobes, strict=True):
            cv2.scaleAdd(field, float(weight), gloss, gloss)
        marks = rng.standard_normal(3)
        marks *= rng.uniform(0.014, 0.034) / max(float(np.linalg.norm(marks)), 1e-6)
        for weight, field in zip(marks, self._flange.textures, strict=True):
            cv2.scaleAdd(field, float(weight), gloss, gloss)
        self._tool_marks(gloss, rng)
        gloss += np.float32(1.0 + rng.normal(0.0, 0.05))
        metal: Field = surface.level * gloss
        cv2.scaleAdd(surface.slope_x, _RELIEF * lx, metal, metal)
        cv2.scaleAdd(surface.slope_y, _RELIEF * ly, metal, metal)
        return metal

    def _tool_marks(self, gloss: Field, rng: np.random.Generator) -> None:
        """Faint arcs the cutter leaves around the centre; harmless, never as deep as a scratch."""
        marks = np.zeros(gloss.shape, np.uint8)
        centre = int((self.size_px - 1) * 8)
        for radius, start, sweep, depth in rng.random((int(rng.integers(0, 5)), 4)):
            reach = int((30.0 + 60.0 * radius) * self._unit * 16)
            first, last = 360.0 * start, 360.0 * start + 30.0 + 140.0 * sweep
            level = int(120 + 135 * depth)
            axes = (reach, reach)
            cv2.ellipse(marks, (centre, centre), axes, 0, first, last, level, 1, cv2.LINE_AA, 4)
        sign = 1.0 if rng.random() < 0.5 else -1.0
        cv2.scaleAdd(marks.astype(np.float32), sign * 0.048 / 255.0, gloss, gloss)

    def _cast_shadow(
        self,
        scene: Field,
        alpha: Field,
        direction: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        """Darken the belt beside the part, away from the light."""
        reach = rng.uniform(3.0, 6.0) * self._unit
        small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        move = np.array([[1, 0, -reach * direction[0] / 4], [0, 1, -reach * direction[1] / 4]])
        small = cv2.warpAffine(small, move, (small.shape[1], small.shape[0]))
        small = cv2.GaussianBlur(small, (0, 0), 1.1 * self._unit)
        shadow = cv2.resize(small, (self.size_px, self.size_px), interpolation=cv2.INTER_LINEAR)
        scene -= scene * (shadow * np.float32(rng.uniform(0.35, 0.6)))

    def _exposed(self, scene: Field, rng: np.random.Generator) -> Picture:
        """What the sensor makes of the scene: noise that grows with the light, then 8 bits."""
        top, left = rng.integers(0, self.size_px, 2)
        read, shot = rng.uniform(1.0, 1.8), rng.uniform(0.004, 0.010)
        noise = self._noise[top : top + self.size_px, left : left + self.size_px]
        sigma = scene * np.float32(shot)
        sigma += np.float32(read)
        sigma *= noise
        return cv2.add(scene, sigma, dtype=cv2.CV_8U)  # type: ignore[return-value]
