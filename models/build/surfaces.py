"""Ground surfaces drawn from a seed: streaks along one side, uneven light, and one blemish.

For packages that judge texture and whose own pictures must not be copied.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from models.build.paste import blemished

Picture = npt.NDArray[np.uint8]


def surface(rng: np.random.Generator, size_px: tuple[int, int]) -> tuple[Picture, Picture]:
    """A drawn surface as (good picture, the same with a blemish), uint8 (H, W) each."""
    good = _ground(rng, size_px)
    bad, _ = blemished(good, _ground(rng, size_px), rng)
    return good, bad


def _ground(rng: np.random.Generator, size_px: tuple[int, int]) -> Picture:
    height, width = size_px
    level = rng.uniform(70, 150)
    out = np.full(size_px, level, np.float32)
    for long_px, strength in ((height, 6.0), (height // 4, 4.0), (8, 2.0)):
        rows = max(2, height // max(1, long_px) + 1)
        streaks = rng.normal(0, strength, (rows, width)).astype(np.float32)
        out += cv2.resize(streaks, (width, height), interpolation=cv2.INTER_LINEAR)
    light = 1 - rng.uniform(0.1, 0.35) * np.linspace(-1, 1, width, dtype=np.float32) ** 2
    return np.asarray(np.clip(cv2.GaussianBlur(out * light, (0, 0), 0.8), 0, 255), np.uint8)
