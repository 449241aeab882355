"""The envelope of fit pictures: what a picture must look like before a score of it means anything.

A model asked about a capped lens answers all the same. So each package carries the ranges
that its training pictures kept to, and the score of a picture outside them is never looked at:
the part is UNFIT_IMAGE. Features are taken from about 128 rows of each picture, which costs tens of
microseconds and no allocation that depends on the picture's size:

    brightness  mean gray level                    contrast  standard deviation
    coarse      standard deviation of the thumbnail (noise has contrast, but none that is coarse)
    edge        the hardest step between neighbours, gray levels: what blur loses first
    grain       mean step by contrast               midtones  share of gray levels 16..239
    presence    correlation of the thumbnail with the reference's, or with the mean training
                thumbnail where the package has no reference: is it the product at all?

On circuit boards blurred by 8 px, contrast stays (55 of 71 gray levels), edge falls from 44 or
more to 11 or less.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.types import ViewSpec
from models import native
from models.manifest import Bound, Envelope

THUMB_PX = 32
ROWS = 128
MARGIN = 0.5  # outward on both sides, of the trimmed range
RATIO = 2.0  # the same for _SCALES: unseen board designs have up to 1.5 times train's grain
TRIM = 0.02  # of the training pictures on each side: sets hold a few unfit ones themselves
FEATURES = ("brightness", "contrast", "coarse", "edge", "grain", "midtones")
PRESENCE = "presence"
_SCALES = ("contrast", "coarse", "edge", "grain")  # positive, and compared by ratio
_LEAST = {"midtones": 0.2, "brightness": 4.0}  # at least so far outward, however narrow the range
# The hardest step is taken from the row of this rank, so that a few hot pixels of the sensor
# cannot pass for edges.
_EDGE_RANK = 4
_DARK, _BRIGHT = 16, 239

Array = npt.NDArray[Any]
Features = dict[str, float]


class _ViewGauge:
    """Measures one picture or reference view with buffers of its own."""

    def __init__(self, spec: ViewSpec, helper: Any) -> None:
        height, width = spec.shape[:2]
        self._step = max(1, height // ROWS)
        rows = len(range(0, height, self._step))
        # The helper's thumbnail is made of whole blocks of pixels.
        self._helper = helper if rows % THUMB_PX == 0 == width % THUMB_PX else None
        self._colour = len(spec.shape) == 3
        self._gray = np.zeros((rows, width), np.uint8)
        self._steps = np.zeros((rows, max(1, width - 1)), np.uint8)
        self._mask = np.zeros((rows, width), np.uint8)
        self._hardest = np.zeros(rows, np.uint8)
        self.thumb = np.zeros((THUMB_PX, THUMB_PX), np.uint8)
        self._flat = np.zeros((THUMB_PX, THUMB_PX), np.float32)

    def measure(self, picture: Array) -> tuple[float, ...]:
        """FEATURES of a picture; its thumbnail is in `thumb`."""
        if self._helper:
            found: tuple[float, ...] = self._helper.measure(
                picture, self._step, _DARK, _BRIGHT, self.thumb
            )
            return found
        return self._measure(picture)

    def _measure(self, picture: Array) -> tuple[float, ...]:
        rows = picture[:: self._step]
        if self._colour:
            cv2.extractChannel(rows, 1, self._gray)  # green, where most cameras see best
            rows = self._gray
        mean, spread = cv2.meanStdDev(rows)
        contrast = float(spread[0, 0])
        cv2.absdiff(rows[:, 1:], rows[:, :-1], self._steps)
        step = cv2.mean(self._steps)[0]
        self._steps.max(axis=1, out=self._hardest)  # 7 us; cv2.reduce takes 260
        rank = min(_EDGE_RANK, len(self._hardest))
        cv2.inRange(rows, _DARK, _BRIGHT, self._mask)
        cv2.resize(rows, (THUMB_PX, THUMB_PX), self.thumb, interpolation=cv2.INTER_AREA)
        return (
            float(mean[0, 0]),
            contrast,
            float(cv2.meanStdDev(self.thumb)[1][0, 0]),
            float(np.partition(self._hardest, -rank)[-rank]),
            step / max(contrast, 1.0),
            cv2.countNonZero(self._mask) / self._mask.size,
        )

    def flat(self) -> Array:
        """The last thumbnail as floats of mean zero and length one; zeros if it is uniform."""
        np.copyto(self._flat, self.thumb)
        self._flat -= self._flat.mean()
        length = float(np.sqrt(np.vdot(self._flat, self._flat)))
        self._flat *= 1.0 / max(length, 1e-3) if length > 1.0 else 0.0
        return self._flat


class Gauge:
    """Holds a part's views against a package's envelope."""

    def __init__(
        self, views: tuple[ViewSpec, ...], envelope: Envelope, helper: Any = native.helper
    ) -> None:
        self._gauges = {v.name: _ViewGauge(v, helper) for v in views if v.kind != "samples"}
        self._pictures = [v.name for v in views if v.kind == "picture"]
        self._reference = next((v.name for v in views if v.kind == "reference"), None)
        self._helper = helper
        names = (*FEATURES, PRESENCE)
        self._bounds = [(b, b.view, names.index(b.feature), b.low, b.high) for b in envelope.bounds]
        self._mean: Array | None = None
        if envelope.thumbnail:
            raw = np.frombuffer(base64.b64decode(envelope.thumbnail), np.uint8)
            self._mean = _unit(raw.reshape(THUMB_PX, THUMB_PX))

    def unfit(self, arrays: Mapping[str, Array]) -> str:
        """Why the views are not fit to judge, naming the first feature out of range; "" if fit."""
        if not self._bounds:
            return ""
        measured = self._measure(arrays)
        for bound, view, place, low, high in self._bounds:
            value = measured[view][place]
            if not low <= value <= high:  # also true of NaN
                return f"{bound.feature} of {view} is {value:.3g}, outside {low:.3g}..{high:.3g}"
        return ""

    def measure(self, arrays: Mapping[str, Array]) -> dict[str, Features]:
        """Every feature of every picture and reference view."""
        names = (*FEATURES, PRESENCE)
        return {
            view: dict(zip(names, values, strict=False))
            for view, values in self._measure(arrays).items()
        }

    def _measure(self, arrays: Mapping[str, Array]) -> dict[str, tuple[float, ...]]:
        """FEATURES by view, and presence behind them where there is something to be like."""
        found = {name: gauge.measure(arrays[name]) for name, gauge in self._gauges.items()}
        for name in self._pictures if self._reference or self._mean is not None else ():
            found[name] = (*found[name], self._presence(self._gauges[name]))
        return found

    def _presence(self, gauge: _ViewGauge) -> float:
        reference = self._gauges[self._reference] if self._reference else None
        if self._helper:
            like = reference.thumb if reference else self._mean
            return float(self._helper.agreement(gauge.thumb, like))
        flat = reference.flat() if reference else self._mean
        assert flat is not None
        return float(np.vdot(gauge.flat(), flat))

    def thumbnail(self, view: str) -> Array:
        """The view's thumbnail as last measured."""
        return self._gauges[view].thumb


def learn(views: tuple[ViewSpec, ...], pictures: npt.NDArray[np.uint8]) -> Envelope:
    """The envelope of training pictures (n, views, H, W), in the order of the picture views.

    Bounds are the range without the TRIM most extreme on each side, moved outward by MARGIN.
    presence has no upper bound, and is learned from the pictures within all other bounds: a
    blank board agrees with nothing, and would open the door to everything.
    """
    names = [view.name for view in views if view.kind != "samples"]
    thumbnail = ""
    if not any(view.kind == "reference" for view in views):
        thumbnail = _mean_thumbnail(views, names, pictures)
    gauge = Gauge(views, Envelope(thumbnail=thumbnail))
    seen = [gauge.measure(dict(zip(names, part, strict=True))) for part in pictures]
    bounds = [
        _bound(name, feature, [part[name][feature] for part in seen])
        for name in names
        for feature in seen[0][name]
        if feature != PRESENCE
    ]
    fit = [part for part in seen if all(b.low <= part[b.view][b.feature] <= b.high for b in bounds)]
    for name in names:
        if PRESENCE in seen[0][name]:
            low = float(np.quantile([part[name][PRESENCE] for part in fit or seen], TRIM))
            low -= MARGIN * (1 - low)
            bounds.append(Bound(view=name, feature=PRESENCE, low=low, high=1.001))
    return Envelope(bounds=tuple(bounds), thumbnail=thumbnail, margin=MARGIN)


def _bound(view: str, feature: str, values: list[float]) -> Bound:
    low, high = (float(v) for v in np.quantile(values, [TRIM, 1 - TRIM]))
    if feature in _SCALES:
        return Bound(view=view, feature=feature, low=low / RATIO, high=high * RATIO)
    out = max(MARGIN * (high - low), _LEAST.get(feature, 0.0))
    return Bound(view=view, feature=feature, low=low - out, high=high + out)


def _mean_thumbnail(
    views: tuple[ViewSpec, ...], names: list[str], pictures: npt.NDArray[np.uint8]
) -> str:
    gauge, total = Gauge(views, Envelope()), np.zeros((THUMB_PX, THUMB_PX), np.float64)
    for part in pictures:
        gauge.measure(dict(zip(names, part, strict=True)))
        total += gauge.thumbnail(names[0])
    mean = np.round(total / max(1, len(pictures))).astype(np.uint8)
    return base64.b64encode(mean.tobytes()).decode()


def _unit(thumb: Array) -> Array:
    flat = thumb.astype(np.float32) - float(thumb.mean())
    return flat / max(float(np.sqrt(np.vdot(flat, flat))), 1e-3)
