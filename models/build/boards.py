"""Bare boards drawn from a seed: a binary design, a camera's picture of it, and one flaw.

For packages that compare a picture with its reference and whose own pictures must not be
copied. Nothing here is taken from a picture of anyone's: traces, pads and planes are drawn,
and the six flaws of the trade are put where the drawn copper has room for them.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Flaw = Literal["open", "short", "mousebite", "spur", "pinhole", "spurious copper"]
FLAWS: tuple[Flaw, ...] = ("open", "short", "mousebite", "spur", "pinhole", "spurious copper")

_PITCH_PX = 40  # between lanes of traces
_MARGIN_PX = 24  # no flaw so near the border, where a shifted reference says nothing


def board(
    rng: np.random.Generator, size_px: tuple[int, int], flaw: Flaw
) -> tuple[Picture, Picture, Picture] | None:
    """A drawn board as (reference, good picture, flawed picture), uint8 (H, W) each.

    The reference is binary; the pictures are as a camera takes them: shifted by up to a pixel,
    soft, gray, unevenly lit, and the same but for the flaw. None where the board has no place
    for the flaw.
    """
    copper = _copper(rng, size_px)
    flawed = _with_flaw(copper, flaw, rng)
    if flawed is None:
        return None
    if rng.random() < 0.5:  # both prints occur: copper bright on dark, and the other way
        copper, flawed = np.bitwise_not(copper), np.bitwise_not(flawed)
    move = np.array([[1, 0, rng.uniform(-1, 1)], [0, 1, rng.uniform(-1, 1)]], np.float32)
    low, high = rng.uniform(30, 55), rng.uniform(165, 200)
    slope = rng.uniform(-9, 9, 2)
    blur = float(rng.uniform(0.8, 1.2))
    pictures = [taken(design, move, (low, high), slope, blur) for design in (copper, flawed)]
    return copper, pictures[0], pictures[1]


def _copper(rng: np.random.Generator, size_px: tuple[int, int]) -> Picture:
    """255 on copper: a plane, lanes of traces with a jog in each, a pad at every end."""
    height, width = size_px
    drawn = np.zeros(size_px, np.uint8)
    pads: list[tuple[int, int]] = []
    left = int(rng.integers(0, width - width // 3))
    cv2.rectangle(drawn, (left, height * 4 // 5), (left + width // 3, height), 255, -1)
    for x in range(_PITCH_PX // 2, width - _PITCH_PX // 2, _PITCH_PX):
        top, bottom = (int(v) for v in rng.uniform((0.0, 0.55), (0.25, 0.75)) * height)
        knee, jog = int(rng.integers(top, bottom)), int(rng.choice((-_PITCH_PX, 0, _PITCH_PX)) // 2)
        turn = knee + abs(jog)
        points = np.array([(x, top), (x, knee), (x + jog, turn), (x + jog, max(turn, bottom))])
        cv2.polylines(drawn, [points.astype(np.int32)], False, 255, int(rng.integers(8, 15)))
        if rng.random() < 0.7:
            pads.append((x, top))
    for x, y in pads:
        cv2.circle(drawn, (x, y), 15, 255, -1)
        cv2.circle(drawn, (x, y), 6, 0, -1)
    return drawn


def _with_flaw(copper: Picture, flaw: Flaw, rng: np.random.Generator) -> Picture | None:
    """A copy with one flaw, found by how far each point lies from the other material."""
    inside = cv2.distanceTransform(copper, cv2.DIST_L2, 5).astype(np.float32)
    outside = cv2.distanceTransform(np.bitwise_not(copper), cv2.DIST_L2, 5).astype(np.float32)
    match flaw:
        case "open":  # the middle of a trace, cut right through
            there, value, radius = ridge(inside, 4, 8), 0, None
        case "short":  # the middle of a gap, filled right through
            there, value, radius = ridge(outside, 5, 16), 255, None
        case "mousebite":
            there, value, radius = (inside > 0) & (inside <= 1.5), 0, (3, 6)
        case "spur":
            there, value, radius = (outside > 0) & (outside <= 1.5), 255, (3, 6)
        case "pinhole":
            there, value, radius = inside > 5, 0, (2, 5)
        case "spurious copper":
            there, value, radius = outside > 10, 255, (3, 7)
    border = np.zeros_like(there)
    border[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX] = True
    ys, xs = np.nonzero(there & border)
    if not len(ys):
        return None
    place = int(rng.integers(len(ys)))
    x, y = int(xs[place]), int(ys[place])
    reach = int(max(inside[y, x], outside[y, x])) + 2
    made = copper.copy()
    cv2.circle(made, (x, y), reach if radius is None else int(rng.integers(*radius)), value, -1)
    return made


def ridge(distance: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.bool_]:
    """Points in the middle of something whose half width is within low..high px.

    distance: of each point from where it ends, float32 (H, W).
    """
    highest = cv2.dilate(distance, np.ones((5, 5), np.uint8))
    return np.asarray((distance >= highest) & (distance >= low) & (distance <= high))


def taken(
    design: Picture,
    move: npt.NDArray[np.float32],
    levels: tuple[float, float],
    slope: npt.NDArray[np.float64],
    blur: float,
) -> Picture:
    """The design as a camera sees it; without noise, which would cost what it does not tell."""
    height, width = design.shape
    moved = cv2.warpAffine(
        design.astype(np.float32) / 255, move, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    soft = cv2.GaussianBlur(moved, (0, 0), blur)
    light = (
        np.linspace(-slope[0], slope[0], width) + np.linspace(-slope[1], slope[1], height)[:, None]
    )
    gray = levels[0] + (levels[1] - levels[0]) * soft + light * (0.3 + 0.7 * soft)
    return np.asarray(np.clip(np.rint(gray), 0, 255), np.uint8)
