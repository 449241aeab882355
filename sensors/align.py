"""Registration: a part's reference moved to where the camera saw the part.

The picture is compared with the reference at the reference's own edges: first the best whole shift
on a coarse scale, by correlation; then an affine transform in small steps, there and on a finer
scale (sensors/align_scale.py); then one pass writes the reference into the picture's frame, so that
whatever is found stays in the picture's pixels. What fits badly is no registration, and says why.

One thread, and the same bytes for the same bytes: no BLAS over pixels, whose sums depend on its
number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from edge.core.clock import now_ns
from edge.core.types import ALIGN_SIDE_PX, Record, ViewSpec
from sensors.align_scale import EDGE, MIN_GAIN, UNKNOWNS, Array, Scale, affine

WORK_SIDE_PX = 768  # the longest side of the finer scale, half the picture's or less
MAX_MOVE_PX = 16.0  # of any corner of a 512 px picture: what the search and the steps can follow
MIN_CORRELATION = 0.75
MAX_RESIDUAL_PX = 2.0

_FINE_POINTS, _COARSE_POINTS = 4000, 2000  # edge pixels in use, at most
_FEW = 40  # edge pixels of the finer scale: a reference with fewer shows nothing
_SEARCH = 2  # coarse pixels in each direction, of four picture pixels each or more
# Share of edge pixels in a picture of a reference without any; a flaw of 40 px makes 0.0035.
_BUSY = 0.01
# The matrix is rounded to what is coarser than another processor's rounding in the sums.
_GRID = np.array([2.0**20, 2.0**20, 2.0**10])


class UnplacedError(Exception):
    """A reference that cannot be found in its picture; the part becomes UNFIT_IMAGE."""


class Registration(Record, frozen=True):
    """Where a reference lies in a picture, and how well it fits there.

    matrix: affine, row by row, from reference pixels to picture pixels. correlation: of the
    picture with the moved reference at its edges, negative where the print is inverted, 0 for a
    blank reference. residual_px: what is left between the two across their edges, RMS over parts of
    the picture. loose_px: by how much the corners may be off (RMS) for want of edges that hold
    them; no harm, as there is nothing to compare. ok: the reference was written; otherwise `why`
    says what was wrong.
    """

    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    correlation: float = 0.0
    residual_px: float = 0.0
    loose_px: float = 0.0
    ok: bool = False
    why: str = ""


def registered(reference: Array, picture: Array, out: Array) -> Registration:
    """Write the reference, moved to where the picture has it, into `out`; see Aligner."""
    return Aligner(reference.shape).registered(reference, picture, out)


class Aligner:
    """Registers pictures of one size; its buffers are kept between calls, so for one thread."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """shape: (H, W), sides of at least ALIGN_SIDE_PX; ValueError for another."""
        if len(shape) != 2 or min(shape) < ALIGN_SIDE_PX:
            raise ValueError(f"{shape}: gray pictures with sides of at least {ALIGN_SIDE_PX} px")
        self._shape, self._by = shape, 2
        while max(shape) > WORK_SIDE_PX * self._by:
            self._by *= 2
        self._height, self._width = (side - side % (2 * self._by) for side in shape)
        size = self._width // self._by, self._height // self._by
        self._fine = Scale(size, self._by, _FINE_POINTS)
        self._coarse = Scale((size[0] // 2, size[1] // 2), 2 * self._by, _COARSE_POINTS)
        self._pristine = np.empty(shape, np.uint8)

    def registered(self, reference: Array, picture: Array, out: Array) -> Registration:
        """Write the reference, moved to where the picture has it, into `out`.

        All uint8 (H, W), out neither of the others and, if not ok, undefined. Pixels from
        outside the reference repeat its border. ValueError for other arrays.
        """
        self._check(reference, picture, out)
        height, width, fine, coarse = self._height, self._width, self._fine, self._coarse
        views = [_shrunk(array[:height, :width], self._by) for array in (reference, picture)]
        small = [_shrunk(array, 2) for array in views]
        fine.show(*views)
        if fine.points < _FEW:
            return _blank(reference, small[1], out)
        coarse.show(*small)
        shape, gain, _ = coarse.settled(*_sought(*small))
        shape, gain, settled = fine.settled(shape * 2, gain)
        matrix = np.rint(affine(shape * self._by, width, height) * _GRID) / _GRID
        correlation, residual_px, loose_px = fine.judged(gain)
        why = self._why(matrix, gain, correlation, residual_px)
        if not why and not settled:
            why = "no place that fits best"
        if not why:
            _moved_into(reference, matrix, out)
        told = correlation, residual_px, loose_px
        return Registration(tuple(matrix.ravel().tolist()), *told, ok=not why, why=why)

    def place(self, picture: Array, reference: Array) -> None:
        """Move a pristine reference in place to where the picture has it; UnplacedError."""
        np.copyto(self._pristine, reference)
        found = self.registered(self._pristine, picture, reference)
        if not found.ok:
            raise UnplacedError(found.why)

    def _check(self, reference: Array, picture: Array, out: Array) -> None:
        for array in (reference, picture, out):
            if array.dtype != np.uint8 or array.shape != self._shape:
                raise ValueError(f"{array.dtype} {array.shape}, not uint8 {self._shape}")
        if np.may_share_memory(out, reference) or np.may_share_memory(out, picture):
            raise ValueError("out is one of the pictures themselves")

    def _why(self, matrix: Array, gain: float, correlation: float, residual_px: float) -> str:
        """Why this is no registration; "" if it is one."""
        height, width = self._height, self._width
        corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]])
        moved_px = float(np.abs(matrix[:, :2] @ corners + matrix[:, 2:] - corners).max())
        most_px = MAX_MOVE_PX * max(1.0, max(height, width) / 512)
        if not abs(gain) >= MIN_GAIN:
            return f"contrast {abs(gain):.3f} of the reference's, at least {MIN_GAIN}"
        if not abs(correlation) >= MIN_CORRELATION:
            return f"correlation {correlation:.2f}, at least {MIN_CORRELATION}"
        if not residual_px <= MAX_RESIDUAL_PX:
            return f"{residual_px:.1f} px left between the edges, at most {MAX_RESIDUAL_PX:g}"
        return "" if moved_px <= most_px else f"moved by {moved_px:.0f} px, at most {most_px:.0f}"


class References:
    """The references of a part that its views want registered; for one thread."""

    def __init__(self, views: Sequence[ViewSpec]) -> None:
        self._picture = next((view.name for view in views if view.kind == "picture"), "")
        self._aligners = {
            view.name: Aligner(view.shape) for view in views if view.align == "affine"
        }

    def place(self, arrays: Mapping[str, Array]) -> int:
        """Register those just written with the first picture, in place; how many ns it took.

        Raises UnplacedError, the references then undefined.
        """
        if not self._aligners:
            return 0
        started_ns, picture = now_ns(), arrays[self._picture]
        for name, aligner in self._aligners.items():
            try:
                aligner.place(picture, arrays[name])
            except UnplacedError as why:
                told = f"{name} cannot be registered with {self._picture}: {why}"
                raise UnplacedError(told) from None
        return now_ns() - started_ns


def _shrunk(picture: Array, by: int) -> Array:
    height, width = picture.shape
    return cv2.resize(picture, (width // by, height // by), interpolation=cv2.INTER_AREA)


def _sought(reference: Array, picture: Array) -> tuple[Array, float]:
    """(shape, gain) to start from: the best whole shift, whichever way round the print is."""
    inner = reference[_SEARCH:-_SEARCH, _SEARCH:-_SEARCH]
    like = cv2.matchTemplate(picture, inner, cv2.TM_CCOEFF_NORMED)
    best = int(np.abs(like).argmax())
    shape = np.zeros(UNKNOWNS)
    shape[1], shape[0] = (place - _SEARCH for place in divmod(best, like.shape[1]))
    return shape, math.copysign(0.5, like.ravel()[best])


def _blank(reference: Array, picture: Array, out: Array) -> Registration:
    """A reference without edges looks the same wherever it lies, so it is right where it is."""
    ways = (1, 0), (0, 1)
    dx, dy = (cv2.Sobel(picture, cv2.CV_32F, *way, ksize=3, scale=1 / 8) for way in ways)
    busy = float(np.mean(dx * dx + dy * dy > EDGE**2))
    if busy > _BUSY:
        edges = f"{100 * busy:.0f} % of the picture are edges"
        return Registration(why=f"the reference is blank, and {edges}")
    np.copyto(out, reference)
    return Registration(ok=True)


def _moved_into(reference: Array, matrix: Array, out: Array) -> None:
    height, width = reference.shape
    moved = cv2.warpAffine(  # which inverts the matrix itself
        reference,
        matrix,
        (width, height),
        dst=out,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if moved is not out and not np.shares_memory(moved, out):
        np.copyto(out, moved)  # OpenCV could not use the destination
