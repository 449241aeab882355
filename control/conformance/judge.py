"""How a rule of docs/wire.md is judged: from the controller's own acks and counts, nothing else.

A rule is a function that plays the station. It starts in a session of its own with nothing open,
and returns what is worth telling, or raises one of the two errors below. Its name is the rule's,
and its docstring says what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from control.conformance.station import PATIENT_MS, PlayedStation
from control.wire import Ack, Beat
from edge.core.clock import NS_PER_MS
from edge.core.types import Action, Pose

TRIES = 3  # of rules about speed: a stall of this machine is not the controller's
NOTHING_MS = 250  # how long to wait for what must not come
POSE = Pose("belt", 120.0, 40.0, 5.0, 0.0, 0.0, 90.0)


class BrokenRuleError(Exception):
    """The controller does not keep the rule; what it did instead."""


class SkippedRuleError(Exception):
    """The rule does not concern this controller; why."""


Rule = Callable[[PlayedStation], str]


def must(kept: bool, otherwise: str) -> None:
    """BrokenRuleError, with these words, unless the rule is kept."""
    if not kept:
        raise BrokenRuleError(otherwise)


def final(station: PlayedStation, part: int, *, nth: int = 1, ms: float = PATIENT_MS) -> Ack:
    """The nth word of the controller on what became of a part."""
    station.wait(lambda: len(station.finals(part)) >= nth, ms)
    acks = station.finals(part)
    again = " once more" if nth > 1 else ""
    must(len(acks) >= nth, f"no applied, late or refused ack of part {part}{again} in {ms:g} ms")
    return acks[nth - 1]


def accepted(ack: Ack) -> int:
    return ack.counts.get(Action.ACCEPT, 0)


def must_be(ack: Ack, state: str, action: Action) -> None:
    """The ack says so, and its counts do not say anything else of ACCEPT."""
    said = f"part {ack.part}: {ack.state} {ack.action}"
    must((ack.state, ack.action) == (state, action), f"{said}, not {state} {action}")
    expected = int(action is Action.ACCEPT)
    must(accepted(ack) == expected, f"{said}, but counts {accepted(ack)} accepted")


def must_default(ack: Ack, default: Action = Action.REJECT) -> None:
    """The part got its default and nothing was accepted, whatever the ack calls it."""
    must(ack.action is default, f"part {ack.part}: {ack.state} {ack.action}, not {default}")
    must(not accepted(ack), f"part {ack.part}: it counts {accepted(ack)} accepted")


def must_count(said: Ack | Beat, expected: Mapping[Action, int]) -> None:
    """The counts are these; an action at zero may be absent."""
    counts, right = _words(said.counts), _words(expected)
    must(counts == right, f"its {type(said).__name__} counts {counts}, not {right}")


def _words(counts: Mapping[Action, int]) -> str:
    return ", ".join(f"{counts[action]} {action}" for action in sorted(counts) if counts[action])


def needs(station: PlayedStation, capability: str) -> None:
    if station.hello is None or capability not in station.hello.capabilities:
        raise SkippedRuleError(f"it does not list {capability}")


def has_sensor(station: PlayedStation) -> bool:
    return station.hello is not None and station.hello.part_sensor


def armed(station: PlayedStation, part: int, *, nth: int = 1) -> Ack:
    """The nth time the controller says that it has armed a part."""

    def acks() -> list[Ack]:
        return [ack for ack in station.of(Ack) if ack.part == part and ack.state == "armed"]

    station.wait(lambda: len(acks()) >= nth, PATIENT_MS)
    must(len(acks()) >= nth, f"no armed ack of part {part} in {PATIENT_MS} ms")
    return acks()[nth - 1]


def round_trip_ms(station: PlayedStation) -> float:
    """The quickest exchange of beats in this session."""
    beats = [beat for beat in station.of(Beat) if beat.echo_stamp_ns]
    trips = [station.at_ns(b) - b.echo_stamp_ns - (b.stamp_ns - b.echo_received_ns) for b in beats]
    return max(0, min(trips, default=0)) / NS_PER_MS
