"""The reference controller: what any arm or diverter must do, as pure rules.

It holds each part's default from Expect on, and replaces it only by a command that it can
prove fresh on its own clock. Silence, doubt, a lost beat, a Bye and a new session all mean
the default. One action a part, logged when applied. control/arm_link.py gives it a socket.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from control.offset import ClockOffset
from control.wire import (
    PROTOCOL,
    Ack,
    AckState,
    AnyMessage,
    Beat,
    Bye,
    Command,
    Expect,
    Hello,
    Tick,
    Welcome,
)
from edge.core.clock import NS_PER_MS
from edge.core.types import Action

HELLO_EVERY_NS = 100 * NS_PER_MS
REMEMBERED = 1024  # finished parts whose final ack can be repeated; also the bound on open ones

Log = Callable[[dict[str, Any]], None]


class _Open(msgspec.Struct):
    """An armed part: its default and the last instant of ACCEPT, on the station's clock."""

    expect: Expect
    act_by_ns: int


class ReferenceArm:
    """Feed it messages and instants on its own clock; it answers with messages to send."""

    def __init__(self, identity: Hello, log: Log) -> None:
        self._identity, self._log = identity, log
        self._offset = ClockOffset()
        self._welcome: Welcome | None = None
        self._heard_ns = 0
        self._hello_due_ns = 0
        self._lost = False
        self._refused = ""
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._final: OrderedDict[int, Ack] = OrderedDict()
        self._counts: Counter[Action] = Counter()
        self._seq = 0
        self.dropped = 0  # messages of another session, unknown parts, refused ticks

    @property
    def session(self) -> int:
        return self._welcome.session if self._welcome else 0

    @property
    def simulated(self) -> bool:
        return self._identity.simulated

    def due_ns(self, now_ns: int) -> int | None:
        """When `advance` must be called next, on the arm's own clock."""
        due = [] if self._welcome and not self._lost else [self._hello_due_ns]
        if (lost_at_ns := self._lost_at_ns()) is not None:
            due.append(lost_at_ns)
        if self._open and (estimate := self._estimate(now_ns)):
            first = min(part.act_by_ns for part in self._open.values())
            due.append(first - estimate[0] - estimate[1])
        return min(due, default=None)

    def _lost_at_ns(self) -> int | None:
        """When the beat counts as lost; a simulated arm's clock stands still, and so does this."""
        if self._welcome is None or self._lost or self.simulated:
            return None
        return self._heard_ns + self._welcome.lost_ns

    def advance(self, now_ns: int) -> list[AnyMessage]:
        """What the passing of time alone brings: Hello again, a lost beat, expired parts."""
        answers: list[AnyMessage] = []
        if (lost_at_ns := self._lost_at_ns()) is not None and now_ns >= lost_at_ns:
            answers += self._lose(now_ns)
        if (self._welcome is None or self._lost) and now_ns >= self._hello_due_ns:
            self._hello_due_ns = now_ns + HELLO_EVERY_NS
            hello = msgspec.structs.replace(self._identity, seq=self._number(), stamp_ns=now_ns)
            answers.append(hello)
        for part, armed in list(self._open.items()):
            station_ns = self._latest_station_ns(now_ns)
            if station_ns is not None and station_ns > armed.act_by_ns:
                answers.append(
                    self._apply(part, "applied", armed.expect.default, "silence", now_ns)
                )
        return answers

    def hear(self, message: AnyMessage, now_ns: int) -> list[AnyMessage]:
        """What one message brings. A message of another session changes nothing."""
        if isinstance(message, Welcome):
            return self._enter(message, now_ns)
        if isinstance(message, Bye) and message.session == 0 and self._welcome is None:
            if message.reason != self._refused:
                self._refused = message.reason
                self._log({"event": "refused", "reason": message.reason})
            return []
        if self._welcome is None or message.session != self._welcome.session:
            self.dropped += 1
            return []
        if isinstance(message, Tick) and not self.simulated:
            self.dropped += 1
            self._log({"event": "tick_refused", "session": self.session})
            return []
        self._heard_ns = now_ns
        match message:
            case Expect():
                return self._arm(message, now_ns)
            case Command():
                return self._obey(message, now_ns)
            case Beat():
                return [self._beat(message, now_ns)]
            case Bye():
                answers = self._default_all("bye", now_ns)
                self._leave(now_ns)
                return answers
            case _:
                return []

    def _enter(self, welcome: Welcome, now_ns: int) -> list[AnyMessage]:
        if welcome.boot != self._identity.boot or welcome.protocol != PROTOCOL:
            self.dropped += 1
            return []
        answers: list[AnyMessage] = []
        if welcome.session != self.session:
            answers = self._default_all("new_session", now_ns)
            self._counts.clear()
            self._final.clear()
            self._offset.forget()  # another station may run on another clock
            self._log({"event": "session", "session": welcome.session})
        self._welcome, self._lost, self._heard_ns = welcome, False, now_ns
        self._offset.sample(
            sent_ns=welcome.echo_stamp_ns,
            heard_ns=welcome.echo_received_ns,
            answered_ns=welcome.stamp_ns,
            received_ns=now_ns,
        )
        # Acks of an ended session would only be dropped over there.
        return [a for a in answers if a.session == welcome.session]

    def _arm(self, expect: Expect, now_ns: int) -> list[AnyMessage]:
        if final := self._final.get(expect.part):
            return [self._again(final, now_ns)]
        if expect.default not in (Action.REJECT, Action.HOLD):  # silence must not accept
            expect = msgspec.structs.replace(expect, default=Action.REJECT)
        self._open[expect.part] = _Open(expect, expect.stamp_ns + expect.ttl_ns)
        answers: list[AnyMessage] = [self._ack(expect.part, "armed", expect.default, now_ns)]
        while len(self._open) > REMEMBERED:
            part, armed = next(iter(self._open.items()))
            answers.append(self._apply(part, "applied", armed.expect.default, "overflow", now_ns))
        return answers

    def _obey(self, command: Command, now_ns: int) -> list[AnyMessage]:
        if final := self._final.get(command.part):
            return [self._again(final, now_ns)]  # a repeat, or too late: the part has its action
        armed = self._open.get(command.part)
        if armed is None:
            self.dropped += 1  # never armed here: it was rejected when it came by
            return [self._ack(command.part, "refused", Action.REJECT, now_ns)]
        if self._harmless(command) or self._proven(command, armed, now_ns):
            return [self._apply(command.part, "applied", command.action, "command", now_ns)]
        default = armed.expect.default
        return [self._apply(command.part, "late", default, "unproven", now_ns)]

    def _harmless(self, command: Command) -> bool:
        """REJECT and HOLD without a movement are safe at any age."""
        return command.action in (Action.REJECT, Action.HOLD) and command.pose is None

    def _proven(self, command: Command, armed: _Open, now_ns: int) -> bool:
        """Fresh beyond doubt: both promises hold even if the clocks differ by the whole bound."""
        station_ns = self._latest_station_ns(now_ns)
        if self._lost or station_ns is None:
            return False
        return station_ns <= min(command.stamp_ns + command.ttl_ns, armed.act_by_ns)

    def _estimate(self, now_ns: int) -> tuple[int, int] | None:
        if self.simulated:
            return (0, 0)  # the station's Tick is this arm's clock
        return self._offset.estimate(now_ns)

    def _latest_station_ns(self, now_ns: int) -> int | None:
        """The latest instant it can be at the station; None while nothing is known of its clock."""
        estimate = self._estimate(now_ns)
        return None if estimate is None else now_ns + estimate[0] + estimate[1]

    def _beat(self, beat: Beat, now_ns: int) -> Beat:
        if beat.echo_stamp_ns:
            self._offset.sample(
                sent_ns=beat.echo_stamp_ns,
                heard_ns=beat.echo_received_ns,
                answered_ns=beat.stamp_ns,
                received_ns=now_ns,
            )
        return Beat(
            session=self.session,
            seq=self._number(),
            stamp_ns=now_ns,
            echo_stamp_ns=beat.stamp_ns,
            echo_received_ns=now_ns,
            counts=dict(self._counts),
        )

    def _lose(self, now_ns: int) -> list[AnyMessage]:
        """The beat is gone: defaults for all, and no earlier clock comparison proves anything."""
        self._lost, self._hello_due_ns = True, now_ns
        self._offset.forget()
        self._log({"event": "lost_beat", "session": self.session, "at_ns": now_ns})
        if self._identity.line_stop:
            self._log({"event": "line_stop", "session": self.session, "at_ns": now_ns})
        return self._default_all("lost_beat", now_ns)

    def _leave(self, now_ns: int) -> None:
        self._welcome, self._hello_due_ns = None, now_ns + HELLO_EVERY_NS
        self._offset.forget()

    def _default_all(self, cause: str, now_ns: int) -> list[AnyMessage]:
        return [
            self._apply(part, "applied", armed.expect.default, cause, now_ns)
            for part, armed in list(self._open.items())
        ]

    def _apply(
        self, part: int, state: AckState, action: Action, cause: str, now_ns: int
    ) -> AnyMessage:
        """The part's one action. `active` says whether the machine had to move for it."""
        armed = self._open.pop(part)
        self._counts[action] += 1
        ack = self._ack(part, state, action, now_ns)
        self._final[part] = ack
        while len(self._final) > REMEMBERED:
            self._final.popitem(last=False)
        estimate = self._estimate(now_ns)
        passive = Action.REJECT if self._identity.rest == "reject" else Action.ACCEPT
        self._log(
            {
                "event": "applied",
                "session": self.session,
                "part": part,
                "trigger_no": armed.expect.trigger_no,
                "action": action,
                "state": state,
                "cause": cause,
                "applied_ns": now_ns,
                "station_ns": None if estimate is None else now_ns + estimate[0],
                "act_by_ns": armed.act_by_ns,
                "active": action is not passive,
            }
        )
        return ack

    def _ack(self, part: int, state: AckState, action: Action, now_ns: int) -> Ack:
        final = state != "armed"
        return Ack(
            session=self.session,
            seq=self._number(),
            stamp_ns=now_ns,
            part=part,
            state=state,
            action=action,
            received_ns=now_ns,
            own_part_count=self._counts.total(),
            counts=dict(self._counts) if final else {},
        )

    def _again(self, final: Ack, now_ns: int) -> Ack:
        return msgspec.structs.replace(final, seq=self._number(), stamp_ns=now_ns)

    def _number(self) -> int:
        self._seq += 1
        return self._seq
