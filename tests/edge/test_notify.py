"""sd_notify against a real datagram socket: fed by progress alone, never waiting, never raising."""

from __future__ import annotations

import os
import socket
import time

import pytest

from edge.core.clock import NS_PER_S
from edge.notify import Notify

PERIOD_NS = NS_PER_S // 2  # a quarter of the two seconds below


class Systemd:
    """The receiving end: a bound datagram socket and what has arrived on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["file", "abstract"])
def systemd(request, tmp_path):
    abstract = f"@edge-test-notify-{os.getpid()}"
    end = Systemd(str(tmp_path / "n") if request.param == "file" else abstract)
    yield end
    end.socket.close()


@pytest.fixture
def environment(monkeypatch):
    def put(**variables: str) -> Notify:
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        notify = Notify.from_environment()
        made.append(notify)
        return notify

    made: list[Notify] = []
    yield put
    for notify in made:
        notify.close()


def test_ready_status_and_stopping(systemd, environment):
    notify = environment(NOTIFY_SOCKET=systemd.address)
    notify.ready("20 parts a second")
    notify.status("held\nREADY=0 by \udcff")
    notify.status("x" * 10_000)
    notify.stopping()
    ready, held, long, stopping = systemd.heard()
    assert ready == "READY=1\nSTATUS=20 parts a second"
    assert held == "STATUS=held READY=0 by ?"
    assert len(long) < 4096
    assert stopping == "STOPPING=1"
    assert notify.lost == 0


def test_the_watchdog_is_fed_by_progress_and_by_nothing_else(systemd, environment):
    notify = environment(
        NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(os.getpid())
    )
    assert notify.watched
    start_ns = 10 * NS_PER_S
    for turn in range(1000):  # a turn every 2 ms: two seconds
        notify.progress(start_ns + turn * 2_000_000)
    assert systemd.heard() == ["WATCHDOG=1"] * 4
    time.sleep(0.02)
    assert systemd.heard() == []


def test_feeding_stops_within_one_period_when_the_loop_does():
    """Real time: the last feed a stalled loop can have sent is the one of its last turn."""
    ours, theirs = f"@edge-test-stall-{os.getpid()}", 20_000
    end, notify = Systemd(ours), Notify(ours, watchdog_us=theirs)
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        notify.progress(time.monotonic_ns())
    assert len(end.heard()) >= 2
    time.sleep(2 * theirs / 1e6)
    assert end.heard() == []
    notify.close()
    end.socket.close()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "2000000"},  # nowhere to say it
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "-5"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "9" * 5000},
    ],
)
def test_no_watchdog_no_feeding(variables, environment):
    notify = environment(**variables)
    assert not notify.watched
    notify.progress(NS_PER_S)
    assert notify.lost == 0


def test_without_systemd_nothing_is_said_or_counted(environment):
    notify = environment()
    notify.ready("")
    notify.status("")
    notify.stopping()
    notify.progress(1)
    assert notify.lost == 0


def test_a_full_buffer_never_makes_the_loop_wait(systemd, environment):
    notify = environment(NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="4")
    begin = time.monotonic()
    for now_ns in range(0, 5_000_000, 1000):
        notify.progress(now_ns)
    assert time.monotonic() - begin < 2.0
    assert notify.lost > 0
    assert len(systemd.heard()) + notify.lost == 5000
    notify.progress(5_000_000)
    assert systemd.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize("address", ["/nowhere/n", "@" + "x" * 500, "@gone", "vsock:1:2", "/a\0b"])
def test_nobody_there_is_counted_and_never_raised(address):
    notify = Notify(address, watchdog_us=4)
    notify.ready("")
    notify.progress(1)
    assert notify.lost == 2
    notify.close()
    notify.stopping()
    assert notify.lost == 2
