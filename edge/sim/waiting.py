"""One engine, parts that come at even distances, first come first served: when each is decided."""

from __future__ import annotations

from collections.abc import Sequence

from edge.core.clock import NS_PER_MS
from edge.core.types import Action, Record
from edge.sim.line import Line
from edge.sim.physics import PartAtGate


class Overhead(Record, frozen=True):
    """A part's time from trigger to command without the engine's own.

    wire_ns: the share of it from the decision on, which a default takes as well.
    """

    total_ns: int
    wire_ns: int


class Measured(Record, frozen=True):
    """What one part took on a real station, and what the machine was told of it.

    session_ns: the engine alone.
    """

    part: int
    action: Action | None
    session_ns: int
    overhead: Overhead

    @property
    def service_ns(self) -> int:
        """How long the station is taken by this part; nothing is counted as done side by side."""
        return self.session_ns + self.overhead.total_ns


class Timed(Record, frozen=True):
    """A part on the belt as the machine sees it, and how it came to its command.

    latency_ns: trigger to command, waiting included. missed: no verdict by decide_by.
    """

    at_gate: PartAtGate
    latency_ns: int
    missed: bool


def timed(
    parts: Sequence[Measured], line: Line, margin_ms: float, *, default: Action = Action.REJECT
) -> list[Timed]:
    """When each part's command would be with the machine, were the belt to run like this.

    A single server takes the parts in order, each as long as it was measured; they come at even
    distances. A verdict that is not out by decide_by is replaced by the default, which leaves
    then; a part whose turn comes only then is not inspected at all, and takes no time.
    """
    belt = line.belt
    decide_by_ns = line.gate.budget_ns(belt) - round(margin_ms * NS_PER_MS)
    found: list[Timed] = []
    free_ns = 0
    for row, part in enumerate(parts):
        trigger_ns = belt.arrival_ns(row)
        starts_ns = max(trigger_ns, free_ns)
        action, latency_ns = part.action, decide_by_ns + part.overhead.wire_ns
        missed = starts_ns >= trigger_ns + decide_by_ns
        if not missed:
            free_ns = starts_ns + part.service_ns
            missed = free_ns >= trigger_ns + decide_by_ns
        if missed:
            action = default if part.action is not None else None
        else:
            latency_ns = free_ns - trigger_ns
        heard_ns = trigger_ns + latency_ns
        at_gate = PartAtGate(part.part, trigger_ns, action, heard_ns)
        found.append(Timed(at_gate, latency_ns, missed))
    return found
