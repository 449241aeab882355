"""From pixels to the machine's frame: where a command with a movement goes.

    x = x_mm + mm_per_px * (u cos rz - v sin rz),  y = y_mm + mm_per_px * (u sin rz + v cos rz)

for the point (u, v) of the picture, in pixels from its first corner; z and the rotation are the
station file's.
"""

from __future__ import annotations

import math

from edge.core.config import PoseOptions
from edge.core.types import Action, Pose, Region


class Placement:
    """Poses of the parts of one picture view, by the station file's [pose]."""

    def __init__(
        self, options: PoseOptions, actions: tuple[Action, ...], shape: tuple[int, int]
    ) -> None:
        """shape: (H, W) of the picture, whose centre stands for a part without regions."""
        self._options, self._actions = options, frozenset(actions)
        self._centre = (shape[1] / 2, shape[0] / 2)
        angle = math.radians(options.rz_deg)
        self._cos, self._sin = math.cos(angle), math.sin(angle)

    def wants(self, action: Action) -> bool:
        return action in self._actions

    def pose(self, action: Action, regions: tuple[Region, ...]) -> Pose | None:
        """To the worst region's centre; a part without one is picked at the picture's centre.

        None for a REWORK without a region: there is no place to rework.
        """
        if regions:
            worst = max(regions, key=lambda region: region.peak)
            return self._at(worst.x + worst.width / 2, worst.y + worst.height / 2)
        return None if action is Action.REWORK else self._at(*self._centre)

    def _at(self, u: float, v: float) -> Pose:
        options = self._options
        scale = options.mm_per_px
        return Pose(
            frame=options.frame,
            x_mm=options.x_mm + scale * (u * self._cos - v * self._sin),
            y_mm=options.y_mm + scale * (u * self._sin + v * self._cos),
            z_mm=options.z_mm,
            rx_deg=0.0,
            ry_deg=0.0,
            rz_deg=options.rz_deg,
        )
