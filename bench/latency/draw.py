"""Patterns that lie within a package's envelope, for a package whose product is not at hand.

They look like nothing; what they share with the product is what the envelope measures:
brightness, contrast, structure, hard edges, grain. Their scores mean nothing. A picture and its
reference share one pattern, so that they correlate as the two views of a part do.
"""

from __future__ import annotations

import base64
from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.errors import EdgeError
from edge.core.types import ViewSpec
from models.envelope import PRESENCE, THUMB_PX, Gauge
from models.manifest import Bound, Envelope, Manifest

Picture = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

# Sides of a pattern's blobs by the picture's side, from tracks to a few large areas.
_SIDES = (1 / 64, 1 / 24, 1 / 8)
_DARK = (0.0, 30.0, 60.0, 90.0, 120.0)  # gray level of the pattern's low parts
_SPREAD = (30.0, 60.0, 90.0, 130.0, 190.0, 255.0)  # of its high parts above them
_BLUR_PX = (0.0, 0.7, 1.5)
_NOISE = (3.0, 0.0, 8.0)  # some first: a sensor's noise never repeats
_SPECKS = (0.0, 0.002, 0.02)  # share of hard dots, where a smooth base has no hard edges
_SEED = 4711


class _Look(NamedTuple):
    """How one view is made of the pattern."""

    dark: float
    spread: float
    blur_px: float
    noise: float
    specks: float


def drawn(manifest: Manifest, count: int) -> list[dict[str, npt.NDArray[Any]]]:
    """Parts by view name that should be fit; the caller holds them against the gauge.

    EdgeError names the bound that nothing drawn has met.
    """
    views = [view for view in manifest.views if view.kind != "samples"]
    gauges = {view.name: Gauge((_alone(view),), Envelope()) for view in views}
    nearest = (np.inf, "")
    for base in _bases(manifest):
        looks: dict[str, _Look] = {}
        for view in views:
            bounds = [b for b in manifest.envelope.bounds if b.view == view.name]
            look, missed = _search(view, base, bounds, gauges[view.name])
            nearest = min(nearest, missed) if missed[0] else nearest
            if look is None:
                break
            looks[view.name] = look
        if len(looks) == len(views) and _agrees(manifest, base, looks):
            return [_part(manifest, base, looks, index) for index in range(count)]
    raise EdgeError(nearest[1] or "the views do not agree")


class _Base(NamedTuple):
    """A pattern by blob size, or the package's own mean thumbnail enlarged."""

    side: float
    thumbnail: Field | None

    def field(self, shape: tuple[int, ...], index: int) -> Field:
        """The pattern number `index` between 0 and 1, (H, W)."""
        height, width = shape[:2]
        if self.thumbnail is not None:
            size = (width, height)
            return cv2.resize(self.thumbnail, size, interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]
        rng = np.random.default_rng([_SEED, index])
        cells = rng.standard_normal((height, width)).astype(np.float32)
        smooth = cv2.GaussianBlur(cells, (0, 0), max(1.0, self.side * min(height, width)))
        return (smooth > np.median(smooth)).astype(np.float32)  # type: ignore[no-any-return]


def _bases(manifest: Manifest) -> list[_Base]:
    bases = [_Base(side, None) for side in _SIDES]
    if not manifest.envelope.thumbnail:
        return bases
    raw = np.frombuffer(base64.b64decode(manifest.envelope.thumbnail), np.uint8)
    mean = raw.reshape(THUMB_PX, THUMB_PX).astype(np.float32)
    return [_Base(0.0, (mean - mean.min()) / max(1.0, float(np.ptp(mean)))), *bases]


def _search(
    view: ViewSpec, base: _Base, bounds: list[Bound], gauge: Gauge
) -> tuple[_Look | None, tuple[float, str]]:
    """The first look within the view's own bounds, and else how near the nearest came."""
    nearest = (np.inf, "")
    for values in product(_BLUR_PX, _NOISE, _SPECKS, _SPREAD, _DARK):
        blur_px, noise, specks, spread, dark = values
        look = _Look(dark, spread, blur_px, noise, specks)
        measured = gauge.measure({view.name: _draw(view, base, look, 0)})[view.name]
        missed = _missed(bounds, measured)
        if not missed[0]:
            return look, missed
        nearest = min(nearest, missed)
    return None, nearest


def _missed(bounds: list[Bound], measured: dict[str, float]) -> tuple[float, str]:
    """How far outside the bounds, in their widths, and the worst one in words."""
    total, worst, words = 0.0, 0.0, ""
    for bound in bounds:
        if bound.feature == PRESENCE:  # between views: see _agrees
            continue
        value = measured[bound.feature]
        # A tenth inside, so that the next pattern of the same look is within as well.
        slack = 0.1 * (bound.high - bound.low)
        out = max(bound.low + slack - value, value - bound.high + slack, 0.0)
        out /= max(bound.high - bound.low, 1e-6)
        total += out
        if out > worst:
            worst = out
            name = f"{bound.feature} of {bound.view}"
            words = f"{name} {value:.3g}, not {bound.low:.3g}..{bound.high:.3g}"
    return total, words


def _agrees(manifest: Manifest, base: _Base, looks: dict[str, _Look]) -> bool:
    gauge = Gauge(manifest.views, manifest.envelope)
    return not gauge.unfit(_part(manifest, base, looks, 0))


def _part(
    manifest: Manifest, base: _Base, looks: dict[str, _Look], index: int
) -> dict[str, npt.NDArray[Any]]:
    part: dict[str, npt.NDArray[Any]] = {}
    for view in manifest.views:
        if view.kind == "samples":
            rng = np.random.default_rng([_SEED, index, 1])
            part[view.name] = (0.01 * rng.standard_normal(view.shape)).astype(view.dtype)
        else:
            part[view.name] = _draw(view, base, looks[view.name], index)
    return part


def _draw(view: ViewSpec, base: _Base, look: _Look, index: int) -> Picture:
    height, width = view.shape[:2]
    field: npt.NDArray[Any] = base.field(view.shape, index)
    rng = np.random.default_rng([_SEED, index, sum(view.name.encode())])
    if look.specks:
        cell = max(2, width // 128)
        dots = rng.random((-(-height // cell), -(-width // cell))) < look.specks
        field = np.where(
            np.kron(dots, np.ones((cell, cell), bool))[:height, :width], 1 - field.round(), field
        )
    if look.blur_px:
        field = cv2.GaussianBlur(field.astype(np.float32), (0, 0), look.blur_px)
    levels = look.dark + look.spread * field
    if look.noise:
        levels = levels + look.noise * rng.standard_normal((height, width))
    gray = np.clip(levels, 0, 255).astype(np.uint8)
    return gray if len(view.shape) == 2 else np.repeat(gray[..., None], view.shape[2], axis=2)


def _alone(view: ViewSpec) -> ViewSpec:
    """The view as a picture by itself, so that measuring it needs no other."""
    return ViewSpec(view.name, "picture", view.dtype, view.shape, view.fit)
