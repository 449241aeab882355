"""The deadline loop: every part gets exactly one command, in time, whatever the engine does.

At the trigger the default is armed, here and at the controller. An on-time verdict replaces
it. What stands at `decide_by` goes out. The loop owns no device: it waits through the clock
and takes turns with the ports (edge/core/ports.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from edge.core.clock import NS_PER_MS
from edge.core.ledger import Balance, Ledger
from edge.core.pool import FramePool, Holder
from edge.core.ports import Actuator, Camera, Clock, Engine, Interlock, Policy, Recorder, Witness
from edge.core.types import (
    Ack,
    Action,
    Answer,
    Cause,
    Deadline,
    Decision,
    Fault,
    Frame,
    NoFrame,
    Outcome,
    PartRecord,
    Prediction,
    Serving,
    Stamps,
    Trigger,
)

STALL_NS = 10 * NS_PER_MS  # a default this much late: the process, not the engine, stood still
# Between two parts the loop wakes this much early and takes one turn for nothing: its code and data
# have left the caches meanwhile, and come back before the part instead of with it.
REHEARSAL_NS = 600_000
# How long to look before an instant instead of sleeping, by the number of open parts. None: the
# processor that takes the next part is then awake and warm. One: its default is not to be late.
# More: their sessions need the processors; with 0.25 ms of looking before each arrival and default,
# session.run took 4.2 ms instead of 2.4 once a queue had formed at 250 parts/s on 2 cores.
LOOK_NS = (700_000, 250_000, 0)
EVENTS_A_TURN = 64  # of camera and controller each: no backlog may keep deadlines waiting
IDLE_NS = 200 * NS_PER_MS  # with nothing to wait for, look at the stop flag this often


class _Part(msgspec.Struct):
    """One part between its trigger and its ack."""

    trigger: Trigger
    deadline: Deadline
    barred: Cause | None = None  # why it is not to be inspected
    controller: str = ""  # where its default was armed
    frame: Frame | None = None
    decision: Decision | None = None
    stamps: Stamps = Stamps()
    answered_ns: int = 0
    decided_ns: int = 0
    sent_ns: int = 0
    command_id: int = 0
    received_ns: int = 0
    acked_ns: int = 0
    applied: Action | None = None
    late_score: float | None = None
    serving: Serving | None = None


class Unwitnessed:
    """The witness of a station that keeps nothing."""

    def opened(self, trigger: Trigger, deadline: Deadline) -> None: ...

    def decided(self, frame: Frame, decision: Decision) -> None: ...


_NOBODY = Unwitnessed()


class Inspection:
    """One run of a station over its ports; `inspect` drives it, tests may step it."""

    def __init__(
        self,
        *,
        camera: Camera,
        engine: Engine,
        policy: Policy,
        actuator: Actuator,
        interlock: Interlock,
        recorder: Recorder,
        pool: FramePool,
        clock: Clock,
        deadline: Callable[[int], Deadline],
        ack_ns: int,
        witness: Witness = _NOBODY,
        on_turn: Callable[[int], None] = lambda now_ns: None,
        wake_fds: tuple[int, ...] = (),
    ) -> None:
        """on_turn: called at the end of every turn with the time; for whoever watches progress.

        wake_fds: descriptors that begin a turn, so that on_turn is called for them at once.
        """
        self.ledger = Ledger()
        self._camera, self._engine, self._policy = camera, engine, policy
        self._actuator, self._recorder, self._pool = actuator, recorder, pool
        self._witness = witness
        self._interlock, self._on_turn, self._wake_fds = interlock, on_turn, wake_fds
        self._clock, self._deadline, self._ack_ns = clock, deadline, ack_ns
        # Of which part's instant the engine and the controllers were last told.
        self._alerted_ns = self._nudged_ns = 0
        self._parts: dict[int, _Part] = {}
        self._undecided: deque[int] = deque()  # in trigger order, hence in deadline order
        self._unclosed: deque[int] = deque()
        self._unarmed: deque[int] = deque()

    def step(self) -> None:
        """Wait for the next thing to happen, then take everything that has.

        Answers and deadlines first while a part awaits them, else the new part: after a pause
        the interpreter takes 80 us over a turn of the engine that brings nothing.
        """
        now_ns, awaited = self._wait(), self._oldest_undecided() is not None
        if awaited:
            self._take_answers(now_ns)
        for _ in range(EVENTS_A_TURN):
            event = self._camera.poll(now_ns, len(self._parts))
            if event is None:
                break
            self._take(event)
        self._arm_parts()
        if not awaited:
            self._take_answers(now_ns)
        for _ in range(EVENTS_A_TURN):
            word = self._actuator.poll(self._clock.now_ns())
            if word is None:
                break
            self._hear(word)
        self._close_parts(self._clock.now_ns(), unread=self._actuator.backlog)
        self._interlock.engine(self._engine.trouble)
        self._actuator.hold(self._interlock.hold_line)
        self._on_turn(self._clock.now_ns())

    def _take_answers(self, now_ns: int) -> None:
        while answer := self._engine.poll(now_ns):
            self._judge(answer)
        self._expire(self._clock.now_ns())

    @property
    def open(self) -> int:
        """Parts between their trigger and their ack."""
        return len(self._parts)

    @property
    def finished(self) -> bool:
        """Nothing is open and no trigger can come."""
        return self._camera.exhausted and not self._parts

    def start(self) -> None:
        """Let parts come."""
        self._camera.start(self._clock.now_ns())

    def stop(self) -> None:
        """Take no further trigger; the open parts are still to be finished."""
        self._camera.stop()

    def balance(self) -> Balance:
        """The final count of all three sides, once nothing is open."""
        controller, counts = self._actuator.controller, self._actuator.counts
        self._check(self.ledger.close(self._camera.triggers, controller, counts))
        return self.ledger.balance()

    def _wait(self) -> int:
        due = self._due_ns()
        if not self._parts:
            due = self._rehearse(due)
        own = (self._camera.fileno(), self._actuator.fileno())
        fds = (*own, *self._engine.filenos(), *self._wake_fds)
        look_ns = LOOK_NS[min(len(self._parts), len(LOOK_NS) - 1)]
        self._clock.wait(fds, due, busy=bool(self._parts), look_ns=look_ns)
        return self._clock.now_ns()

    def _rehearse(self, due_ns: int) -> int:
        """Get ready for a part that is due: when to wake for it, at the latest at due_ns."""
        now_ns, part_ns = self._clock.now_ns(), self._camera.due_ns(0)
        lead_ns = self._engine.alert_ns()
        if part_ns is None or part_ns <= now_ns or lead_ns is None:
            return due_ns
        if now_ns < part_ns - lead_ns:
            return min(due_ns, part_ns - lead_ns)
        if self._alerted_ns != part_ns:
            self._alerted_ns = part_ns
            self._engine.alert(now_ns, part_ns)
        if now_ns < part_ns - 2 * REHEARSAL_NS:
            return min(due_ns, part_ns - REHEARSAL_NS)
        if self._nudged_ns != part_ns:
            self._nudged_ns = part_ns
            self._actuator.nudge()
            return now_ns  # a turn at once, in which the beat goes
        return due_ns

    def _due_ns(self) -> int:
        """The next instant at which something must be done without being asked."""
        due = self._clock.now_ns() + IDLE_NS
        if oldest := self._oldest_undecided():
            due = min(due, oldest[1].deadline.decide_by_ns)
        if self._unclosed and (first := self._parts[self._unclosed[0]]).decision:
            due = min(due, self._ack_by_ns(first))
        camera_ns = self._camera.due_ns(len(self._parts))
        for instant in (camera_ns, self._engine.due_ns(), self._actuator.due_ns()):
            if instant is not None and instant < due:
                due = instant
        return due

    def _take(self, event: Trigger | Frame | NoFrame) -> None:
        match event:
            case Trigger():
                self._open(event)
            case Frame():
                self._inspect(event)
            case NoFrame():
                self._recorder.event(event.fault, event.part, event.detail)
                if event.part in self._parts:
                    self._decide(event.part, self._policy.decide(event.part, event.fault))

    def _open(self, trigger: Trigger) -> None:
        """Arm the default here; `_arm_parts` arms it at the other end of the wire."""
        self._check(self.ledger.trigger(trigger.number))
        part = _Part(trigger, self._deadline(trigger.trigger_ns), self._interlock.bar())
        self._parts[trigger.part] = part
        self._undecided.append(trigger.part)
        self._unclosed.append(trigger.part)
        self._unarmed.append(trigger.part)

    def _arm_parts(self) -> None:
        """Tell the controller of every new part.

        After the frames of this turn have gone to the engine: the telling takes 0.1 ms, which
        the engine uses. Always before the part's command.
        """
        while self._unarmed:
            number = self._unarmed.popleft()
            part = self._parts[number]
            default = self._policy.default
            controller = self._actuator.expect(number, part.trigger.number, default, part.deadline)
            if controller:
                part.controller = controller
                self.ledger.expect(controller)
            self._witness.opened(part.trigger, part.deadline)
            if part.barred:
                default_now = self._policy.decide(number, Fault.NOT_ADMITTED, part.barred)
                self._decide(number, default_now)

    def _inspect(self, frame: Frame) -> None:
        part = self._parts.get(frame.part)
        if part is None or part.decision is not None:
            self._recorder.event("late_frame", frame.part, "the part was decided without it")
            self._pool.release(frame.slot, Holder.PART)
            return
        part.frame = frame
        now_ns = self._clock.now_ns()
        if part.barred or now_ns >= part.deadline.decide_by_ns:
            return  # decided in this turn: as soon as it is armed, or by its deadline
        refused = self._engine.refusal(now_ns, part.deadline.decide_by_ns)
        if refused:
            fault, why = refused
            self._recorder.event(fault, frame.part, why)
            self._decide(frame.part, self._policy.decide(frame.part, fault))
            return
        self._engine.submit(frame, part.deadline.decide_by_ns)

    def _judge(self, answer: Answer) -> None:
        """Turn an answer into the part's decision, unless something else stands already."""
        part = self._parts.get(answer.part)
        if part is None and 1 <= answer.part <= self.ledger.triggers:
            late = f"came after the part was closed, score {_score(answer)}; not sent"
            self._recorder.event("late_answer", answer.part, late)
            return
        if part is None or part.frame is None or part.frame.generation != answer.generation:
            self._recorder.event("stale_answer", answer.part, "of an earlier lease; dropped")
            return
        now_ns = self._clock.now_ns()
        if part.decision is not None or now_ns >= part.deadline.decide_by_ns:
            part.late_score = _score(answer)
            self._recorder.event("late_answer", answer.part, "came after decide_by; not sent")
            return
        part.stamps, part.answered_ns = answer.stamps, now_ns
        part.serving = answer.serving
        decision = self._policy.decide(answer.part, answer.outcome, serving=answer.serving)
        if decision.fault is not None:
            self._recorder.event(decision.fault, answer.part, decision.detail or answer.detail)
        self._decide(answer.part, decision)

    def _expire(self, now_ns: int) -> None:
        """What stands at decide_by goes out: the default."""
        while oldest := self._oldest_undecided():
            number, part = oldest
            if now_ns < part.deadline.decide_by_ns:
                return
            fault = self._cause_of_silence(part, now_ns)
            self._decide(number, self._policy.decide(number, fault))

    def _oldest_undecided(self) -> tuple[int, _Part] | None:
        """The part whose decide_by comes first; those decided meanwhile are struck off."""
        while self._undecided:
            number = self._undecided[0]
            part = self._parts.get(number)
            if part and part.decision is None:
                return number, part
            self._undecided.popleft()
        return None

    def _cause_of_silence(self, part: _Part, now_ns: int) -> Fault:
        if now_ns - part.deadline.decide_by_ns > STALL_NS:
            return Fault.STALL
        if part.frame is None:
            return Fault.NO_IMAGE
        return Fault.DEADLINE if self._engine.ready else Fault.ENGINE_DOWN

    def _decide(self, number: int, decision: Decision) -> None:
        """Send the part's one command and free what it held."""
        part = self._parts[number]
        if part.decision is not None:
            return
        self._arm_parts()
        if part.decision is not None:  # while it was armed
            return
        reachable = self._is_reachable(part)
        if decision.fault is None and not reachable:
            # Nobody can act on it any more, so nobody may count it as accepted.
            decision = self._policy.decide(number, Fault.NO_CONTROLLER)
        now_ns = self._clock.now_ns()
        if decision.fault is None and now_ns >= part.deadline.decide_by_ns:
            decision = self._policy.decide(number, Fault.DEADLINE)
        part.command_id = self._actuator.command(decision, part.deadline)
        part.decision, part.decided_ns = decision, now_ns
        part.sent_ns = self._clock.now_ns()
        if part.serving is None:
            part.serving = self._engine.serving
        self._check(self.ledger.decide(decision))
        self._engine.abandon(number)
        if part.frame:
            self._witness.decided(part.frame, decision)
            self._pool.release(part.frame.slot, Holder.PART)

    def _is_reachable(self, part: _Part) -> bool:
        """The controller that holds its default is there, has not restarted, and has not acted."""
        armed = bool(part.controller) and part.controller == self._actuator.controller
        return armed and not part.acked_ns

    def _hear(self, word: Ack | Outcome) -> None:
        """What the controller says of a part: done with it, or what became of it afterwards."""
        if isinstance(word, Outcome):
            told = word.left_as or ("ok" if word.ok else "failed")
            self._recorder.event(word.kind, word.part, told)
            self._interlock.outcome(word)
            return
        ack = word
        part = self._parts.get(ack.part)
        if part is None or part.acked_ns:
            self._recorder.event("stray_ack", ack.part, f"{ack.state} {ack.action}; dropped")
            return
        self._check(self.ledger.ack(ack, part.decision, self._policy.default))
        part.applied, part.received_ns = ack.action, ack.received_ns
        part.acked_ns = self._clock.now_ns()

    def _close_parts(self, now_ns: int, *, unread: bool) -> None:
        """Hand finished parts to the recorder in trigger order; an ack too late to come is lost.

        unread: there may be acks that have come and were not read yet.
        """
        while self._unclosed:
            number = self._unclosed[0]
            part = self._parts[number]
            if part.decision is None:
                return
            if part.acked_ns == 0:
                if part.controller and (unread or now_ns < self._ack_by_ns(part)):
                    return
                self._check(self.ledger.lose())
                self._recorder.event("unacked", number, "no ack from the controller")
            self._unclosed.popleft()
            del self._parts[number]
            record = _record(number, part, part.decision)
            self._recorder.part(record)
            self._interlock.part(record)
        if not self._parts and (counts := self._actuator.counts) is not None:
            self._check(self.ledger.beat(self._actuator.controller, counts))

    def _ack_by_ns(self, part: _Part) -> int:
        return part.deadline.act_by_ns + self._ack_ns

    def _check(self, broken: str) -> None:
        if broken:
            self._recorder.event("conservation", 0, broken)
            self._interlock.conservation(broken)


def inspect(inspection: Inspection, stop: Callable[[], bool]) -> Balance:
    """Inspect parts until the camera is exhausted or `stop`; open parts are finished."""
    inspection.start()
    while not inspection.finished and not stop():
        inspection.step()
    inspection.stop()
    while not inspection.finished:
        inspection.step()
    return inspection.balance()


def _score(answer: Answer) -> float | None:
    return answer.outcome.score if isinstance(answer.outcome, Prediction) else None


def _record(number: int, part: _Part, decision: Decision) -> PartRecord:
    return PartRecord(
        part=number,
        number=part.trigger.number,
        deadline=part.deadline,
        decision=decision,
        frame_ns=part.frame.ready_ns if part.frame else 0,
        stamps=part.stamps,
        answered_ns=part.answered_ns,
        decided_ns=part.decided_ns,
        sent_ns=part.sent_ns,
        command_id=part.command_id,
        received_ns=part.received_ns,
        acked_ns=part.acked_ns,
        applied=part.applied,
        late_score=part.late_score,
        encoder=part.trigger.encoder,
        serving=part.serving,
        registration_ns=part.frame.registration_ns if part.frame else 0,
    )
