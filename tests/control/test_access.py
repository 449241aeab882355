"""A whole secured conversation: station, keys in files, and controllers as processes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from control import access, keys
from control.actuator import RouterActuator
from control.publish import Publisher
from edge.core.clock import NS_PER_MS, SystemClock
from edge.core.config import Allowed, ControllerOptions, PublishOptions
from edge.core.errors import ConfigError, WireError

CLOCK = SystemClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("station", "arm", "lamp", "stranger"):
        keys.make(tmp_path, name)
    return tmp_path


def options(**changes) -> ControllerOptions:
    allow = (Allowed(key="arm.pub"), Allowed(key="lamp.pub", role="lamp"))
    given = {"bind": "tcp://127.0.0.1:*", "key": "station.key", "allow": allow, "wait_s": 1.5}
    return ControllerOptions(**(given | changes))


class Station:
    def __init__(self, folder: Path) -> None:
        self.events: list[str] = []

        def event(kind: str, part: int, detail: str) -> None:
            self.events.append(f"{kind}: {detail}")

        gate_for = access.controller_gate(options(), folder, event)
        self.actuator = RouterActuator(
            options(), CLOCK, ticking=False, event=event, gate_for=gate_for
        )
        self.address = self.actuator._socket.last_endpoint.decode()


@contextmanager
def arm(station: Station, *arguments: str):
    command = [sys.executable, "-P", "-m", "edge", "arm", "--connect", station.address]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(5)


@pytest.fixture
def station(folder):
    station = Station(folder)
    yield station
    station.actuator.close()


def with_keys(folder: Path, own: str, server: str = "station") -> tuple[str, ...]:
    return ("--key", str(folder / f"{own}.key"), "--server-key", str(folder / f"{server}.pub"))


def test_a_controller_with_its_key_is_welcomed(station, folder):
    with arm(station, *with_keys(folder, "arm")):
        station.actuator._options = options(wait_s=10.0)
        station.actuator.wait_for_controller()
        assert station.actuator.controller


@pytest.mark.parametrize(
    ("own", "server", "kind"),
    [("stranger", "station", "zap"), ("arm", "stranger", "handshake"), ("", "", "handshake")],
)
def test_a_wrong_key_a_wrong_station_and_no_key_are_refused_and_counted(
    station, folder, own, server, kind
):
    with arm(station, *(with_keys(folder, own, server) if own else ())):
        with pytest.raises(WireError, match="no controller connected"):
            station.actuator.wait_for_controller()
        until = CLOCK.now_ns() + 5000 * NS_PER_MS
        while not station.actuator.refused[kind] and CLOCK.now_ns() < until:
            station.actuator.poll(CLOCK.now_ns())
            CLOCK.wait((), CLOCK.now_ns() + 20 * NS_PER_MS)
    assert station.actuator.refused[kind] >= 1
    assert any("peer_refused" in event and kind in event for event in station.events)


def test_a_key_takes_its_own_role_and_no_other(station, folder):
    with arm(station, *with_keys(folder, "lamp")), pytest.raises(WireError):
        station.actuator.wait_for_controller()
    assert "controller_refused: this key may not take the role disposition" in station.events


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bind": "tcp://0.0.0.0:5590", "key": "", "allow": ()}, "others can reach it"),
        ({"bind": "tcp://*:5590", "key": "", "allow": ()}, "controller.key and"),
        ({"allow": ()}, "controller.allow: empty"),
        ({"key": ""}, "controller.allow: needs controller.key"),
        ({"key": "none.key"}, "none.key: cannot be read"),
        ({"allow": (Allowed(key="nobody.pub"),)}, "nobody.pub"),
    ],
)
def test_keys_that_are_missing_are_one_line_at_the_start(folder, changes, words):
    with pytest.raises(ConfigError, match=words):
        access.controller_gate(options(**changes), folder, lambda *event: None)


def test_a_secret_key_that_others_can_read_is_refused(folder):
    (folder / "station.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        access.controller_gate(options(), folder, lambda *event: None)


def test_what_is_published_beyond_this_machine_needs_keys_too(folder):
    openly = PublishOptions(bind="tcp://0.0.0.0:5591")
    plain = ControllerOptions()
    with pytest.raises(ConfigError, match=r"publish\.bind = tcp://0\.0\.0\.0:5591: others"):
        access.publish_gate(openly, plain, folder, lambda *event: None)
    local = PublishOptions(bind="tcp://127.0.0.1:5591")
    assert access.publish_gate(local, plain, folder, lambda *event: None) is None
    assert access.publish_gate(openly, options(), folder, lambda *event: None) is not None


def test_text_that_cannot_be_told_is_a_gap_and_no_trouble(tmp_path):
    publisher = Publisher(f"ipc://{tmp_path}/published.ipc")
    publisher.send("event", {"detail": "\udcff"})
    publisher.close()
