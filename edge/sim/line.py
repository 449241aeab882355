"""A line as a person describes it: the belt, the place of the machine, and how quick it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.core.clock import NS_PER_MS
from edge.core.config import Positive, Section, explain
from edge.core.errors import ConfigError
from edge.sim.physics import Belt, Gate, Machine, Rest

Span = Annotated[float, Meta(ge=0, le=1e6)]
MOST_HZ = 10_000.0  # as of any source of parts
MOST_MM_S = 1e6
MOST_BUDGET_MS = 1e6  # of a station


class Line(Section, frozen=True):
    """A belt and the machine beside it; the defaults are 20 parts a second and a quick flap.

    Parts are spacing_mm from leading edge to leading edge, and part_mm long. The machine acts
    camera_to_gate_mm behind the camera. Its rest is what a part does when it does nothing.
    """

    speed_mm_s: Positive = 1000.0
    spacing_mm: Positive = 50.0
    part_mm: Positive = 20.0
    counts_per_mm: Positive = 10.0  # of the belt's encoder
    camera_to_gate_mm: Positive = 80.0
    machine: Machine = "diverter"
    rest: Rest = "reject"
    reaction_ms: Span = 10.0  # from a command to the first movement
    travel_ms: Span = 20.0  # from side to side, either way; of an arm from waiting to the grasp
    cycle_ms: Span = 300.0  # of an arm: from its start for a part to its start for the next
    window_mm: Span = 40.0  # of an arm: the stretch of belt in which it can grasp a part

    def __post_init__(self) -> None:
        if self.part_mm >= self.spacing_mm:
            allowed = f"allowed: below spacing_mm {self.spacing_mm:g}"
            raise ValueError(f"part_mm {self.part_mm:g}: {allowed}, for a gap between two parts")
        most = MOST_HZ * self.spacing_mm
        if self.speed_mm_s > most * (1 + 1e-9):  # at_rate comes back to MOST_HZ by a division
            allowed = f"allowed: up to {most:g}, which is {MOST_HZ:g} parts per second"
            raise ValueError(f"speed_mm_s {self.speed_mm_s:g}: {allowed}")

    @property
    def belt(self) -> Belt:
        return Belt(
            speed_mm_s=self.speed_mm_s,
            spacing_mm=self.spacing_mm,
            part_mm=self.part_mm,
            camera_to_gate_mm=self.camera_to_gate_mm,
            counts_per_mm=self.counts_per_mm,
        )

    @property
    def gate(self) -> Gate:
        return Gate(
            machine=self.machine,
            rest=self.rest,
            reaction_ns=round(self.reaction_ms * NS_PER_MS),
            travel_ns=round(self.travel_ms * NS_PER_MS),
            cycle_ns=round(self.cycle_ms * NS_PER_MS),
            window_mm=self.window_mm,
        )

    @property
    def rate_hz(self) -> float:
        """Parts a second."""
        return self.belt.rate_hz

    @property
    def most_hz(self) -> float:
        """No source of parts is faster, and no belt."""
        return min(MOST_HZ, MOST_MM_S / self.spacing_mm)

    @property
    def budget_ms(self) -> float:
        """From a part's trigger to the last instant of its command, by the geometry; maybe < 0."""
        return self.gate.budget_ns(self.belt) / NS_PER_MS

    def at_rate(self, rate_hz: float) -> Line:
        """The same line with its belt at another speed."""
        return msgspec.structs.replace(self, speed_mm_s=rate_hz * self.spacing_mm)

    def check(self, margin_ms: float) -> None:
        """ConfigError where the geometry leaves a station with this margin no time, or all time."""
        if self.budget_ms > MOST_BUDGET_MS:
            raise ConfigError(
                f"line: a budget of {self.budget_ms:.4g} ms from camera_to_gate_mm and speed_mm_s; "
                f"allowed: up to {MOST_BUDGET_MS:.0f}"
            )
        if self.budget_ms > margin_ms:
            return
        needed_ms = self.reaction_ms + self.travel_ms + margin_ms
        reach_ms = self.camera_to_gate_mm / self.speed_mm_s * 1000.0
        raise ConfigError(
            f"line: a part is at the gate after {reach_ms:.1f} ms, and reaction, travel and the "
            f"station's margin take {needed_ms:g} ms; allowed: camera_to_gate_mm above "
            f"{needed_ms * self.speed_mm_s / 1000.0:.4g}, or speed_mm_s below "
            f"{self.camera_to_gate_mm / needed_ms * 1000.0:.4g}"
        )


def line_of(table: Mapping[str, Any]) -> Line:
    """A line from a table of its keys; ConfigError with one line that names the key."""
    try:
        return msgspec.convert(dict(table), Line)
    except msgspec.ValidationError as error:
        raise ConfigError(f"line: {explain(str(error), Line, dict(table))}") from None
