"""Layouts of circuit boards drawn from a seed: more designs than a set of photographs holds.

A set with four designs teaches a network those four. Traces straight, bent and in meanders, pads in
rows and arrays, rings, vias, planes with their clearances, lettering: what a board may have without
being flawed. Its etching is a little rough, as a scan shows it, and patches of it may be set off by
some pixels, as where pictures were joined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.build.boards import taken
from models.build.paste import seamed

Array = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]
Generator = np.random.Generator


def layout(rng: Generator, size_px: tuple[int, int]) -> Picture:
    """Copper 255 on 0, uint8 (H, W): two to four regions, each of another kind."""
    side = int(max(size_px) * 1.5)
    out: Array = np.zeros((side, side), np.uint8)
    _KINDS[int(rng.integers(len(_KINDS)))](out, rng)
    for _ in range(int(rng.integers(1, 4))):
        y, x = (int(v) for v in rng.integers(0, side * 3 // 4, 2))
        height, width = (int(v) for v in rng.integers(side // 6, side * 2 // 3, 2))
        patch = np.zeros((height, width), np.uint8)
        _KINDS[int(rng.integers(len(_KINDS)))](patch, rng)
        there = out[y : y + height, x : x + width]
        there[:] = patch[: there.shape[0], : there.shape[1]]
    if rng.random() < 0.5:  # bare copper with the design etched out, or the other way round
        out = np.bitwise_not(out)
    if rng.random() < 0.25:
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), 45.0, 1.0)
        out = cv2.warpAffine(out, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    top, left = ((side - size) // 2 for size in size_px)
    return _etched(out[top : top + size_px[0], left : left + size_px[1]], rng)


def pictured(
    seed: int,
    size_px: tuple[int, int],
    draw: Callable[[Generator, tuple[int, int]], Picture] = layout,
) -> tuple[Picture, Picture]:
    """A drawn design as a camera sees it, seams and all, and as its registered reference."""
    rng = np.random.default_rng(seed)
    design = draw(rng, size_px)
    low, high = rng.uniform(20, 70), rng.uniform(130, 230)
    slope = rng.uniform(-14, 14, 2)
    still = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    picture = taken(seamed(design, rng), still, (low, high), slope, float(rng.uniform(0.7, 1.3)))
    noisy = picture + rng.normal(0, rng.uniform(0.5, 3.0), picture.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8), design


def _etched(copper: Picture, rng: Generator) -> Picture:
    """Edges that wander by a pixel or so, more on some boards than on others."""
    noise: Array = rng.standard_normal(copper.shape, np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(1.0, 2.5))
    noise = noise * np.float32(rng.uniform(0.0, 0.14) / max(float(noise.std()), 1e-6))
    soft = cv2.GaussianBlur(copper.astype(np.float32) / 255, (0, 0), rng.uniform(0.8, 1.8))
    return np.where(soft + noise > 0.5, np.uint8(255), np.uint8(0))


def _traces(out: Picture, rng: Generator) -> None:
    """Parallel traces with bends of 45 degrees, some ending in pads."""
    height, width = out.shape
    thick, gap = int(rng.integers(4, 18)), int(rng.integers(6, 30))
    knees = np.sort(rng.integers(0, max(2, height), 4))
    jogs = rng.integers(-60, 61, 4)
    for x in range(-100, width + 100, thick + gap):
        if rng.random() < 0.12:
            continue
        points, at = [(x, -10)], x
        for knee, jog in zip(knees, jogs, strict=True):
            points += [(at, int(knee)), (at + int(jog), int(knee) + abs(int(jog)))]
            at += int(jog)
        end = int(rng.integers(0, height)) if rng.random() < 0.3 else height + 10
        points = [point for point in points if point[1] <= end] + [(at, end)]
        cv2.polylines(out, [np.array(points, np.int32)], False, 255, thick)
        if end < height:
            cv2.circle(out, (at, end), int(thick * rng.uniform(0.8, 1.6)), 255, -1)


def _meanders(out: Picture, rng: Generator) -> None:
    """Traces that run to and fro, for their length."""
    height, width = out.shape
    thick, pitch = int(rng.integers(4, 10)), int(rng.integers(14, 34))
    swing = int(rng.integers(20, 70))
    for y in range(swing, height + swing, 2 * swing + int(rng.integers(10, 60))):
        points, up = [], 1
        for x in range(-10, width + 10, pitch):
            points += [(x, y + up * swing // 2), (x + pitch, y + up * swing // 2)]
            up = -up
        cv2.polylines(out, [np.array(points, np.int32)], False, 255, thick)


def _pads(out: Picture, rng: Generator) -> None:
    """Rows or arrays of pads: round, square, with or without a hole, some joined by traces."""
    height, width = out.shape
    pitch = int(rng.integers(20, 80))
    size = int(pitch * rng.uniform(0.25, 0.42))
    kind, hole = int(rng.integers(3)), int(size * rng.uniform(0.3, 0.6)) * int(rng.integers(2))
    long = float(rng.uniform(0.6, 1.6))
    for y in range(pitch // 2, height, pitch):
        for x in range(pitch // 2, width, pitch):
            if rng.random() < 0.1:
                continue
            if rng.random() < 0.25:
                to = (x + pitch * int(rng.integers(-1, 2)), y + pitch)
                cv2.line(out, (x, y), to, 255, max(3, size // 3))
            if kind == 0:
                cv2.circle(out, (x, y), size, 255, -1)
            elif kind == 1:
                half = int(size * long)
                cv2.rectangle(out, (x - size, y - half), (x + size, y + half), 255, -1)
            else:
                start = float(rng.uniform(0, 360))
                cv2.ellipse(out, (x, y), (size, size), start, 0, 300, 255, max(3, size // 3))
            if hole and kind != 2:
                cv2.circle(out, (x, y), hole, 0, -1)


def _plane(out: Picture, rng: Generator) -> None:
    """A plane with clearances, vias and thermal spokes."""
    height, width = out.shape
    out[:] = 255
    for _ in range(max(2, height * width // 9000)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        radius = int(rng.integers(4, 40))
        cv2.circle(out, (x, y), radius, 0, -1)
        if radius > 12 and rng.random() < 0.7:
            cv2.circle(out, (x, y), int(radius * rng.uniform(0.4, 0.7)), 255, -1)
            if rng.random() < 0.4:
                for dx, dy in ((radius, 0), (-radius, 0), (0, radius), (0, -radius)):
                    cv2.line(out, (x, y), (x + dx, y + dy), 255, max(3, radius // 5))
    for _ in range(int(rng.integers(0, 4))):
        start, end = rng.integers(0, (width, height), (2, 2))
        cv2.line(out, start.tolist(), end.tolist(), 0, int(rng.integers(5, 16)))


def _letters(out: Picture, rng: Generator) -> None:
    """Lettering, as on any board."""
    height, width = out.shape
    letters = "ABCDEFGHKLMNPRSTUX0123456789"
    y = 10
    while y < height:
        size = float(rng.uniform(0.5, 2.2))
        text = "".join(letters[int(i)] for i in rng.integers(0, len(letters), 12))
        y += int(40 * size)
        thick = max(2, int(size * rng.uniform(1.5, 3.5)))
        cv2.putText(out, text, (int(rng.integers(-20, 30)), y), 0, size, 255, thick)
        if rng.random() < 0.4:
            cv2.line(out, (0, y + 12), (width, y + 12), 255, int(rng.integers(3, 9)))
            y += 20


_KINDS: tuple[Callable[[Picture, Generator], None], ...] = (
    _traces,
    _traces,
    _meanders,
    _pads,
    _pads,
    _plane,
    _letters,
)
