"""The reference arm's process: what it says of itself, and its part sensor over a real FIFO."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from control.arm_link import identity, serve
from control.conformance.station import PlayedStation
from control.wire import Ack, Confirm, Unexpected
from edge.core.errors import WireError
from edge.core.types import Action

ARMS = Path(__file__).with_name("wrong_arms.py")
PLAIN = {"rest": "reject", "part_sensor": False, "line_stop": False, "simulated": False}


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "sensor"
    os.mkfifo(path)
    return path


def test_an_arm_says_what_it_can():
    hello = identity(**PLAIN)
    assert (hello.role, hello.part_sensor) == ("disposition", False)
    assert hello.capabilities == ("rework", "pose")
    assert identity(**PLAIN, role="pick").role == "pick"


@pytest.mark.parametrize(
    ("sensor", "role", "words"),
    [
        ("none/such", "disposition", "No such file or directory; try mkfifo"),
        ("plain", "disposition", "a plain file; allowed: a FIFO or a device"),
        ("sensor", "pick", "the role pick moves no parts"),
    ],
)
def test_a_sensor_that_cannot_be_one_is_one_line(tmp_path, fifo, sensor, role, words):
    (tmp_path / "plain").touch()
    path = tmp_path / sensor
    with pytest.raises(WireError, match=words):
        serve("tcp://127.0.0.1:1", identity(**PLAIN, role=role), None, print, sensor=path)


def test_every_line_of_the_fifo_is_a_part(tmp_path, fifo):
    station = PlayedStation("tcp://127.0.0.1:*", print)
    arm = subprocess.Popen([sys.executable, str(ARMS), "right", station.address, str(fifo)])
    try:
        station.begin(lost_ms=5000)
        assert station.hello.part_sensor
        assert station.hello.capabilities == ("rework", "pose", "done", "confirm", "state")
        station.expect(1, ttl_ms=20_000)
        station.expect(2, ttl_ms=20_000)
        station.command(2, ttl_ms=20_000)
        station.wait(lambda: station.finals(2), 5000)
        fifo.write_text("\n\n\n")
        station.wait(lambda: station.of(Unexpected), 5000)
        left = [(confirm.part, confirm.left_as) for confirm in station.of(Confirm)]
        assert left == [(1, Action.REJECT), (2, Action.ACCEPT)]
        assert [report.own_part_count for report in station.of(Unexpected)] == [3]
        assert {ack.own_part_count for ack in station.of(Ack)} == {0, 1, 2}
    finally:
        station.close()
        arm.terminate()
        assert arm.wait(10) == 0


def test_the_socket_is_secured_before_it_connects():
    seen = []

    def secure(socket):
        seen.append(socket.LAST_ENDPOINT)

    with pytest.raises(WireError, match="--connect nonsense"):
        serve("nonsense", identity(**PLAIN), None, print, secure=secure)
    assert len(seen) == 1


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(WireError, match=f"--log {tmp_path}: Is a directory"):
        serve("tcp://127.0.0.1:1", identity(**PLAIN), tmp_path, print)
