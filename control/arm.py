"""The reference controller: what any arm or diverter must do, as pure rules.

It holds each part's default from Expect on, and replaces it only by a command that it can
prove fresh on its own clock. Silence, doubt, a lost beat, a Bye and a new session all mean
the default. One action a part, logged when applied. With a part sensor, what comes by without
an Expect is a reject as well, station or no station. control/arm_link.py gives it a socket.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from control.belt import Belt, Waiting
from control.offset import ClockOffset
from control.wire import (
    PROTOCOL,
    Ack,
    AckState,
    AnyMessage,
    Beat,
    Bye,
    Command,
    Confirm,
    Done,
    Expect,
    Hello,
    State,
    Tick,
    Unexpected,
    Welcome,
)
from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.types import Action, Pose

HELLO_EVERY_NS = 100 * NS_PER_MS
REMEMBERED = 1024  # finished parts whose final ack can be repeated; the bound on all other lists
UNSEEN_AFTER_NS = NS_PER_S  # beyond act_by, a part that never came to the sensor
MOVES_PARTS = "disposition"  # the one role that arms and obeys; any other listens and beats

Log = Callable[[dict[str, Any]], None]


class _Open(msgspec.Struct):
    """An armed part: its default and the last instant of ACCEPT, on the station's clock."""

    expect: Expect
    act_by_ns: int


class _Moving(msgspec.Struct):
    """A movement under way for a part that has its action."""

    ends_ns: int
    part: int
    action: Action


class ReferenceArm:
    """Feed it messages, parts at its sensor and instants on its own clock; it answers.

    move_ns: how long a movement takes; sensor: `sense` will be called for every part that
    comes by. Which of Done, Confirm and State it sends is in the identity's capabilities.
    """

    def __init__(
        self, identity: Hello, log: Log, *, move_ns: int = 0, sensor: bool = False
    ) -> None:
        self._identity, self._log, self._move_ns = identity, log, move_ns
        self._sends = frozenset(identity.capabilities)
        self._belt = Belt(REMEMBERED) if sensor else None
        self._offset = ClockOffset()
        self._welcome: Welcome | None = None
        self._heard_ns = 0
        self._hello_due_ns = 0
        self._lost = False
        self._refused = ""
        self._held = False
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._due: list[tuple[int, int]] = []  # act_by_ns and part of what is open, sorted
        self._moving: deque[_Moving] = deque(maxlen=REMEMBERED)
        self._final: OrderedDict[int, Ack] = OrderedDict()
        self._counts: Counter[Action] = Counter()
        self._passed = 0  # parts at the sensor in this session
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
        if self._due and (estimate := self._estimate(now_ns)):
            due.append(self._due[0][0] - estimate[0] - estimate[1])
        if self._moving:
            due.append(self._moving[0].ends_ns)
        if self._belt and self._belt.forget_ns is not None:
            due.append(self._belt.forget_ns)
        return min(due, default=None)

    def _lost_at_ns(self) -> int | None:
        """When the beat counts as lost; a simulated arm's clock stands still, and so does this."""
        if self._welcome is None or self._lost or self.simulated:
            return None
        return self._heard_ns + self._welcome.lost_ns

    def advance(self, now_ns: int) -> list[AnyMessage]:
        """What time alone brings: Hello again, a lost beat, expired parts, ended movements."""
        answers: list[AnyMessage] = []
        if (lost_at_ns := self._lost_at_ns()) is not None and now_ns >= lost_at_ns:
            answers += self._lose(now_ns)
        if (self._welcome is None or self._lost) and now_ns >= self._hello_due_ns:
            self._hello_due_ns = now_ns + HELLO_EVERY_NS
            hello = msgspec.structs.replace(self._identity, seq=self._number(), stamp_ns=now_ns)
            answers.append(hello)
        station_ns = self._latest_station_ns(now_ns) if self._due else None
        while station_ns is not None and self._due and station_ns > self._due[0][0]:
            answers += self._default(self._due[0][1], "silence", now_ns)
        while self._moving and now_ns >= self._moving[0].ends_ns:
            answers += self._moved(self._moving.popleft(), now_ns)
        self._forget_unseen(now_ns)
        return answers

    def sense(self, now_ns: int) -> list[AnyMessage]:
        """What one part at the sensor brings: the oldest expected part not seen, or a stranger.

        It holds without a station too: the part is here, and who has not decided has not.
        """
        if self._belt is None or self._identity.role != MOVES_PARTS:
            return []
        self._passed += 1
        self._forget_unseen(now_ns)
        if (waiting := self._belt.first()) is None:
            return self._reject_stranger(now_ns)
        answers: list[AnyMessage] = []
        of_session = waiting.session == self.session
        if of_session and waiting.part in self._open:
            answers += self._default(waiting.part, "at_sensor", now_ns)
        self._belt.seen()
        self._log_waiting("sensed", waiting, now_ns)
        if of_session and "confirm" in self._sends:
            answers.append(self._confirm(waiting.part, waiting.action, now_ns))
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
            case Expect() | Command() if self._identity.role != MOVES_PARTS:
                return []
            case Expect():
                return self._arm(message, now_ns)
            case Command():
                return self._obey(message, now_ns)
            case Beat():
                self._hold(message.hold, now_ns)
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
            self._moving.clear()
            self._passed = 0
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
        if armed := self._open.get(expect.part):  # sent again until acked: the first one stands
            return [self._ack(expect.part, "armed", armed.expect.default, now_ns)]
        if expect.default not in (Action.REJECT, Action.HOLD):  # silence must not accept
            expect = msgspec.structs.replace(expect, default=Action.REJECT)
        act_by_ns = expect.stamp_ns + expect.ttl_ns
        self._open[expect.part] = _Open(expect, act_by_ns)
        insort(self._due, (act_by_ns, expect.part))
        self._wait_for(expect, now_ns)
        answers: list[AnyMessage] = [self._ack(expect.part, "armed", expect.default, now_ns)]
        while len(self._open) > REMEMBERED:
            answers += self._default(next(iter(self._open)), "overflow", now_ns)
        return answers

    def _wait_for(self, expect: Expect, now_ns: int) -> None:
        """The part will come to the sensor, if there is one."""
        if self._belt is None:
            return
        left_ns = expect.ttl_ns
        if estimate := self._estimate(now_ns):
            left_ns = min(left_ns, expect.stamp_ns + expect.ttl_ns - now_ns - estimate[0])
        forget_ns = now_ns + max(0, left_ns) + UNSEEN_AFTER_NS
        waiting = Waiting(self.session, expect.part, expect.default, forget_ns)
        for surplus in self._belt.expect(waiting):
            self._log_waiting("unseen", surplus, now_ns)

    def _obey(self, command: Command, now_ns: int) -> list[AnyMessage]:
        if final := self._final.get(command.part):
            return [self._again(final, now_ns)]  # a repeat, or too late: the part has its action
        armed = self._open.get(command.part)
        if armed is None:
            self.dropped += 1  # never armed here: it was rejected when it came by
            refused = self._ack(command.part, "refused", Action.REJECT, now_ns)
            self._remember(refused)  # an Expect that comes after it must not arm it any more
            return [refused]
        if self._harmless(command) or self._proven(command, armed, now_ns):
            answers = self._apply(command.part, "applied", command.action, "command", now_ns)
            return answers + self._pose(command, now_ns)
        return self._apply(command.part, "late", armed.expect.default, "unproven", now_ns)

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
        self._moving.clear()
        self._offset.forget()

    def _default_all(self, cause: str, now_ns: int) -> list[AnyMessage]:
        answers: list[AnyMessage] = []
        for part in list(self._open):
            answers += self._default(part, cause, now_ns)
        return answers

    def _default(self, part: int, cause: str, now_ns: int) -> list[AnyMessage]:
        return self._apply(part, "applied", self._open[part].expect.default, cause, now_ns)

    def _apply(
        self, part: int, state: AckState, action: Action, cause: str, now_ns: int
    ) -> list[AnyMessage]:
        """The part's one action: its final ack, and what its movement has to tell."""
        armed = self._open.pop(part)
        del self._due[bisect_left(self._due, (armed.act_by_ns, part))]
        self._counts[action] += 1
        ack = self._ack(part, state, action, now_ns)
        self._remember(ack)
        self._log_applied(armed, ack, cause, now_ns)
        if self._belt:
            self._belt.act(self.session, part, action)
        movement = _Moving(now_ns + self._move_ns, part, action)
        if self._move_ns:
            self._moving.append(movement)
            return [ack]
        return [ack, *self._moved(movement, now_ns)]

    def _log_applied(self, armed: _Open, ack: Ack, cause: str, now_ns: int) -> None:
        """One line an action; `active` says whether the machine had to move for it."""
        estimate = self._estimate(now_ns)
        passive = Action.REJECT if self._identity.rest == "reject" else Action.ACCEPT
        self._log(
            {
                "event": "applied",
                "session": self.session,
                "part": ack.part,
                "trigger_no": armed.expect.trigger_no,
                "action": ack.action,
                "state": ack.state,
                "cause": cause,
                "applied_ns": now_ns,
                "station_ns": None if estimate is None else now_ns + estimate[0],
                "act_by_ns": armed.act_by_ns,
                "active": ack.action is not passive,
            }
        )

    def _moved(self, movement: _Moving, now_ns: int) -> list[AnyMessage]:
        """A movement has ended. Where the part went is for the sensor to say, if there is one."""
        answers: list[AnyMessage] = []
        part, number = movement.part, self._number
        if "done" in self._sends:
            answers.append(
                Done(session=self.session, seq=number(), stamp_ns=now_ns, part=part, ok=True)
            )
        if "confirm" in self._sends and self._belt is None:
            answers.append(self._confirm(part, movement.action, now_ns))
        return answers

    def _confirm(self, part: int, left_as: Action, now_ns: int) -> Confirm:
        number = self._number()
        return Confirm(
            session=self.session, seq=number, stamp_ns=now_ns, part=part, left_as=left_as
        )

    def _pose(self, command: Command, now_ns: int) -> list[AnyMessage]:
        pose: Pose | None = command.pose
        if pose is None or "state" not in self._sends:
            return []
        number, part = self._number(), command.part
        return [State(session=self.session, seq=number, stamp_ns=now_ns, pose=pose, part=part)]

    def _hold(self, hold: bool, now_ns: int) -> None:
        """The line's level as last heard; it stays through a lost beat and into a new session."""
        if hold is not self._held:
            self._held = hold
            event = "line_hold" if hold else "line_run"
            self._log({"event": event, "session": self.session, "at_ns": now_ns})

    def _reject_stranger(self, now_ns: int) -> list[AnyMessage]:
        """A part nobody announced is rejected; the station's counts of commands leave it out."""
        count = self._passed
        self._log({"event": "unexpected", "at_ns": now_ns, "own_part_count": count})
        if self._welcome is None:
            return []
        number = self._number()
        return [Unexpected(session=self.session, seq=number, stamp_ns=now_ns, own_part_count=count)]

    def _forget_unseen(self, now_ns: int) -> None:
        for waiting in self._belt.forget(now_ns) if self._belt else ():
            self._log_waiting("unseen", waiting, now_ns)

    def _log_waiting(self, event: str, waiting: Waiting, now_ns: int) -> None:
        self._log(
            {
                "event": event,
                "session": waiting.session,
                "part": waiting.part,
                "at_ns": now_ns,
                "action": waiting.action,
            }
        )

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

    def _remember(self, final: Ack) -> None:
        self._final[final.part] = final
        while len(self._final) > REMEMBERED:
            self._final.popitem(last=False)

    def _again(self, final: Ack, now_ns: int) -> Ack:
        """The part's final ack once more, with the counts as they are by now."""
        counts = dict(self._counts)
        return msgspec.structs.replace(
            final,
            seq=self._number(),
            stamp_ns=now_ns,
            own_part_count=self._counts.total(),
            counts=counts,
        )

    def _number(self) -> int:
        self._seq += 1
        return self._seq
