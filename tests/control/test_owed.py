"""What is sent again, and for how long."""

from control.owed import Unacked, Unconfirmed
from edge.core.types import Action


def sent(unacked, now):
    return list(unacked.again(now))


def test_an_expect_is_sent_again_until_armed_and_a_command_until_acked():
    unacked = Unacked(10)
    unacked.expect(1, b"expect", 0, 100)
    assert sent(unacked, 9) == []
    assert sent(unacked, 10) == [b"expect"]
    unacked.armed(1)
    assert unacked.due_ns() is None
    assert sent(unacked, 30) == []
    unacked.command(1, b"command", 30)
    assert unacked.due_ns() == 40
    assert sent(unacked, 40) == [b"command"]
    assert unacked.settle(1)
    assert not unacked.settle(1)
    assert sent(unacked, 60) == []


def test_an_expect_that_was_lost_is_sent_again_before_its_command():
    unacked = Unacked(10)
    unacked.expect(1, b"expect", 0, 100)
    unacked.command(1, b"command", 5)
    assert sent(unacked, 15) == [b"expect", b"command"]


def test_a_part_past_its_time_is_given_up():
    unacked = Unacked(10)
    unacked.expect(1, b"expect", 0, 100)
    unacked.command(1, b"command", 5)
    assert sent(unacked, 100) == []
    assert unacked.due_ns() is None
    assert not unacked.settle(1)


def test_a_part_is_confirmed_or_overdue_in_order():
    waiting = Unconfirmed(50)
    waiting.await_one(1, Action.REJECT, 0)
    waiting.await_one(2, Action.ACCEPT, 10)
    assert waiting.due_ns() == 50
    assert waiting.overdue(49) is None
    assert waiting.settle(2) is Action.ACCEPT
    assert waiting.overdue(50) == (1, Action.REJECT)
    assert waiting.overdue(99) is None
    assert waiting.settle(1) is None
