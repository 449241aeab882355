"""Three independent counts, and each of them broken in turn."""

import pytest

from edge.core.ledger import Ledger
from edge.core.types import Ack, Action, Cause, Decision, Fault

ARM = "arm"


def decision(part, action=Action.ACCEPT, fault=None):
    cause = Cause.VERDICT if fault is None else Cause.FAULT
    return Decision(part=part, action=action, cause=cause, fault=fault)


def ack(part, action, **counts):
    return Ack(part, "applied", action, 0, {Action(k): v for k, v in counts.items()}, ARM)


def opened(*parts):
    """A ledger with these parts triggered and armed at the controller."""
    ledger = Ledger()
    for part in parts:
        ledger.trigger(part)
        ledger.expect(ARM)
    return ledger


@pytest.fixture
def ledger():
    """Two parts through: an ACCEPT and a default."""
    ledger = Ledger()
    assert not ledger.trigger(1)
    ledger.expect(ARM)
    assert not ledger.decide(decision(1))
    assert not ledger.ack(ack(1, Action.ACCEPT, accept=1), decision(1), Action.REJECT)
    assert not ledger.trigger(2)
    ledger.expect(ARM)
    assert not ledger.decide(decision(2, Action.REJECT, Fault.DEADLINE))
    late = decision(2, Action.REJECT, Fault.DEADLINE)
    assert not ledger.ack(ack(2, Action.REJECT, accept=1, reject=1), late, Action.REJECT)
    return ledger


def test_a_balanced_run_has_no_errors(ledger):
    assert ledger.close(2, ARM, {Action.ACCEPT: 1, Action.REJECT: 1}) == ""
    assert ledger.decisions == {"accept": 1, "default": 1}
    assert (ledger.open, ledger.errors) == (0, 0)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda book: book.trigger(4), "source counts"),
        (lambda book: book.trigger(2), "source counts"),
        (lambda book: book.decide(decision(3)), "decisions for"),
        (lambda book: book.beat(ARM, {Action.ACCEPT: 1}), "applied 1 fewer"),
        (lambda book: book.beat(ARM, {Action.ACCEPT: 1, Action.REJECT: 2}), "applied 1 more"),
        (lambda book: book.beat(ARM, {Action.ACCEPT: 2}), "accepted 1 never"),
        (lambda book: book.beat(ARM, {Action.REJECT: 2}), "accept fewer"),
        (lambda book: book.close(3, ARM, None), "source counted 3"),
        (lambda book: book.close(1, ARM, None), "source counted 1"),
        (lambda book: book.close(2, ARM, {Action.ACCEPT: 1}), "applied 1 fewer"),
    ],
)
def test_each_side_broken_in_turn_is_named_and_counted(ledger, broken, words):
    assert words in broken(ledger)
    assert ledger.errors == 1


def test_an_accept_that_was_never_commanded_is_an_error_even_unacked():
    ledger = opened(1, 2)
    ledger.decide(decision(1, Action.REJECT))
    assert "accepted 1 never" in ledger.beat(ARM, {Action.ACCEPT: 1})


def test_a_part_left_open_is_an_error_at_the_end(ledger):
    ledger.trigger(3)
    assert "still open" in ledger.close(3, ARM, None)


def test_a_lost_ack_leaves_room_for_doubt_but_not_for_more():
    ledger = opened(1)
    ledger.decide(decision(1))
    ledger.lose()
    assert ledger.beat(ARM, {}) == ""
    assert ledger.beat(ARM, {Action.ACCEPT: 1}) == ""
    assert ledger.beat(ARM, {Action.ACCEPT: 2})


@pytest.mark.parametrize("commanded", [None, decision(3, Action.REJECT), decision(3, Action.HOLD)])
def test_an_accept_that_was_not_commanded_for_this_part_is_an_error(ledger, commanded):
    ledger.trigger(3)
    ledger.expect(ARM)
    if commanded:
        ledger.decide(commanded)
    swapped = ack(3, Action.ACCEPT, accept=2, reject=1)
    assert "part 3: accept applied" in ledger.ack(swapped, commanded, Action.REJECT)


def test_the_default_in_place_of_a_command_is_no_error(ledger):
    ledger.trigger(3)
    ledger.expect(ARM)
    ledger.decide(decision(3))
    late = ack(3, Action.REJECT, accept=1, reject=2)
    assert ledger.ack(late, decision(3), Action.REJECT) == ""


def test_a_standing_disagreement_is_counted_once(ledger):
    restarted = {Action.ACCEPT: 1}
    assert ledger.beat(ARM, restarted)
    assert ledger.beat(ARM, restarted) == ""
    assert ledger.errors == 1


def test_a_lost_ack_bounds_the_final_count_and_does_not_lift_it():
    ledger = opened(1)
    ledger.decide(decision(1))
    ledger.lose()
    assert "applied 98 more" in ledger.close(1, ARM, {Action.ACCEPT: 99})


def test_a_controller_that_starts_anew_counts_from_zero_and_so_do_we(ledger):
    ledger.trigger(3)
    ledger.expect(ARM)
    ledger.decide(decision(3))
    ledger.lose()  # it went down with this part
    ledger.trigger(4)
    ledger.expect("arm again")
    assert ledger.beat("arm again", {}) == ""
    ledger.decide(decision(4))
    answer = Ack(4, "applied", Action.ACCEPT, 0, {Action.ACCEPT: 1}, "arm again")
    assert ledger.ack(answer, decision(4), Action.REJECT) == ""
    assert "applied 1 more" in ledger.beat("arm again", {Action.ACCEPT: 2})


def test_one_that_was_only_away_goes_on_counting_where_it_was(ledger):
    ledger.trigger(3)
    ledger.expect("other")
    ledger.decide(decision(3, Action.REJECT))
    ledger.lose()
    ledger.trigger(4)
    ledger.expect(ARM)
    ledger.decide(decision(4))
    back = ack(4, Action.ACCEPT, accept=2, reject=1)
    assert ledger.ack(back, decision(4), Action.REJECT) == ""
    assert ledger.close(4, ARM, {Action.ACCEPT: 2, Action.REJECT: 1}) == ""


def test_a_refused_part_is_counted_by_nobody(ledger):
    ledger.trigger(3)
    ledger.expect(ARM)
    ledger.decide(decision(3))
    refused = Ack(3, "refused", Action.REJECT, 0, {Action.ACCEPT: 1, Action.REJECT: 1}, ARM)
    assert ledger.ack(refused, decision(3), Action.REJECT) == ""
    assert ledger.close(3, ARM, {Action.ACCEPT: 1, Action.REJECT: 1}) == ""
    assert "applied 1 more" in ledger.beat(ARM, {Action.ACCEPT: 1, Action.REJECT: 2})
