"""The reference arm, and arms that break one rule each, as processes for the conformance tests.

    python wrong_arms.py WRONG ADDRESS [SENSOR]

WRONG is `right` or a class of this file. With a SENSOR the arm also tells Done, Confirm and State.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from control import arm_link
from control.arm import ReferenceArm
from control.arm_link import identity, serve
from control.wire import Ack, Beat, Bye, Expect, Hello, Tick, decode
from edge.core.errors import WireError
from edge.core.types import Action

# ruff: noqa: N801 - the classes are named as on the command line


class right(ReferenceArm):
    """Keeps every rule."""


class accepts_late(ReferenceArm):
    """Knows only durations: what comes is fresh."""

    def _proven(self, command, armed, now_ns):
        return True


class accepts_unproven(ReferenceArm):
    """Takes the offset for exact."""

    def _proven(self, command, armed, now_ns):
        if self._lost or (estimate := self._estimate(now_ns)) is None:
            return False
        return now_ns + estimate[0] <= min(command.stamp_ns + command.ttl_ns, armed.act_by_ns)


class trusts_its_clock(ReferenceArm):
    """Takes its own clock for the station's."""

    def _estimate(self, now_ns):
        return (0, 0)


class ignores_act_by(ReferenceArm):
    """Looks at the Command's time only."""

    def _proven(self, command, armed, now_ns):
        station_ns = self._latest_station_ns(now_ns)
        return not self._lost and station_ns and station_ns <= command.stamp_ns + command.ttl_ns


class accepts_on_silence(ReferenceArm):
    def _default(self, part, cause, now_ns):
        if cause == "silence":
            return self._apply(part, "applied", Action.ACCEPT, cause, now_ns)
        return super()._default(part, cause, now_ns)


class accepts_by_default(ReferenceArm):
    """Believes an Expect whose default is accept."""

    def _arm(self, expect, now_ns):
        answers = super()._arm(expect, now_ns)
        if expect.part in self._open:
            self._open[expect.part].expect = expect
        return answers


class reworks_late(ReferenceArm):
    """Takes everything but ACCEPT for harmless."""

    def _harmless(self, command):
        return command.action is not Action.ACCEPT


class applies_twice(ReferenceArm):
    def _again(self, final, now_ns):
        self._counts[final.action] += 1
        return self._ack(final.part, final.state, final.action, now_ns)


class arms_again(ReferenceArm):
    """Forgets that a part had its action when it is expected once more."""

    def _arm(self, expect, now_ns):
        self._final.pop(expect.part, None)
        return super()._arm(expect, now_ns)


class obeys_unexpected_parts(ReferenceArm):
    def _obey(self, command, now_ns):
        if command.part not in self._open and command.part not in self._final:
            self._arm(
                Expect(stamp_ns=command.stamp_ns, part=command.part, trigger_no=0,
                       default=Action.REJECT, ttl_ns=command.ttl_ns), now_ns
            )  # fmt: skip
        return super()._obey(command, now_ns)


class enters_other_session(ReferenceArm):
    """Reads no session number but Welcome's."""

    def hear(self, message, now_ns):
        if isinstance(message, Ack | Beat | Bye) or "part" in message.__struct_fields__:
            message = msgspec.structs.replace(message, session=self.session)
        return super().hear(message, now_ns)


class speaks_protocol_2(ReferenceArm):
    """Enters any Welcome."""

    def _enter(self, welcome, now_ns):
        welcome = msgspec.structs.replace(welcome, protocol=1, boot=self._identity.boot)
        return super()._enter(welcome, now_ns)


class hello_of_a_session(ReferenceArm):
    def advance(self, now_ns):
        return [
            msgspec.structs.replace(m, session=7) if isinstance(m, Hello) else m
            for m in super().advance(now_ns)
        ]


class answers_no_beats(ReferenceArm):
    def hear(self, message, now_ns):
        return [m for m in super().hear(message, now_ns) if not isinstance(m, Beat)]


class ignores_lost_beat(ReferenceArm):
    def _lost_at_ns(self):
        return None


class remembers_the_clock(ReferenceArm):
    """Goes on after a lost beat as if nothing had been."""

    def _lose(self, now_ns):
        samples = list(self._offset._samples)
        answers = super()._lose(now_ns)
        self._offset._samples.extend(samples)
        return answers

    def _proven(self, command, armed, now_ns):
        return self._latest_station_ns(now_ns) <= command.stamp_ns + command.ttl_ns


class ignores_bye(ReferenceArm):
    def hear(self, message, now_ns):
        return [] if isinstance(message, Bye) else super().hear(message, now_ns)


class counts_on(ReferenceArm):
    """Keeps its counts in a new session."""

    def _enter(self, welcome, now_ns):
        counts = self._counts.copy()
        answers = super()._enter(welcome, now_ns)
        self._counts = counts if self._session_before else self._counts
        self._session_before = True
        return answers

    _session_before = False


class miscounts(ReferenceArm):
    def _ack(self, part, state, action, now_ns):
        ack = super()._ack(part, state, action, now_ns)
        return msgspec.structs.replace(ack, own_part_count=ack.own_part_count + 1)


class deaf(ReferenceArm):
    """Acks nothing."""

    def hear(self, message, now_ns):
        return [m for m in super().hear(message, now_ns) if not isinstance(m, Ack)]

    def advance(self, now_ns):
        return [m for m in super().advance(now_ns) if not isinstance(m, Ack)]


class believes_ticks(ReferenceArm):
    _ahead_ns = 0

    def hear(self, message, now_ns):
        if isinstance(message, Tick):
            self._ahead_ns = message.now_ns - now_ns
        return super().hear(message, now_ns)

    def _estimate(self, now_ns):
        return (self._ahead_ns, 0) if self._ahead_ns else super()._estimate(now_ns)


class never_reports_unexpected(ReferenceArm):
    def _reject_stranger(self, now_ns):
        super()._reject_stranger(now_ns)
        return []


class never_done(ReferenceArm):
    def _moved(self, movement, now_ns):
        return []


class confirms_a_reject(ReferenceArm):
    def _confirm(self, part, left_as, now_ns):
        return super()._confirm(part, Action.REJECT, now_ns)


class dies_on_garbage(ReferenceArm):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        arm_link.decode = self.decode

    def decode(self, data):
        try:
            return decode(data)
        except WireError:
            sys.exit(1)


def main(wrong: str, address: str, sensor: str | None = None) -> None:
    arm_link.ReferenceArm = globals()[wrong]
    hello = identity(rest="reject", part_sensor=False, line_stop=False, simulated=False)
    tells = {}
    if sensor:
        tells = {"sensor": Path(sensor), "move_ms": 20, "confirm": True, "state": True}
    serve(address, hello, None, lambda line: None, **tells)


if __name__ == "__main__":
    main(*sys.argv[1:])
