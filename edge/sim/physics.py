"""The belt and the machine beside it as pure physics: which bin each part ends in.

No I/O and no clock: instants go in and bins come out. Positions are in millimetres behind the
camera, instants in nanoseconds on whatever clock the triggers are on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from edge.core.clock import NS_PER_S
from edge.core.types import Action, Record

Machine = Literal["diverter", "arm"]
Rest = Literal["reject", "pass"]
Bin = Literal["good", "reject", "stopped"]


class Belt(Record, frozen=True):
    """A belt at a steady speed; a part triggers when its leading edge is under the camera.

    part_mm: a part's length along the belt. spacing_mm: from leading edge to leading edge.
    """

    speed_mm_s: float
    spacing_mm: float
    part_mm: float
    camera_to_gate_mm: float
    counts_per_mm: float

    @property
    def rate_hz(self) -> float:
        """Parts a second."""
        return self.speed_mm_s / self.spacing_mm

    def takes_ns(self, way_mm: float) -> int:
        """How long the belt takes for a way."""
        return round(way_mm / self.speed_mm_s * NS_PER_S)

    def arrival_ns(self, row: int) -> int:
        """When part `row`, counted from 0, is under the camera: from the start of the belt."""
        return self.takes_ns(row * self.spacing_mm)

    def counts(self, way_mm: float) -> int:
        """The encoder's whole counts for a way."""
        return int(way_mm * self.counts_per_mm)


class Gate(Record, frozen=True):
    """The machine at the actuation point, and what a part does when it does nothing.

    reaction_ns: from a command to the first movement. travel_ns: of a diverter from one side to
    the other, either way; of an arm from waiting to the grasp. Of an arm alone: cycle_ns from
    its start for a part until it can start for the next, and window_mm, the stretch of belt from
    the actuation point on in which it can grasp a part.
    """

    machine: Machine
    rest: Rest
    reaction_ns: int
    travel_ns: int
    cycle_ns: int = 0
    window_mm: float = 0.0

    def moves_for(self, action: Action | None) -> bool:
        """Whether this action needs a movement; None, no command at all, never does."""
        return action is not None and (action is Action.ACCEPT) is (self.rest == "reject")

    def bin(self, *, moved: bool) -> Bin:
        """Where a part goes that the machine did, or did not, move for."""
        return "good" if moved is (self.rest == "reject") else "reject"

    def budget_ns(self, belt: Belt) -> int:
        """From the trigger to the last command for a part at the actuation point; maybe < 0."""
        return belt.takes_ns(belt.camera_to_gate_mm) - self.reaction_ns - self.travel_ns

    def latest_ns(self, belt: Belt) -> int:
        """From the trigger to the last command that can still act: an arm has its window, too."""
        window_ns = belt.takes_ns(self.window_mm) if self.machine == "arm" else 0
        return self.budget_ns(belt) + window_ns


class PartAtGate(Record, frozen=True):
    """A part on the belt, and what the machine was told to do with it.

    heard_ns: when the command was with the machine. action None: nothing was ever told.
    """

    part: int
    trigger_ns: int
    action: Action | None = None
    heard_ns: int = 0


class Outcome(Record, frozen=True):
    """Where a part ended.

    as_sent: it left the way it was told to, or the machine's resting way where nothing was told.
    late: by the last instant at which a command could still act, none was there. A part that is
    neither late nor as sent met a machine that was still busy with its neighbour.
    """

    part: int
    bin: Bin
    as_sent: bool
    late: bool
    reach_ns: int


def outcomes(
    parts: Iterable[PartAtGate], belt: Belt, gate: Gate, *, stopped_ns: int | None = None
) -> list[Outcome]:
    """The bin of each part, one each, in the order given: that of the triggers.

    stopped_ns: the line stood still from then on; parts that had not reached the gate stay on
    the belt.

    A diverter follows the part that comes next: it turns once the neighbour has cleared it, and
    goes back to rest while it has no command. A part leaves by a side only if the blade stands
    there, fully, when the part reaches it; a blade between the two sides sends it the wrong way.
    A command that would start the blade under the part is not obeyed. An arm takes parts in
    order, and one it cannot grasp in its window goes by.
    """
    machine = _Diverter(belt, gate) if gate.machine == "diverter" else _Arm(belt, gate)
    to_gate_ns, latest_ns = belt.takes_ns(belt.camera_to_gate_mm), gate.latest_ns(belt)
    found: list[Outcome] = []
    for part in parts:
        reach_ns = part.trigger_ns + to_gate_ns
        late = part.action is None or part.heard_ns > part.trigger_ns + latest_ns
        if stopped_ns is not None and reach_ns >= stopped_ns:
            found.append(Outcome(part.part, "stopped", False, late, reach_ns))
            continue
        wanted = gate.moves_for(part.action)
        moved = machine.serve(reach_ns, part.heard_ns if wanted else None)
        found.append(Outcome(part.part, gate.bin(moved=moved), moved is wanted, late, reach_ns))
    return found


class _Diverter:
    """A blade between two sides. Its position is counted in nanoseconds of travel from rest."""

    def __init__(self, belt: Belt, gate: Gate) -> None:
        self._reaction_ns, self._travel_ns = gate.reaction_ns, gate.travel_ns
        self._passage_ns = belt.takes_ns(belt.part_mm)
        self._at_ns = 0  # position, as it was when the last part cleared the blade
        self._clear_ns: int | None = None  # that instant; None before the first part

    def serve(self, reach_ns: int, heard_ns: int | None) -> bool:
        """Let the next part by; True where it leaves by the side away from rest.

        heard_ns: when the command for that side came; None for a part that is to rest.
        """
        # The blade is this part's own from the neighbour's clearing on. The signal to turn goes
        # out a reaction time earlier, so that only a late command has to wait for the reaction.
        own_ns = reach_ns if self._clear_ns is None else min(self._clear_ns, reach_ns)
        starts_ns = None if heard_ns is None else heard_ns + self._reaction_ns
        if starts_ns is not None and self._clear_ns is not None:
            starts_ns = max(starts_ns, own_ns)
        self._clear_ns = reach_ns + self._passage_ns
        if starts_ns is None or starts_ns > reach_ns:
            at_reach_ns = self._back(self._at_ns, reach_ns - own_ns)
            self._at_ns = self._back(at_reach_ns, self._passage_ns)
            # One that is to rest must find the blade there; one whose command came too late still
            # goes over where the blade has not begun to leave that side.
            return at_reach_ns > 0 if starts_ns is None else 0 < self._travel_ns == at_reach_ns
        at_start_ns = self._back(self._at_ns, max(0, starts_ns - own_ns))
        at_reach_ns = self._over(at_start_ns, reach_ns - starts_ns)
        self._at_ns = self._over(at_reach_ns, self._passage_ns)
        return at_reach_ns == self._travel_ns

    def _back(self, at_ns: int, for_ns: int) -> int:
        return max(0, at_ns - for_ns)

    def _over(self, at_ns: int, for_ns: int) -> int:
        return min(self._travel_ns, at_ns + for_ns)


class _Arm:
    """A picker: it waits at the belt, grasps, takes the part away and comes back."""

    def __init__(self, belt: Belt, gate: Gate) -> None:
        self._gate = gate
        self._window_ns = belt.takes_ns(gate.window_mm)
        self._free_ns: int | None = None

    def serve(self, reach_ns: int, heard_ns: int | None) -> bool:
        """True where the next part is taken; heard_ns is None for one that is to be left alone."""
        if heard_ns is None:
            return False
        travel_ns = self._gate.travel_ns
        starts_ns = max(heard_ns + self._gate.reaction_ns, reach_ns - travel_ns)
        if self._free_ns is not None:
            starts_ns = max(starts_ns, self._free_ns)
        if starts_ns + travel_ns > reach_ns + self._window_ns:
            return False
        self._free_ns = starts_ns + max(self._gate.cycle_ns, travel_ns)
        return True
