"""Three independent counts, and each of them broken in turn."""

import pytest

from edge.core.ledger import Ledger
from edge.core.types import Ack, Action, Cause, Decision, Fault


def decision(part, action=Action.ACCEPT, fault=None):
    cause = Cause.VERDICT if fault is None else Cause.FAULT
    return Decision(part=part, action=action, cause=cause, fault=fault)


def ack(part, action, **counts):
    return Ack(part, "applied", action, 0, {Action(k): v for k, v in counts.items()})


@pytest.fixture
def ledger():
    """Two parts through: an ACCEPT and a default."""
    ledger = Ledger()
    assert not ledger.trigger(1)
    assert not ledger.decide(decision(1))
    assert not ledger.ack(ack(1, Action.ACCEPT, accept=1), decision(1), Action.REJECT)
    assert not ledger.trigger(2)
    assert not ledger.decide(decision(2, Action.REJECT, Fault.DEADLINE))
    late = decision(2, Action.REJECT, Fault.DEADLINE)
    assert not ledger.ack(ack(2, Action.REJECT, accept=1, reject=1), late, Action.REJECT)
    return ledger


def test_a_balanced_run_has_no_errors(ledger):
    assert ledger.close(2, {Action.ACCEPT: 1, Action.REJECT: 1}) == ""
    assert ledger.decisions == {"accept": 1, "default": 1}
    assert (ledger.open, ledger.errors) == (0, 0)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda book: book.trigger(4), "source counts"),
        (lambda book: book.trigger(2), "source counts"),
        (lambda book: book.decide(decision(3)), "decisions for"),
        (lambda book: book.beat({Action.ACCEPT: 1}), "applied 1"),
        (lambda book: book.beat({Action.ACCEPT: 1, Action.REJECT: 2}), "applied 3"),
        (lambda book: book.beat({Action.ACCEPT: 2}), "accepted 2"),
        (lambda book: book.beat({Action.REJECT: 2}), "acked more"),
        (lambda book: book.close(3, None), "source counted 3"),
        (lambda book: book.close(1, None), "source counted 1"),
        (lambda book: book.close(2, {Action.ACCEPT: 1}), "controller applied 1"),
    ],
)
def test_each_side_broken_in_turn_is_named_and_counted(ledger, broken, words):
    assert words in broken(ledger)
    assert ledger.errors == 1


def test_an_accept_that_was_never_commanded_is_an_error_even_unacked():
    ledger = Ledger()
    ledger.trigger(1)
    ledger.trigger(2)
    ledger.decide(decision(1, Action.REJECT))
    assert "accepted 1" in ledger.beat({Action.ACCEPT: 1})


def test_a_part_left_open_is_an_error_at_the_end(ledger):
    ledger.trigger(3)
    assert "still open" in ledger.close(3, None)


def test_a_lost_ack_leaves_room_for_doubt_but_not_for_more():
    ledger = Ledger()
    ledger.trigger(1)
    ledger.decide(decision(1))
    ledger.lose()
    assert ledger.beat({}) == ""
    assert ledger.beat({Action.ACCEPT: 1}) == ""
    assert ledger.beat({Action.ACCEPT: 2})


@pytest.mark.parametrize("commanded", [None, decision(3, Action.REJECT), decision(3, Action.HOLD)])
def test_an_accept_that_was_not_commanded_for_this_part_is_an_error(ledger, commanded):
    ledger.trigger(3)
    if commanded:
        ledger.decide(commanded)
    swapped = ack(3, Action.ACCEPT, accept=2, reject=1)
    assert "part 3: accept applied" in ledger.ack(swapped, commanded, Action.REJECT)


def test_the_default_in_place_of_a_command_is_no_error(ledger):
    ledger.trigger(3)
    ledger.decide(decision(3))
    late = ack(3, Action.REJECT, accept=1, reject=2)
    assert ledger.ack(late, decision(3), Action.REJECT) == ""


def test_a_standing_disagreement_is_counted_once(ledger):
    restarted = {Action.ACCEPT: 1}
    assert ledger.beat(restarted)
    assert ledger.beat(restarted) == ""
    assert ledger.errors == 1


def test_a_lost_ack_bounds_the_final_count_and_does_not_lift_it():
    ledger = Ledger()
    ledger.trigger(1)
    ledger.decide(decision(1))
    ledger.lose()
    assert "applied 99" in ledger.close(1, {Action.ACCEPT: 99})
