"""Clocks: the real one waits and wakes, the virtual one moves only when nothing is outstanding."""

import os
import time

import pytest

from edge.core.clock import NS_PER_MS, SystemClock, VirtualClock


@pytest.fixture
def readable():
    fd = os.eventfd(1)
    yield fd
    os.close(fd)


@pytest.fixture
def silent():
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


def test_the_real_clock_wakes_at_the_instant_or_for_an_fd(readable, silent):
    clock = SystemClock()
    until = clock.now_ns() + 5 * NS_PER_MS
    assert clock.wait((silent,), until) == []
    assert clock.now_ns() >= until
    assert clock.wait((silent, readable), None) == [readable]


def test_an_idle_virtual_clock_jumps_at_once(silent):
    clock = VirtualClock(start_ns=7)
    assert clock.wait((silent,), 3_600_000_000_000, busy=False) == []
    assert clock.now_ns() == 3_600_000_000_000


def test_a_busy_virtual_clock_stands_still_while_an_fd_speaks(readable):
    clock = VirtualClock(start_ns=7)
    assert clock.wait((readable,), 50, busy=True) == [readable]
    assert clock.now_ns() == 7


def test_the_watchdog_ends_a_wait_for_work_that_never_comes(silent):
    clock = VirtualClock(watchdog_ns=10 * NS_PER_MS, start_ns=1)
    before = SystemClock().now_ns()
    assert clock.wait((silent,), 45, busy=True) == []
    assert clock.now_ns() == 45
    assert SystemClock().now_ns() - before >= 10 * NS_PER_MS


def test_virtual_time_never_goes_back(silent):
    clock = VirtualClock(start_ns=100)
    clock.wait((silent,), 50, busy=False)
    assert clock.now_ns() == 100


def test_an_instant_that_has_come_is_not_waited_for_even_with_work_outstanding():
    clock = VirtualClock(watchdog_ns=60_000_000_000)
    started = time.monotonic()
    assert clock.wait((), clock.now_ns(), busy=True) == []
    assert time.monotonic() - started < 5
