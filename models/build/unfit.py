"""Pictures that are whole but unfit to judge, and how many of them a package would pass.

The eight kinds a camera, a lamp or a wrong recipe makes. Each is held against the package
twice: with the part's own reference, and as a failed camera would deliver it, the same unfit
picture in every view.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.pool import FramePool
from models.envelope import Gauge
from models.package import Package
from models.session import BoundSession

Gray = npt.NDArray[np.uint8]
KINDS = ("black", "white", "uniform", "noise", "blurred", "inverted", "empty belt", "other set")
BLUR_SIGMA_PX = 8.0


class Unfit(NamedTuple):
    """One kind of unfit picture: how many were shown, refused as unfit, and passed."""

    kind: str
    shown: int
    refused: int
    passed: int


class Judge:
    """A package's worker without the process: gauge, session, threshold."""

    def __init__(self, package: Package, threads: int = 2) -> None:
        manifest = package.manifest
        self._pool = FramePool.create(manifest.views, 4)
        self._session = BoundSession(
            package.model_bytes(), manifest.views, self._pool, "cpu", threads
        )
        self._gauge, self._manifest = Gauge(manifest.views, manifest.envelope), manifest
        self.names = [view.name for view in manifest.views]

    def unfit(self, pictures: list[Gray]) -> str:
        """Why the views are refused; "" if they are fit."""
        self._write(pictures)
        return self._gauge.unfit(self._pool.arrays(0))

    def score(self, pictures: list[Gray]) -> float:
        """The score of the views, fit or not."""
        self._write(pictures)
        self._session.run(0)
        return float(self._session.outputs[self._manifest.outputs.score].reshape(-1)[0])

    def passes(self, pictures: list[Gray]) -> bool:
        """Whether the station would say PASS."""
        if self.unfit(pictures):
            return False
        return self.score(pictures) < self._manifest.thresholds.pass_below

    def _write(self, pictures: list[Gray]) -> None:
        arrays = self._pool.arrays(0)
        for name, picture in zip(self.names, pictures, strict=True):
            np.copyto(arrays[name], picture)


def survey(
    package: Package, parts: Gray, belts: list[Gray], others: list[Gray], *, seed: int = 1
) -> list[Unfit]:
    """Show each kind, made from good parts (n, views, H, W), and count what comes of it.

    belts and others are pictures of any size; they are resized to the package's picture.
    """
    judge, table = Judge(package), []
    for kind in KINDS:
        shown = refused = passed = 0
        for pictures in _pairs(kind, parts, belts, others, np.random.default_rng(seed)):
            shown += 1
            refused += bool(judge.unfit(pictures))
            passed += judge.passes(pictures)
        table.append(Unfit(kind, shown, refused, passed))
    return table


def refused_share(package: Package, parts: Gray) -> float:
    """The share of parts (n, views, H, W) that the envelope refuses."""
    judge = Judge(package)
    return sum(bool(judge.unfit(list(part))) for part in parts) / max(1, len(parts))


def _pairs(
    kind: str, parts: Gray, belts: list[Gray], others: list[Gray], rng: np.random.Generator
) -> Iterator[list[Gray]]:
    """Each unfit part's views: beside its reference, and itself in the reference's place."""
    for index, part in enumerate(parts):
        picture = _spoiled(kind, part[0], index, belts, others, rng)
        yield [picture, *part[1:]]
        if len(part) > 1:
            yield [picture] * len(part)


def _spoiled(
    kind: str,
    picture: Gray,
    index: int,
    belts: list[Gray],
    others: list[Gray],
    rng: np.random.Generator,
) -> Gray:
    height, width = picture.shape
    made: npt.NDArray[Any]
    match kind:
        case "black":
            made = rng.normal(4, 2, picture.shape)
        case "white":
            made = rng.normal(252, 2, picture.shape)
        case "uniform":
            made = rng.normal(rng.uniform(40, 215), 3, picture.shape)
        case "noise":
            made = rng.uniform(0, 256, picture.shape)
        case "blurred":
            made = cv2.GaussianBlur(picture, (0, 0), BLUR_SIGMA_PX)
        case "inverted":
            made = 255 - picture
        case "empty belt":
            made = cv2.resize(belts[index % len(belts)], (width, height))
        case _:
            made = cv2.resize(others[index % len(others)], (width, height))
    return np.clip(made, 0, 255).astype(np.uint8)
