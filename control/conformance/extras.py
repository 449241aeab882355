"""The rules for what only some controllers say they can: a part sensor, Done, Confirm, State."""

from __future__ import annotations

from control.conformance.judge import (
    POSE,
    SkippedRuleError,
    final,
    has_sensor,
    must,
    must_be,
    needs,
)
from control.conformance.station import PlayedStation
from control.wire import Confirm, Done, State, Unexpected
from edge.core.clock import NS_PER_MS
from edge.core.types import Action

PERSON_MS = 10_000  # a person, or a movement, takes its time


# --- The part sensor; first, while nothing is expected that could be taken for the part ---


def unexpected_part_is_reported(station: PlayedStation) -> str:
    """A part passed the sensor without an Expect."""
    if not has_sensor(station):
        raise SkippedRuleError("it has no part sensor")
    station.begin()
    station.say(f"now let one part pass the sensor; nothing expects it ({PERSON_MS // 1000} s)")
    reports = station.wait(lambda: station.of(Unexpected), PERSON_MS)
    must(bool(reports), f"no Unexpected in {PERSON_MS // 1000} s")
    return f"own_part_count {reports[0].own_part_count}"


def confirm_follows(station: PlayedStation) -> str:
    """A part was accepted and, where there is a sensor, passed it: Confirm says how it left."""
    needs(station, "confirm")
    station.begin()
    station.expect(1, ttl_ms=2 * PERSON_MS)
    station.command(1, ttl_ms=2 * PERSON_MS)
    ack = final(station, 1)
    if has_sensor(station):
        station.say(f"now let one part pass the sensor; it is expected ({PERSON_MS // 1000} s)")
    confirms = station.wait(lambda: station.of(Confirm), PERSON_MS)
    must(bool(confirms), f"no Confirm in {PERSON_MS // 1000} s")
    said = confirms[0]
    must(said.part == 1, f"Confirm of part {said.part}, which is not there")
    must(said.left_as is ack.action, f"acked {ack.action}, left as {said.left_as}")
    return ""


# --- What it says it can tell ---


def done_follows(station: PlayedStation) -> str:
    """A part was accepted: Done comes once, when the movement has ended."""
    needs(station, "done")
    station.begin()
    station.expect(1)
    station.command(1)
    ack = final(station, 1)
    said = station.wait(lambda: station.of(Done), PERSON_MS)
    must(bool(said), f"no Done in {PERSON_MS // 1000} s")
    station.idle(100)
    said = station.of(Done)
    must([done.part for done in said] == [1], f"Done of parts {[done.part for done in said]}")
    must(station.at_ns(said[0]) >= station.at_ns(ack), "Done came before the part's ack")
    return f"{(station.at_ns(said[0]) - station.at_ns(ack)) / NS_PER_MS:.0f} ms after the ack"


def state_follows(station: PlayedStation) -> str:
    """ACCEPT with a pose was applied: State tells the part and the pose."""
    needs(station, "state")
    needs(station, "pose")
    station.begin()
    station.expect(1)
    station.command(1, pose=POSE)
    must_be(final(station, 1), "applied", Action.ACCEPT)

    def states() -> list[State]:
        return [state for state in station.of(State) if state.part == 1]

    said = station.wait(states, PERSON_MS)
    must(bool(said), f"no State of the part in {PERSON_MS // 1000} s")
    must(said[-1].pose is not None, "State without a pose")
    return ""
