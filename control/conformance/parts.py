"""The rules about a part: default until a provably fresh command, and one action only."""

from __future__ import annotations

from statistics import median

from control.conformance.judge import (
    NOTHING_MS,
    POSE,
    TRIES,
    BrokenRuleError,
    accepted,
    armed,
    final,
    must,
    must_be,
    must_count,
    must_default,
    needs,
    round_trip_ms,
)
from control.conformance.station import PlayedStation
from control.wire import Ack
from edge.core.clock import NS_PER_MS
from edge.core.types import Action

ARMED_WITHIN_MS = 500
DEFAULT_WITHIN_MS = 200


# --- One part ---


def expect_is_armed(station: PlayedStation) -> str:
    """A part was expected: it is acked armed, with its default, within 500 ms."""
    station.begin()
    took_ms = []
    for part in range(1, TRIES + 1):
        asked_ns = station.clock.now_ns()
        station.expect(part)
        ack = armed(station, part)
        must(ack.action is Action.REJECT, f"armed with {ack.action}, not with the default")
        took_ms.append((station.at_ns(ack) - asked_ns) / NS_PER_MS)
    must(min(took_ms) <= ARMED_WITHIN_MS, f"armed only after {min(took_ms):.0f} ms")
    return f"after {median(took_ms):.1f} ms"


def fresh_accept_is_applied(station: PlayedStation) -> str:
    """A part was expected and accepted in time."""
    station.begin()
    station.expect(1)
    station.command(1)
    must_be(final(station, 1), "applied", Action.ACCEPT)
    return ""


def silence_is_the_default(station: PlayedStation) -> str:
    """A part was expected and no command came: the default at act_by, within 200 ms."""
    late_ms = 0.0
    for _ in range(TRIES):
        station.begin()
        expect = station.expect(1, ttl_ms=100)
        act_by_ns = expect.stamp_ns + expect.ttl_ns
        ack = final(station, 1)
        must_be(ack, "applied", Action.REJECT)
        late_ms = (station.at_ns(ack) - act_by_ns) / NS_PER_MS
        # It may be early by what it cannot know of the clock: the round trip of a beat.
        early_ms = 5 + round_trip_ms(station)
        must(late_ms >= -early_ms, f"the default came {-late_ms:.0f} ms before act_by")
        if late_ms <= DEFAULT_WITHIN_MS:
            return f"{late_ms:.1f} ms after act_by"
    raise BrokenRuleError(f"the default came {late_ms:.0f} ms after act_by")


def default_accept_is_taken_as_reject(station: PlayedStation) -> str:
    """A part was expected with the default accept, and no command came."""
    station.begin()
    station.expect(1, default=Action.ACCEPT, ttl_ms=100)
    must_be(final(station, 1), "applied", Action.REJECT)
    return ""


def late_accept_is_refused(station: PlayedStation) -> str:
    """An ACCEPT came whose time had passed: stamped 100 ms ago, good for 50 ms."""
    station.begin()
    station.expect(1)
    station.command(1, age_ms=100, ttl_ms=50)
    must_be(final(station, 1), "late", Action.REJECT)
    return ""


def act_by_holds_too(station: PlayedStation) -> str:
    """Twenty Expects and ACCEPTs came together: the ACCEPTs fresh, the parts' act_by long past."""
    station.begin()
    parts = range(1, 21)  # one alone would be defaulted before the ACCEPT is looked at
    with station.together():
        for part in parts:
            station.expect(part, age_ms=200, ttl_ms=50)
            station.command(part)
    for part in parts:
        must_default(final(station, part))
    return ""


def default_is_final(station: PlayedStation) -> str:
    """After a part's default, a fresh ACCEPT came for it."""
    station.begin()
    station.expect(1, ttl_ms=100)
    first = final(station, 1)
    must_be(first, "applied", Action.REJECT)
    station.command(1)
    _same(first, final(station, 1, nth=2))
    return ""


def unproven_accept_is_refused(station: PlayedStation) -> str:
    """Its messages took 400 ms to arrive, as it seems: no ACCEPT good for 150 ms can be proven."""
    station.begin(distance="slow to the station")
    station.expect(1)
    station.command(1, ttl_ms=150)
    must_be(final(station, 1), "late", Action.REJECT)
    return ""


def error_bound_counts(station: PlayedStation) -> str:
    """Every message took 400 ms to reach it, an ACCEPT good for 350 ms too."""
    # Half the round trip goes into the offset. Who forgets the bound takes the station's clock
    # for 200 ms earlier than it is, and this ACCEPT for good for another 150 ms.
    station.begin(distance="slow to the controller")
    station.expect(1)
    station.command(1, ttl_ms=350)
    must_be(final(station, 1), "late", Action.REJECT)
    return ""


def fresh_rework_is_applied(station: PlayedStation) -> str:
    """A part was expected and REWORK came in time."""
    needs(station, "rework")
    station.begin()
    station.expect(1)
    station.command(1, Action.REWORK)
    must_be(final(station, 1), "applied", Action.REWORK)
    return ""


def late_rework_is_refused(station: PlayedStation) -> str:
    """REWORK came whose time had passed."""
    station.begin()
    station.expect(1)
    station.command(1, Action.REWORK, age_ms=100, ttl_ms=50)
    must_be(final(station, 1), "late", Action.REJECT)
    return ""


def fresh_pose_is_obeyed(station: PlayedStation) -> str:
    """A part was expected and ACCEPT with a pose came in time."""
    needs(station, "pose")
    station.begin()
    station.expect(1)
    station.command(1, pose=POSE)
    must_be(final(station, 1), "applied", Action.ACCEPT)
    return ""


def late_pose_is_refused(station: PlayedStation) -> str:
    """HOLD with a pose came whose time had passed; without the pose it might be obeyed."""
    station.begin()
    station.expect(1)
    station.command(1, Action.HOLD, age_ms=100, ttl_ms=50, pose=POSE)
    must_be(final(station, 1), "late", Action.REJECT)
    return ""


def late_reject_and_hold_are_safe(station: PlayedStation) -> str:
    """REJECT and HOLD came late, to parts with the other as default: obeyed, or the default."""
    station.begin()
    done = []
    for part, action, default in ((1, Action.REJECT, Action.HOLD), (2, Action.HOLD, Action.REJECT)):
        station.expect(part, default=default)
        station.command(part, action, age_ms=100, ttl_ms=50)
        ack = final(station, part)
        must(ack.action in (action, default), f"late {action} became {ack.action}")
        must(ack.state in ("applied", "late"), f"late {action} was {ack.state}")
        must(not accepted(ack), f"it counts {accepted(ack)} accepted")
        done.append(f"{action} became {ack.action}")
    return ", ".join(done)


# --- Said twice, or to nobody ---


def _same(first: Ack, again: Ack) -> None:
    """The same final word again: nothing was done and nothing was counted."""
    must(again.action is first.action, f"acked {first.action}, then {again.action}")
    must(again.state == first.state, f"acked {first.state}, then {again.state}")
    must_count(again, first.counts)
    totals = (first.own_part_count, again.own_part_count)
    must(totals[0] == totals[1], f"own_part_count was {totals[0]}, then {totals[1]}")


def repeated_command_is_acked_again(station: PlayedStation) -> str:
    """The same ACCEPT came twice."""
    station.begin()
    station.expect(1)
    command = station.command(1)
    first = final(station, 1)
    must_be(first, "applied", Action.ACCEPT)
    station.send(command)
    _same(first, final(station, 1, nth=2))
    return ""


def second_command_changes_nothing(station: PlayedStation) -> str:
    """REJECT came after an ACCEPT was applied, and ACCEPT after a REJECT."""
    station.begin()
    station.expect(1)
    station.command(1, Action.REJECT)
    rejected = final(station, 1)
    station.command(1)
    _same(rejected, final(station, 1, nth=2))
    station.expect(2)
    station.command(2)
    first = final(station, 2)
    station.command(2, Action.REJECT)
    _same(first, final(station, 2, nth=2))
    return ""


def repeated_expect_is_harmless(station: PlayedStation) -> str:
    """The same Expect came twice before its ACCEPT and once after, and its act_by passed."""
    station.begin()
    expect = station.expect(1, ttl_ms=700)
    station.send(expect)
    armed(station, 1, nth=2)
    station.command(1, ttl_ms=600)
    must_be(final(station, 1), "applied", Action.ACCEPT)
    station.send(expect)
    station.idle((expect.stamp_ns + expect.ttl_ns - station.clock.now_ns()) / NS_PER_MS)
    station.idle(NOTHING_MS)
    station.expect(2)
    station.command(2, Action.REJECT)
    must_count(final(station, 2), {Action.ACCEPT: 1, Action.REJECT: 1})
    return ""


def part_never_expected_is_refused(station: PlayedStation) -> str:
    """An ACCEPT came for a part without an Expect."""
    station.begin()
    station.command(77)
    ack = final(station, 77)
    must_be(ack, "refused", Action.REJECT)
    station.expect(1)
    station.command(1)
    must_be(final(station, 1), "applied", Action.ACCEPT)  # and 77 was not counted as accepted
    return ""


def another_session_is_dropped(station: PlayedStation) -> str:
    """An Expect, an ACCEPT of an open part and a Bye came, all of another session."""
    station.begin()
    other = station.session ^ 2
    station.expect(1)
    armed(station, 1)
    station.expect(2, session=other)
    station.command(1, session=other)
    station.bye(session=other)
    station.idle(NOTHING_MS)
    for part in (1, 2):
        acks = [a for a in station.of(Ack) if a.part == part and (part == 2 or a.state != "armed")]
        must(not acks, f"part {part}: {acks[0].state} {acks[0].action}" if acks else "")
    station.command(1, Action.REJECT)
    must_be(final(station, 1), "applied", Action.REJECT)
    return ""
