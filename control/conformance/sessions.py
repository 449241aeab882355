"""The rules about sessions: how one begins, lives and ends, and what may come over a wire."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import median

import msgspec

from control.conformance.judge import (
    NOTHING_MS,
    TRIES,
    BrokenRuleError,
    armed,
    final,
    must,
    must_be,
    must_count,
    must_default,
    round_trip_ms,
)
from control.conformance.station import LOST_MS, PATIENT_MS, Heard, PlayedStation
from control.wire import PROTOCOL, Beat, Hello, Tick
from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.types import Action

HELLO_WITHIN_MS = 500


# --- Hello and Welcome ---


def hello_until_welcomed(station: PlayedStation) -> str:
    """Nothing was answered: Hello is well-formed and comes again at least every 500 ms."""
    station.leave()
    station.wait(lambda: len(station.hellos()) >= 4, 8 * HELLO_WITHIN_MS)
    heard = [h for h in station.heard if isinstance(h.message, Hello)]
    must(len(heard) >= 4, f"{len(heard)} Hello in {8 * HELLO_WITHIN_MS} ms, and no Welcome")
    hellos = station.hellos()
    must(hellos[-1].protocol == PROTOCOL, f"protocol {hellos[-1].protocol}, not {PROTOCOL}")
    must(bool(hellos[-1].boot), "boot is empty")
    must(len({hello.boot for hello in hellos}) == 1, "boot changes from one Hello to the next")
    must(all(hello.session == 0 for hello in hellos), "session is not 0 before Welcome")
    must(_rising([hello.seq for hello in hellos]), "seq does not rise")
    must(_rising([hello.stamp_ns for hello in hellos]), "stamp_ns does not rise")
    gap_ms = _gap_ms(heard)
    must(gap_ms <= HELLO_WITHIN_MS, f"a Hello every {gap_ms:.0f} ms")
    return f"every {gap_ms:.0f} ms"


def _rising(numbers: list[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def _gap_ms(heard: list[Heard]) -> float:
    """The usual one: a single late Hello may be this machine's fault."""
    gaps = [b.at_ns - a.at_ns for a, b in pairwise(heard)]
    return median(gaps) / NS_PER_MS


def rest_at_pass_needs_sensor_or_stop(station: PlayedStation) -> str:
    """Hello was read: rest = pass only with a part_sensor or a line_stop."""
    hello = station.hello or station.leave()
    kept = hello.rest == "reject" or hello.part_sensor or hello.line_stop
    must(kept, "rest = pass, with neither part_sensor nor line_stop: a station will refuse it")
    return f"rest = {hello.rest}"


def another_protocol_is_not_entered(station: PlayedStation) -> str:
    """Hello was answered with a Welcome of protocol 2, and Beats and an Expect of its session."""
    first = station.leave()
    station.welcome(first, protocol=PROTOCOL + 1)
    return _stays_outside(station)


def another_boot_is_not_entered(station: PlayedStation) -> str:
    """Hello was answered with a Welcome for another boot, Beats and an Expect of its session."""
    first = station.leave()
    station.welcome(first, boot=f"not {first.boot}"[:200])
    return _stays_outside(station)


def _stays_outside(station: PlayedStation) -> str:
    station.expect(1)
    station.idle(NOTHING_MS)
    session = station.session
    heard = [h.message for h in station.heard if h.message.session == session]
    answers = [type(message).__name__ for message in heard]
    must(not answers, f"it entered the session: it sent {', '.join(answers[:3])}")
    before = len(station.hellos())
    station.wait(lambda: len(station.hellos()) > before, PATIENT_MS)
    must(len(station.hellos()) > before, "it stopped saying Hello")
    return ""


# --- The beat and the session ---


def beat_is_answered(station: PlayedStation) -> str:
    """Beats came, with hold off, on and off: each is answered with its echo and the counts."""
    station.begin()
    station.expect(1)
    station.command(1)
    must_be(final(station, 1), "applied", Action.ACCEPT)
    for hold in (False, True, False):
        asked_ns = station.beat(hold=hold)
        answer = station.answered(asked_ns)
        if answer is None:
            raise BrokenRuleError(f"no Beat with the echo of mine in {PATIENT_MS} ms")
        must(0 < answer.echo_received_ns <= answer.stamp_ns, "echo_received_ns is not its clock")
        must_count(answer, {Action.ACCEPT: 1})
    return f"after {round_trip_ms(station):.1f} ms"


def _lose(station: PlayedStation) -> None:
    """Part 1 open, then no message until the controller says Hello again."""
    for _ in range(TRIES):
        station.begin(lost_ms=LOST_MS)
        station.expect(1)
        armed(station, 1)
        before, beats = len(station.hellos()), station.of(Beat)
        if not beats or station.hellos()[-1].stamp_ns < beats[0].stamp_ns:
            break  # else this machine stood still, and the beat was lost before its time
    station.fall_silent()
    station.wait(lambda: len(station.hellos()) > before, PATIENT_MS)
    must(len(station.hellos()) > before, f"no Hello again in {PATIENT_MS} ms of silence")


def lost_beat_is_the_default(station: PlayedStation) -> str:
    """A part was open and every message stopped for longer than lost_ns."""
    _lose(station)
    station.command(1)
    station.idle(NOTHING_MS)
    station.welcome(station.hellos()[-1], session=station.session)
    station.command(1)  # a repeat brings the ack again, if the first was said to nobody
    ack = final(station, 1)
    must_default(ack)
    must_default(station.finals(1)[-1])
    return ""


def lost_beat_proves_nothing(station: PlayedStation) -> str:
    """After a lost beat and before a Welcome, an Expect and a fresh ACCEPT came."""
    _lose(station)
    station.expect(2)
    station.command(2)
    station.idle(NOTHING_MS)
    station.welcome(station.hellos()[-1], session=station.session)
    for ack in station.finals(2):
        must_default(ack)
    station.expect(3)
    station.command(3)
    must_be(final(station, 3), "applied", Action.ACCEPT)  # and with it the only one
    return ""


def bye_is_the_default(station: PlayedStation) -> str:
    """A part was open and the station said Bye; an ACCEPT of that session came after it."""
    station.begin(lost_ms=2 * PATIENT_MS)  # so that it is not the lost beat that brings it
    station.expect(1)
    armed(station, 1)
    station.fall_silent()
    station.bye()
    must_be(final(station, 1), "applied", Action.REJECT)
    station.command(1)
    station.idle(NOTHING_MS)
    must_default(station.finals(1)[-1])
    return ""


def new_session_counts_from_zero(station: PlayedStation) -> str:
    """One part accepted and one open, a Welcome of another session came; there, one rejected."""
    station.begin()
    station.expect(1)
    station.command(1)
    must_be(final(station, 1), "applied", Action.ACCEPT)
    station.expect(2)
    armed(station, 2)
    station.welcome(station.hellos()[-1])
    station.expect(1)
    station.command(1, Action.REJECT)
    ack = final(station, 1)
    must_be(ack, "applied", Action.REJECT)
    must_count(ack, {Action.REJECT: 1})
    return ""


def counts_add_up(station: PlayedStation) -> str:
    """Five parts: accept, reject, hold, nothing, accept; counts are of all, and their sum."""
    station.begin()
    total: Counter[Action] = Counter()
    plan = (Action.ACCEPT, Action.REJECT, Action.HOLD, None, Action.ACCEPT)
    for part, action in enumerate(plan, start=1):
        station.expect(part, ttl_ms=5000 if action else 100)
        if action:
            station.command(part, action)
        ack = final(station, part)
        total[ack.action] += 1
        must_count(ack, total)
        must(ack.own_part_count == part, f"own_part_count {ack.own_part_count} after {part} parts")
    if answer := station.answered(station.beat()):
        must_count(answer, total)
    return f"{part} parts"


# --- What else may come over a wire ---


def unknown_fields_are_ignored(station: PlayedStation) -> str:
    """Expect and ACCEPT came with a field more than this version has."""
    station.begin()
    for message in (station.expect(1), station.command(1)):
        fields = {**msgspec.to_builtins(message), "part": 2, "of_version_9": [1, {"x": None}]}
        station.send_frames(msgspec.msgpack.encode(fields))
    must_be(final(station, 1), "applied", Action.ACCEPT)
    ack = final(station, 2)
    must((ack.state, ack.action) == ("applied", Action.ACCEPT), f"{ack.state} {ack.action}")
    return ""


def garbage_is_survived(station: PlayedStation) -> str:
    """Noise, half messages, unknown types and impossible values came; then a part as usual."""
    station.begin()
    pack = msgspec.msgpack.encode
    session = station.session
    wrong = {"t": "command", "session": session, "part": 1, "ttl_ns": 10**12, "reason": ""}
    whole = pack({**wrong, "action": "accept"})
    for frame in (b"", b"\xc1", b"\x00" * 60_000, b"\x91" * 5_000 + b"\xc0", whole[:-4], b"\xff"):
        station.send_frames(frame)
    station.send_frames(b"two", b"frames")
    station.send_frames(pack({"t": "dance", "session": session}))
    station.send_frames(pack(["t", "beat"]))
    station.expect(1)
    for change in ({"action": "explode"}, {"action": 1}, {"ttl_ns": "soon"}, {"part": None}):
        station.send_frames(pack({**wrong, "action": "accept", **change}))
    station.command(1)
    must_be(final(station, 1), "applied", Action.ACCEPT)
    return ""


def tick_is_refused(station: PlayedStation) -> str:
    """Ticks came: a minute ahead with a part open, a minute back with a late ACCEPT."""
    station.begin()
    station.expect(1)
    now_ns = station.clock.now_ns()
    for tick_ns in (now_ns + 60 * NS_PER_S, now_ns - 60 * NS_PER_S):
        stamp_ns = station.clock.now_ns()
        station.send(
            Tick(session=station.session, seq=station.number(), stamp_ns=stamp_ns, now_ns=tick_ns)
        )
        station.idle(NOTHING_MS)
        must(not station.finals(1), "the Tick was taken for the time: the part got its default")
    station.command(1, age_ms=500, ttl_ms=50)
    must_be(final(station, 1), "late", Action.REJECT)
    return ""
