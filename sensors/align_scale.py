"""One scale of a registration: a reference's edges, and the equations that they make.

picture(W x) = gain * reference(x) + light(x) is solved at the reference's edge pixels by
Gauss-Newton steps, for an affine W, the gain and an even slope of both light and gain at once;
inverse compositional, so the equations are set up once (Baker and Matthews 2004). A negative gain
is a print the other way round; a defect pulls with no more than the difference it is clipped to.
(Leaving it out instead served large blots better, and boards that are not quite the reference's
worse: no place was best for those.)

What edges do not hold (a straight trace says nothing of a shift along it) stays at its nominal
place: W is drawn to the identity as by a spring, softer than any edge that holds something.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

MIN_GAIN = 0.04  # of the reference's contrast: 10 gray levels between board and copper
EDGE = 4.0  # gray levels a pixel, from which a slope is an edge
UNKNOWNS = 6  # of a shape: shift 2, linear part 4

Array = npt.NDArray[Any]

_BORDER = 4  # no edges so near the border of a scale: the other picture may not have them
_STEPS = 6
_SETTLED = 0.02  # pixels of the scale
_CLIP = 64.0  # gray levels of the reference that a difference counts for, at the least
_TILES = 4  # the residual is taken in so many rows and columns
_PATCHES = 16  # and edges are looked at in so many
# A patch with less than this share of its edges across the others has one straight edge.
_STEPPED = 0.02
# The spring, as how far an edge pixel may be off in gray levels for reasons that its neighbours
# share, against pixels at the border by which shift, scale and turn, stretch and shear are off;
# and as a share of all edges, for what little the steps of a slanting edge seem to hold.
_OFF, _SHIFT_PX, _TURN_PX, _STRETCH_PX = 200.0, 2.5, 1.5, 0.3
_SHARE = 0.0003
# Slopes of light are small, and those of gain smaller: else they imitate a shift.
_LIGHT = (1e-3, 1e-3, 50.0, 50.0, 1e5, 1e5)
_ALL = 12  # unknowns: the shape, gain, light, slopes of both


class Scale:
    """One scale: the reference's edge pixels, and the equations they make."""

    def __init__(self, size: tuple[int, int], px: int, most: int) -> None:
        """size: (width, height); px: pixels of the picture to one of this scale; most: points."""
        width, height = self._size = size
        self._px, self._half = px, max(size) / 2
        shape = height, width
        self._soft, self._dx, self._dy, self._power, self._picture, self._moved = (
            np.zeros(shape, np.float32) for _ in range(6)
        )
        self._is_edge = np.zeros(shape, np.bool_)  # stays False at the border
        self._inside = (slice(_BORDER, -_BORDER),) * 2
        y, x = np.mgrid[:height, :width]
        self._x = ((x - (width - 1) / 2) / self._half).astype(np.float32)
        self._y = ((y - (height - 1) / 2) / self._half).astype(np.float32)
        self._tiles = y * _TILES // height * _TILES + x * _TILES // width
        self._patches = y * _PATCHES // height * _PATCHES + x * _PATCHES // width
        self._all = np.zeros((_ALL, most), np.float32)
        self._spring = _spring(px)

    def show(self, reference: Array, picture: Array) -> None:
        """Find the edges and set up the equations, one row of `rows` an unknown."""
        for array, soft in ((reference, self._soft), (picture, self._picture)):
            np.copyto(self._moved, array)
            cv2.GaussianBlur(self._moved, (5, 5), 1.0, dst=soft)
        cv2.Sobel(self._soft, cv2.CV_32F, 1, 0, dst=self._dx, ksize=3, scale=1 / 8)
        cv2.Sobel(self._soft, cv2.CV_32F, 0, 1, dst=self._dy, ksize=3, scale=1 / 8)
        np.multiply(self._dx, self._dx, out=self._power)
        self._power += np.multiply(self._dy, self._dy, out=self._moved)
        inside = self._inside
        np.greater(self._power[inside], EDGE**2, out=self._is_edge[inside])
        at = np.flatnonzero(self._is_edge)
        self._at = np.ascontiguousarray(at[:: len(at) // self._all.shape[1] + 1])
        self.points = len(self._at)
        rows = self._rows = self._all[:, : self.points]
        np.take(self._dx, self._at, out=rows[0])
        np.take(self._dy, self._at, out=rows[1])
        _straighten(rows[0], rows[1], np.take(self._patches, self._at))
        np.take(self._soft, self._at, out=rows[6])
        rows[6] -= 127.5
        rows[7] = 1.0
        x, y = np.take(self._x, self._at, out=rows[8]), np.take(self._y, self._at, out=rows[9])
        for place, (row, by) in enumerate(((0, x), (0, y), (1, x), (1, y)), start=2):
            np.multiply(rows[row], by, out=rows[place])
        np.multiply(rows[6], x, out=rows[10])
        np.multiply(rows[6], y, out=rows[11])
        self._normal = np.einsum("ik,jk->ij", rows, rows).astype(np.float64)
        power = float(self._normal[0, 0] + self._normal[1, 1])
        self._pull = self._spring + _SHARE * power * np.eye(UNKNOWNS)
        self._normal[:UNKNOWNS, :UNKNOWNS] += self._pull
        self._normal[range(UNKNOWNS, _ALL), range(UNKNOWNS, _ALL)] += _LIGHT

    def settled(self, shape: Array, gain: float) -> tuple[Array, float, bool]:
        """Steps from a shape to the best: (shape, gain, whether they came to rest).

        shape: the shift, and the linear part less the identity as what it does to the longer half
        side, in pixels of this scale.
        """
        last = math.inf
        for step in range(_STEPS):
            seen = np.take(self._picture_at(shape), self._at)
            known = self._clipped(seen) if step else seen
            sums = np.einsum("ik,k->i", self._rows, known).astype(np.float64)
            sums[:UNKNOWNS] += gain * (self._pull @ shape)
            found = np.linalg.solve(self._normal, sums)
            self._seen, self._found, gain = seen, found.astype(np.float32), float(found[UNKNOWNS])
            self._model = np.einsum("i,ik->k", self._found[UNKNOWNS:], self._rows[UNKNOWNS:])
            if abs(gain) < MIN_GAIN / 4:
                return shape, gain, False
            change = found[:UNKNOWNS] / gain
            last = float(np.abs(change).max())
            if not last <= self._half / 4:
                return shape, gain, False
            shape = _without(shape, change, self._half)
            if last < _SETTLED:
                break
        return shape, gain, last < 10 * _SETTLED

    def judged(self, gain: float) -> tuple[float, float, float]:
        """(correlation, residual_px, loose_px) of the place last looked at."""
        if not abs(gain) >= MIN_GAIN / 4:
            return 0.0, math.inf, math.inf
        off = self._seen - self._model
        lit = self._seen - np.einsum("i,ik->k", self._found[7:10], self._rows[7:10])
        unexplained = float(np.square(off).sum()) / max(float(np.square(lit).sum()), 1e-6)
        correlation = math.copysign(math.sqrt(max(1.0 - unexplained, 0.0)), gain)
        return correlation, self._residual_px(off / np.float32(gain)), self._loose_px()

    def _picture_at(self, shape: Array) -> Array:
        moved: Array = cv2.warpAffine(
            self._picture,
            affine(shape, *self._size),
            self._size,
            dst=self._moved,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return moved

    def _clipped(self, seen: Array) -> Array:
        """What was seen, with its differences from the model cut to what is usual."""
        off: Array = seen - self._model
        least = _CLIP * abs(float(self._found[UNKNOWNS]))
        most = np.float32(max(least, 2.5 * float(np.abs(off).mean())))
        np.clip(off, -most, most, out=off)
        off += self._model
        return off

    def _residual_px(self, off: Array) -> float:
        """RMS over tiles of the shift across the edges that is left in each, in picture pixels."""
        dx, dy = self._rows[0], self._rows[1]
        tiles = np.take(self._tiles, self._at)
        terms = (dx * dx, dx * dy, dy * dy, dx * off, dy * off)
        sums: list[Array] = [np.bincount(tiles, term, _TILES**2) for term in terms]
        xx, xy, yy, xo, yo = sums
        power = xx + yy
        xx, yy = xx + 0.01 * power + 1.0, yy + 0.01 * power + 1.0
        whole = xx * yy - xy * xy
        x, y = (yy * xo - xy * yo) / whole, (xx * yo - xy * xo) / whole
        across = float((xx * x * x + 2 * xy * x * y + yy * y * y).sum() / power.sum())
        return math.sqrt(max(across, 0.0)) * self._px

    def _loose_px(self) -> float:
        """RMS displacement of the corners that the equations leave open, in picture pixels."""
        spread = np.linalg.inv(self._normal)[:UNKNOWNS, :UNKNOWNS]
        return math.sqrt(max(float(np.trace(spread)), 0.0)) * _OFF * self._px


def affine(shape: Array, width: int, height: int) -> Array:
    """The (2, 3) matrix of a shape, about the picture's centre."""
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = np.eye(2) + shape[2:].reshape(2, 2) / (max(width, height) / 2)
    return np.column_stack([linear, centre - linear @ centre + shape[:2]])


def _straighten(dx: Array, dy: Array, patch: Array) -> None:
    """Take the slopes' part along the edge away, in place, where a patch has one straight edge.

    The steps of a slanting edge lie elsewhere in each picture of it; they would be matched.
    """
    xx, xy, yy = (np.bincount(patch, term, _PATCHES**2) for term in (dx * dx, dx * dy, dy * dy))
    turn = 0.5 * np.arctan2(2 * xy, xx - yy)
    spread = np.hypot(xx - yy, 2 * xy)
    along = np.maximum(xx + yy - spread, 0.0) / np.maximum(xx + yy + spread, 1e-6)
    kept = np.clip((along - _STEPPED) / _STEPPED, 0.0, 1.0)
    lost = np.take((1.0 - kept).astype(np.float32), patch)
    cos, sin = (np.take(f(turn).astype(np.float32), patch) for f in (np.cos, np.sin))
    lost *= cos * dy - sin * dx
    dx += sin * lost
    dy -= cos * lost


def _spring(px: int) -> Array:
    """What draws a shape to the identity: shift; scale and turn; stretch and shear."""
    stiff = (_OFF / px) ** 2
    sums = np.array([[1, 0, 0, 1], [0, -1, 1, 0], [1, 0, 0, -1], [0, 1, 1, 0]])
    weights = np.array([_TURN_PX, _TURN_PX, _STRETCH_PX, _STRETCH_PX]) ** -2.0
    spring = np.zeros((UNKNOWNS, UNKNOWNS))
    spring[0, 0] = spring[1, 1] = stiff / _SHIFT_PX**2
    spring[2:, 2:] = sums.T @ np.diag(weights * stiff / 2) @ sums
    return spring


def _without(shape: Array, change: Array, half: float) -> Array:
    """The shape that takes a change of the reference back first: W(shape) after W(change)^-1."""
    linear, change_linear = (np.eye(2) + s[2:].reshape(2, 2) / half for s in (shape, change))
    both = linear @ np.linalg.inv(change_linear)
    return np.concatenate([shape[:2] - both @ change[:2], ((both - np.eye(2)) * half).ravel()])
