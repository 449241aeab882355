"""The deadline loop against scripted ports and a manual clock."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.interlock import Interlock
from control.policy import ThresholdPolicy
from edge.core.config import Limit, LimitOptions, PolicyOptions
from edge.core.pool import FramePool
from edge.core.types import Action, Answer, Cause, Deadline, Fault, Prediction, Verdict, ViewSpec
from edge.loop import STALL_NS, Inspection, inspect
from edge.testing import (
    ListRecorder,
    ManualClock,
    RecordingActuator,
    ScriptedCamera,
    ScriptedEngine,
)

MS = 1_000_000
VIEWS = (
    ViewSpec("image", "picture", "uint8", (8, 8)),
    ViewSpec("force", "samples", "float32", (4, 6)),
)


WARN = LimitOptions(
    missed_acks=Limit(limit=3),
    unconfirmed_rejects=Limit(limit=1),
    conservation_errors=Limit(limit=1),
)


def deadline(trigger_ns: int) -> Deadline:
    return Deadline(trigger_ns, trigger_ns + 45 * MS, trigger_ns + 50 * MS)


class Line:
    """One scripted station: its ports, and a run to the end."""

    def __init__(
        self,
        arrivals,
        *,
        slots=8,
        actuator=None,
        miscount=0,
        broken=frozenset(),
        limits=WARN,
        **engine,
    ):
        self.clock = ManualClock()
        self.pool = FramePool.create(VIEWS, slots)
        self.camera = ScriptedCamera(self.pool, arrivals, miscount=miscount, broken=broken)
        self.engine = ScriptedEngine(self.pool, self.clock, **engine)
        self.actuator = actuator(self.clock) if actuator else RecordingActuator(self.clock)
        self.recorder = ListRecorder()
        self.interlock = Interlock(limits, self.recorder.event)
        for step in ("initialize", "prepare", "start"):
            self.interlock.step(step)
        self.inspection = Inspection(
            camera=self.camera,
            engine=self.engine,
            policy=ThresholdPolicy(0.5, 0.5, PolicyOptions()),
            actuator=self.actuator,
            interlock=self.interlock,
            recorder=self.recorder,
            pool=self.pool,
            clock=self.clock,
            deadline=deadline,
            ack_ns=100 * MS,
        )

    def run(self):
        self.balance = inspect(self.inspection, lambda: False)
        return self

    def close(self):
        self.camera.close()
        self.actuator.close()
        self.pool.close()

    @property
    def events(self):
        return [kind for kind, _, _ in self.recorder.events]


@pytest.fixture
def line() -> Iterator:
    made: list[Line] = []

    def make(*args, **kwargs) -> Line:
        made.append(Line(*args, **kwargs))
        return made[-1].run()

    yield make
    for one in made:
        one.close()


def spaced(parts: int, period_ms: int = 60) -> list[tuple[int, int]]:
    return [(n * period_ms * MS, n * period_ms * MS) for n in range(1, parts + 1)]


def test_an_on_time_pass_is_accepted_once(line):
    run = line(spaced(3), cost_ns=lambda part: 10 * MS)
    assert [d.action for _, d in run.actuator.commands] == [Action.ACCEPT] * 3
    assert run.actuator.expected == [1, 2, 3]
    assert run.balance.errors == 0
    assert run.pool.free == 8


def test_the_engine_is_alerted_once_before_each_part_that_is_due(line):
    run = line(spaced(3), cost_ns=lambda part: 10 * MS, alert_ns=7 * MS)
    due = [60 * MS, 120 * MS, 180 * MS]
    assert [instant for _, instant in run.engine.alerts] == due
    assert [at for at, _ in run.engine.alerts] == [instant - 7 * MS for instant in due]


def test_the_beat_is_sent_before_the_part_it_is_to_warm_the_way_for(line):
    nudged = []

    class Nudged(RecordingActuator):
        def nudge(self):
            nudged.append([self._clock.now_ns()])

        def poll(self, now_ns):
            if nudged and len(nudged[-1]) == 1:
                nudged[-1].append(now_ns)
            return super().poll(now_ns)

    line(spaced(3), actuator=Nudged, cost_ns=lambda part: 10 * MS, alert_ns=7 * MS)
    due = [60 * MS, 120 * MS, 180 * MS]
    assert all(asked == polled < at for (asked, polled), at in zip(nudged, due, strict=True))


def test_no_alert_comes_between_parts_that_overlap(line):
    run = line(spaced(4, period_ms=5), cost_ns=lambda part: 12 * MS, alert_ns=7 * MS)
    assert [instant for _, instant in run.engine.alerts] in ([], [5 * MS])
    assert [d.action for _, d in run.actuator.commands] == [Action.ACCEPT] * 4


def test_a_bad_score_is_rejected_by_verdict(line):
    run = line(spaced(1), outcome=lambda part: Prediction(0.9))
    decision = run.recorder.parts[0].decision
    assert (decision.verdict, decision.action, decision.cause) == (
        Verdict.FAIL,
        Action.REJECT,
        Cause.VERDICT,
    )


def test_silence_defaults_at_decide_by_and_not_later(line):
    run = line([(60 * MS, 60 * MS)], behaviour=lambda part: "hang")
    assert run.actuator.commands[0][0] == (60 + 45) * MS
    assert run.recorder.parts[0].decision.fault is Fault.DEADLINE
    assert run.recorder.parts[0].decision.action is Action.REJECT


def test_a_late_answer_is_recorded_as_late_and_never_sent(line):
    run = line([(60 * MS, 60 * MS), (300 * MS, 300 * MS)], cost_ns=lambda part: 46 * MS)
    assert len(run.actuator.commands) == 2
    assert all(d.action is Action.REJECT for _, d in run.actuator.commands)
    assert "late_answer" in run.events


def test_an_answer_of_an_earlier_lease_is_dropped(line):
    clocked = Line(spaced(2), cost_ns=lambda part: 20 * MS)
    clocked.engine.extra.append(Answer(1, 0, 999, Prediction(0.0)))
    clocked.engine.extra.append(Answer(77, 0, 1, Prediction(0.0)))
    clocked.run()
    assert clocked.events.count("stale_answer") == 2
    assert len(clocked.actuator.commands) == 2
    clocked.close()


def test_a_frame_that_never_comes_is_no_image(line):
    run = line([(60 * MS, None)])
    assert run.recorder.parts[0].decision.fault is Fault.NO_IMAGE


def test_a_frame_after_the_default_frees_its_slot(line):
    run = line([(60 * MS, 107 * MS), (200 * MS, 200 * MS)])
    assert run.recorder.parts[0].decision.fault is Fault.NO_IMAGE
    assert run.pool.free == 8


def test_a_broken_frame_is_a_default_at_once_and_not_at_the_deadline(line):
    run = line(spaced(3), broken=frozenset({1, 3}))
    assert [r.decision.fault for r in run.recorder.parts] == [
        *(Fault.BAD_FRAME, None, Fault.BAD_FRAME),
    ]
    assert run.actuator.commands[0][0] == 60 * MS


def test_a_worker_that_dies_defaults_its_part(line):
    run = line(spaced(2), behaviour=lambda part: "die" if part == 1 else "answer")
    assert [d.action for _, d in run.actuator.commands] == [Action.REJECT, Action.ACCEPT]
    assert run.recorder.parts[0].decision.fault is Fault.ENGINE_DOWN


def test_a_hung_worker_leaks_its_slot_only_while_it_is_held(line):
    run = line(spaced(3), slots=4, behaviour=lambda part: "hang" if part == 1 else "answer")
    assert run.pool.free == 3
    assert [d.fault for _, d in run.actuator.commands] == [Fault.DEADLINE, None, None]


def test_without_a_controller_every_part_is_a_counted_default(line):
    run = line(spaced(3), actuator=lambda clock: RecordingActuator(clock, connected=False))
    assert [r.decision.fault for r in run.recorder.parts] == [Fault.NO_CONTROLLER] * 3
    assert run.balance.decided == run.balance.triggers == 3
    assert run.balance.unacked == 3


def test_a_stall_defaults_every_part_whose_instant_passed_in_it(line):
    class StallingClock(ManualClock):
        def wait(self, fds, until_ns, *, busy=False, look_ns=0):
            if self.now < 200 * MS <= (until_ns or 0):
                until_ns += 2 * STALL_NS + 45 * MS
            return super().wait(fds, until_ns, busy=busy)

    stalled = Line([(190 * MS, 190 * MS)], cost_ns=lambda part: 20 * MS)
    clock = StallingClock()
    stalled.clock = stalled.inspection._clock = clock
    stalled.engine._clock = stalled.actuator._clock = clock
    stalled.run()
    assert [d.fault for _, d in stalled.actuator.commands] == [Fault.STALL]
    stalled.close()


def test_a_deaf_controller_is_counted_as_unacked(line):
    run = line(spaced(2), actuator=lambda clock: RecordingActuator(clock, deaf=frozenset({1})))
    assert run.balance.unacked == 1
    assert "unacked" in run.events
    assert run.balance.errors == 0


def test_a_source_that_miscounts_is_a_conservation_error(line):
    assert line(spaced(3), miscount=1).balance.errors == 1
    assert line(spaced(3), miscount=-1).balance.errors == 1


def test_a_controller_that_miscounts_is_a_conservation_error(line):
    for miscount in (1, -1):
        run = line(
            spaced(3), actuator=lambda clock, m=miscount: RecordingActuator(clock, miscount=m)
        )
        assert run.balance.errors > 0
        assert "conservation" in run.events


def test_a_station_that_loses_a_decision_is_a_conservation_error():
    broken = Line(spaced(3))
    decide = broken.inspection.ledger.decide
    broken.inspection.ledger.decide = lambda d: decide(d) if d.part != 2 else ""
    broken.run()
    assert broken.balance.errors > 0
    broken.close()


def test_a_held_line_gives_every_part_its_default_at_once_and_says_so_to_the_machine(line):
    held = Line(spaced(4))
    held.interlock.hold("anna", "jam")
    held.run()
    assert [d.fault for _, d in held.actuator.commands] == [Fault.NOT_ADMITTED] * 4
    assert {d.cause for _, d in held.actuator.commands} == {Cause.OPERATOR}
    assert [at for at, _ in held.actuator.commands] == [at for at, _ in spaced(4)]
    assert held.actuator.held
    assert held.pool.free == 8
    assert held.balance.errors == 0
    held.close()


def test_a_limit_stops_the_inspection_of_the_parts_after_it_and_never_of_one_under_way(line):
    limits = LimitOptions(consecutive_faults=Limit(limit=2, effect="error"))
    run = line(spaced(5), limits=limits, behaviour=lambda part: "die" if part < 3 else "answer")
    assert [r.decision.fault for r in run.recorder.parts] == [
        *(Fault.ENGINE_DOWN, Fault.ENGINE_DOWN),
        *(Fault.NOT_ADMITTED, Fault.NOT_ADMITTED, Fault.NOT_ADMITTED),
    ]
    assert run.interlock.state == "error"
    assert run.balance.decided == 5


def test_a_part_that_cannot_be_answered_in_time_gets_its_default_at_once():
    class Slow(ScriptedEngine):
        def refusal(self, now_ns, decide_by_ns):
            return (Fault.NOT_ADMITTED, "scripted") if now_ns > 100 * MS else None

    busy = Line(spaced(2))
    busy.inspection._engine = Slow(busy.pool, busy.clock)
    busy.run()
    assert [r.decision.fault for r in busy.recorder.parts] == [None, Fault.NOT_ADMITTED]
    assert busy.actuator.commands[1][0] == 120 * MS
    assert busy.pool.free == 8
    busy.close()


BEHAVIOURS = st.sampled_from(["answer", "hang", "die"])
SCHEDULES = st.lists(
    st.tuples(
        st.integers(0, 120),  # ms after the part before
        st.one_of(st.none(), st.integers(0, 60)),  # ms until its frame
        st.integers(0, 70),  # ms of inference
        BEHAVIOURS,
        st.one_of(st.floats(allow_nan=True), st.sampled_from(list(Fault))),
    ),
    min_size=1,
    max_size=25,
)
PARTS = st.frozensets(st.integers(1, 25), max_size=5)


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, PARTS, PARTS)
def test_conservation_and_no_accept_on_a_fault_under_any_schedule(schedule, deaf, broken):
    arrivals, at = [], 0
    for gap, frame, *_ in schedule:
        at += gap
        arrivals.append((at * MS, None if frame is None else (at + frame) * MS))
    arrivals_in_order = sorted(arrivals, key=lambda a: a[0])

    def outcome(part):
        wanted = schedule[part - 1][4]
        return wanted if isinstance(wanted, Fault) else Prediction(wanted)

    run = Line(
        arrivals_in_order,
        broken=broken,
        actuator=lambda clock: RecordingActuator(clock, deaf=deaf),
        cost_ns=lambda part: schedule[part - 1][2] * MS,
        outcome=outcome,
        behaviour=lambda part: schedule[part - 1][3],
    ).run()
    parts = len(schedule)
    assert run.balance.errors == 0
    assert run.balance.triggers == run.balance.decided == len(run.actuator.commands) == parts
    assert [r.part for r in run.recorder.parts] == list(range(1, parts + 1))
    assert sorted(d.part for _, d in run.actuator.commands) == list(range(1, parts + 1))
    for sent_ns, decision in run.actuator.commands:
        due = deadline(arrivals_in_order[decision.part - 1][0])
        assert sent_ns <= due.decide_by_ns
        if decision.action is Action.ACCEPT:
            assert decision.verdict is Verdict.PASS
            assert decision.fault is None
            assert sent_ns < due.decide_by_ns
            assert decision.score is not None
            assert decision.score < 0.5
    run.close()
