"""The interlock's table and limits, without any station around them."""

import itertools

import pytest

from control.interlock import TRANSITIONS, Interlock
from edge.core.config import Limit, LimitOptions, RateLimit
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    Outcome,
    PartRecord,
    State,
    Verdict,
)

EXECUTING = State.CONTINUOUS_EXECUTION


def running(**limits):
    events = []
    lock = Interlock(LimitOptions(**limits), lambda *event: events.append(event))
    for step in ("initialize", "prepare", "start"):
        assert lock.step(step)
    events.clear()
    return lock, events


def record(action=Action.ACCEPT, fault=None, *, acked=1, cause=None):
    verdict = None if fault else {Action.ACCEPT: Verdict.PASS}.get(action, Verdict.FAIL)
    cause = cause or (Cause.FAULT if fault else Cause.VERDICT)
    decision = Decision(part=1, action=action, cause=cause, verdict=verdict, fault=fault)
    return PartRecord(1, 1, Deadline(0, 1, 2), decision, command_id=1, acked_ns=acked)


FAULTY = record(Action.REJECT, Fault.DEADLINE)
REJECTED = record(Action.REJECT)
UNACKED = record(acked=0)


def test_every_state_can_be_left_but_halted_and_execution_is_reached_only_from_ready():
    for state in State:
        after = {TRANSITIONS[key] for key in TRANSITIONS if key[0] is state}
        assert bool(after - {state}) is (state is not State.HALTED)
    for (state, step), after in TRANSITIONS.items():
        if after in (EXECUTING, State.SINGLE_EXECUTION) and step != "reset":
            assert state is State.READY
        if state is State.ERROR:
            assert step in ("fail", "recover", "reset", "halt")


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (state, step)
        for state, step in itertools.product(State, ("start", "start_single", "prepare"))
        if (state, step) not in TRANSITIONS
    ],
)
def test_a_step_that_is_not_in_the_table_changes_nothing(state, step):
    lock, events = running()
    lock.state = state
    assert not lock.step(step)
    assert lock.state is state
    assert events == []


def test_parts_are_inspected_only_while_executing():
    lock, _ = running()
    assert lock.bar() is None
    for state in State:
        lock.state = state
        if state not in (EXECUTING, State.SINGLE_EXECUTION):
            assert lock.bar() is Cause.FAULT


@pytest.mark.parametrize(
    ("name", "bad"),
    [("consecutive_faults", FAULTY), ("consecutive_rejects", REJECTED), ("missed_acks", UNACKED)],
)
@pytest.mark.parametrize("effect", ["warn", "hold_line", "error"])
def test_a_limit_in_a_row_has_its_effect_when_it_is_reached_and_not_before(name, bad, effect):
    lock, events = running(**{name: Limit(limit=3, effect=effect)})
    for one in (bad, bad, record(), bad, bad):
        lock.part(one)
    assert lock.state is EXECUTING
    assert [e for e in events if name in e[2]] == []
    lock.part(bad)
    assert any(kind == "limit" and name in detail for kind, _, detail in events)
    expected = {"warn": EXECUTING, "hold_line": State.READY, "error": State.ERROR}[effect]
    assert lock.state is expected
    assert lock.hold_line is (effect != "warn")
    assert lock.bar() is (None if effect == "warn" else Cause.FAULT)
    assert (name in lock.reason) is (effect != "warn")


def test_the_reject_rate_is_judged_over_a_full_window():
    lock, events = running(reject_rate=RateLimit(limit=0.3, parts=10, effect="hold_line"))
    for one in [REJECTED, record(), record()] * 3 + [record()]:
        lock.part(one)
    assert lock.state is EXECUTING
    lock.part(record())
    lock.part(record())
    for _ in range(3):
        assert lock.state is EXECUTING
        lock.part(REJECTED)
    assert lock.state is State.READY
    assert [kind for kind, _, _ in events].count("limit") == 1


def test_unconfirmed_rejects_and_conservation_errors_add_up_until_a_reset():
    lock, _ = running(
        unconfirmed_rejects=Limit(limit=2, effect="hold_line"),
        conservation_errors=Limit(limit=1, effect="error"),
    )
    lost = Outcome(1, "confirm", ok=False)
    lock.outcome(lost)
    lock.part(record())
    lock.outcome(Outcome(2, "confirm", ok=True))
    assert lock.state is EXECUTING
    lock.outcome(lost)
    assert lock.state is State.READY
    assert lock.reset("anna", "") == ""
    assert lock.state is EXECUTING
    lock.outcome(lost)
    assert lock.state is EXECUTING
    lock.conservation("counts differ")
    assert lock.state is State.ERROR


def test_a_reset_is_explicit_and_recorded_with_who():
    lock, events = running(consecutive_faults=Limit(limit=1, effect="error"))
    lock.part(FAULTY)
    for _ in range(50):
        lock.part(record())
    assert lock.state is State.ERROR
    assert lock.resume("anna", "") != ""
    assert lock.hold("anna", "") != ""
    assert lock.reset("anna (1000), pid 7", "lamp replaced") == ""
    assert ("operator", 0, "reset by anna (1000), pid 7: lamp replaced") in events
    assert lock.state is EXECUTING
    assert lock.reason == ""


def test_a_person_holds_and_resumes_and_a_reset_does_not_undo_the_hold():
    lock, _ = running()
    assert lock.hold("anna", "jam") == ""
    assert (lock.bar(), lock.hold_line, lock.state) == (Cause.OPERATOR, True, State.READY)
    lock.reset("ben", "")
    assert lock.bar() is Cause.OPERATOR
    assert lock.resume("anna", "") == ""
    assert (lock.bar(), lock.hold_line, lock.state) == (None, False, EXECUTING)
    assert "nothing is held" in lock.resume("anna", "")


def test_one_part_at_a_time_while_setting_up():
    lock, _ = running()
    lock.hold("anna", "")
    assert lock.resume("anna", "", single=True) == ""
    assert lock.state is State.SINGLE_EXECUTION
    assert lock.bar() is None
    assert lock.bar() is Cause.OPERATOR
    lock.part(record(Action.REJECT, Fault.NOT_ADMITTED, cause=Cause.OPERATOR))
    assert lock.state is State.SINGLE_EXECUTION
    lock.part(record())
    assert lock.state is State.READY
    assert lock.bar() is Cause.OPERATOR


def test_an_engine_that_is_gone_is_an_error_that_ends_with_it():
    lock, _ = running()
    lock.engine("the worker ended")
    assert (lock.state, lock.reason) == (State.ERROR, "engine: the worker ended")
    assert lock.hold_line
    assert lock.bar() is None  # the engine names the fault of each part itself
    lock.engine("cannot be started: no memory")
    lock.engine("")
    assert lock.state is EXECUTING
    assert not lock.hold_line


def test_an_error_of_a_limit_bars_every_part_whatever_the_engine_does():
    lock, _ = running(conservation_errors=Limit(limit=1, effect="error"))
    lock.conservation("counts differ")
    lock.engine("the worker ended")
    assert lock.bar() is Cause.FAULT
    lock.engine("")
    assert lock.bar() is Cause.FAULT
    assert lock.reason == "conservation_errors: 1 reached"


@pytest.mark.parametrize("end", ["engine", "reset"])
def test_one_part_at_a_time_does_not_become_all_of_them(end):
    lock, _ = running(consecutive_faults=Limit(limit=1, effect="error"))
    lock.hold("anna", "")
    lock.resume("anna", "", single=True)
    if end == "engine":
        lock.engine("the worker ended")
        lock.engine("")
    else:
        lock.part(FAULTY)
        lock.reset("anna", "")
    assert lock.state is State.READY
    assert lock.bar() is Cause.OPERATOR


def test_a_reset_while_the_engine_is_away_waits_for_the_engine():
    lock, _ = running(consecutive_faults=Limit(limit=1, effect="error"))
    lock.engine("the worker ended")
    lock.part(FAULTY)
    assert lock.reset("anna", "") == ""
    assert (lock.state, lock.reason) == (State.ERROR, "engine: the worker ended")
    lock.engine("")
    assert lock.state is EXECUTING


def test_an_engine_that_comes_back_does_not_clear_an_error_of_a_limit():
    lock, _ = running(consecutive_faults=Limit(limit=2, effect="error"))
    lock.engine("the worker ended")
    lock.part(FAULTY)
    lock.part(FAULTY)
    lock.engine("")
    assert lock.state is State.ERROR
    assert lock.bar() is Cause.FAULT
    lock.reset("anna", "")
    assert lock.state is EXECUTING
