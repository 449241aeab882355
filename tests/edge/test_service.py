"""`edge run` as a daemon: real processes, systemd's datagrams, `edge ctl`, what is published."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq

from edge.core.process import python_module
from edge.desk import ask, socket_path


class Line:
    """A station on synthetic parts and the arm beside it.

    extra: lines of its file; patient: a machine with other work makes no part late, no worker dead.
    """

    def __init__(
        self, folder: Path, *, arm: tuple[str, ...] = (), extra: str = "", patient: bool = False
    ) -> None:
        self.folder, self.name = folder, f"test-{os.getpid()}-{time.monotonic_ns()}"
        self.bind = f"ipc://{folder}/station.ipc"
        self.file = folder / "cell.toml"
        rate_hz, hang_ms = (2, 5000) if patient else (20, 150)
        if patient:
            extra += "budget_ms = 3000"
        self.file.write_text(
            f'name = "{self.name}"\n{extra}\n'
            f'[camera]\nsource = "synthetic"\nrate_hz = {rate_hz}\ndefect_share = 0.0\n'
            f'[engine]\nmodel = "synthetic-part"\nhang_ms = {hang_ms}\n'
            f'[controller]\nbind = "{self.bind}"\n'
            f'[publish]\nbind = "ipc://{folder}/published.ipc"\n'
        )
        self.log = folder / "arm.jsonl"
        self.log.touch()
        command = python_module("edge", "arm", "--connect", self.bind, "--log", str(self.log))
        self.arm = subprocess.Popen([*command, *arm], stdout=subprocess.DEVNULL)
        self.station = None

    def run(self, **environment: str) -> subprocess.Popen[str]:
        self.station = subprocess.Popen(
            python_module("edge", "run", str(self.file)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        return self.station

    def end(self) -> None:
        for process in (self.station, self.arm):
            if process and process.poll() is None:
                process.kill()
            if process:
                process.communicate()

    def ask(self, verb: str, reason: str = "") -> dict:
        return ask(socket_path(self.name), verb, reason)

    def entries(self, event: str) -> list[dict]:
        lines = [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines()]
        return [line for line in lines if line["event"] == event]

    def accepted(self) -> int:
        return sum(entry["action"] == "accept" for entry in self.entries("applied"))


def until(holds, within_s=15.0):
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


@pytest.fixture
def line(tmp_path):
    made = []

    def make(**given) -> Line:
        made.append(Line(tmp_path, **given))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_ctl_holds_resumes_and_resets_and_sigterm_ends_with_a_bye(line):
    cell = line()
    station = cell.run()
    until(lambda: cell.accepted() >= 5)
    status = cell.ask("status")
    assert (status["ok"], status["state"], status["hold_line"]) == (
        True,
        "continuous_execution",
        False,
    )
    assert cell.ask("hold", "jam")["state"] == "ready"
    until(lambda: cell.entries("line_hold"))
    accepted = cell.accepted()
    until(lambda: cell.ask("status")["decisions"].get("default", 0) >= 3)
    assert cell.accepted() <= accepted + 1
    refused = cell.ask("reset")
    assert refused["state"] == "ready"
    assert cell.ask("resume")["state"] == "continuous_execution"
    until(lambda: cell.accepted() > accepted + 3)
    assert cell.ask("resume") == {
        "ok": False,
        "error": "resume: the station is in continuous_execution; nothing is held",
    }
    station.send_signal(signal.SIGTERM)
    words, trouble = station.communicate(timeout=10)
    assert station.returncode == 0, trouble
    assert "0 conservation errors" in words
    assert not socket_path(cell.name).exists()
    events = [json.loads(entry) for entry in trouble.splitlines()]
    operators = [e["detail"] for e in events if e["event"] == "operator"]
    assert [word.split()[0] for word in operators] == ["hold", "reset", "resume"]
    assert f"({os.getuid()})" in operators[0]
    parts = int(words.split()[0])
    assert len(cell.entries("applied")) == parts


class Listener:
    """Who takes what a station publishes."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket

    def until(self, topic: str, holds) -> dict:
        """The next message of a topic of which something holds; others go by."""
        end = time.monotonic() + 60.0
        while self._socket.poll(max(0, 1000 * (end - time.monotonic()))):
            heard, body = self._socket.recv_multipart()
            if heard == topic.encode() and holds(message := msgspec.json.decode(body)):
                return message
        raise AssertionError(f"no such {topic} was published")


def test_verdicts_events_and_statistics_are_published(line):
    cell = line(patient=True)
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.connect(f"ipc://{cell.folder}/published.ipc")
        socket.subscribe(b"")
        cell.run()
        listener = Listener(socket)
        # Parts without a verdict are published too, and what comes before the first part.
        judged = listener.until("verdict", lambda it: it["verdict"] == "pass" and not it["overrun"])
        counted = listener.until(
            "statistics",
            lambda it: it["actions"].get("accept") and it["state"] == "continuous_execution",
        )
        until(lambda: cell.ask("hold", "jam")["ok"])
        told = listener.until("event", lambda it: it["event"] == "operator")
        held = listener.until("statistics", lambda it: it["state"] == "ready")
    assert {one["station"] for one in (judged, counted, told, held)} == {cell.name}
    assert judged["applied"] == judged["action"] == "accept"
    assert told["detail"].startswith("hold by ")
    assert 0 < judged["seq"] < counted["seq"] < told["seq"] < held["seq"]


@contextmanager
def systemd(folder: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(folder / "notify"))
        heard.settimeout(10.0)
        yield heard


def test_systemd_hears_ready_and_a_watchdog_that_stops_with_the_loop(line, tmp_path):
    cell = line()
    with systemd(tmp_path) as heard:
        station = cell.run(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="800000")
        assert heard.recv(999).startswith(b"READY=1\nSTATUS=continuous_execution")
        for _ in range(3):
            assert heard.recv(999) == b"WATCHDOG=1"
        station.send_signal(signal.SIGSTOP)  # no thread of it gets on, and none may pretend to
        heard.setblocking(False)
        time.sleep(0.1)
        while True:
            try:
                heard.recv(999)
            except BlockingIOError:
                break
        time.sleep(0.8)
        with pytest.raises(BlockingIOError):
            heard.recv(999)
        station.send_signal(signal.SIGCONT)
        station.send_signal(signal.SIGTERM)
        heard.settimeout(10.0)
        while heard.recv(999) != b"STOPPING=1":
            pass
        assert station.wait(10) == 0


def test_a_station_of_the_same_name_is_refused(line):
    cell = line()
    cell.run()
    until(lambda: cell.accepted() >= 1)
    again = subprocess.run(
        python_module("edge", "run", str(cell.file)), capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert len(again.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("rest", [("--rest", "reject"), ("--rest", "pass", "--line-stop")])
def test_after_kill_9_of_the_station_nothing_is_accepted_until_a_new_session(line, tmp_path, rest):
    sensor = tmp_path / "sensor"
    os.mkfifo(sensor)
    cell = line(arm=(*rest, "--sensor", str(sensor)))
    station = cell.run()
    until(lambda: cell.accepted() >= 5)
    station.kill()
    station.communicate()
    until(lambda: cell.entries("lost_beat"))
    assert bool(cell.entries("line_stop")) is ("--line-stop" in rest)
    accepted, done = cell.accepted(), {e["part"] for e in cell.entries("applied")}
    with sensor.open("w") as parts:  # more parts come by than were ever expected
        parts.write("\n" * (len(done) + 5))
    until(lambda: len(cell.entries("unexpected")) >= 5)
    assert cell.accepted() == accepted
    cell.run()
    until(lambda: cell.accepted() > accepted)
    assert len(cell.entries("session")) == 2


def test_an_engine_that_cannot_start_again_is_an_error_with_its_reason(line, tmp_path):
    model = tmp_path / "part.onnx"
    model.write_bytes((Path("models/zoo/synthetic-part.onnx")).read_bytes())
    cell = line(extra="")
    cell.file.write_text(cell.file.read_text().replace('"synthetic-part"', f'"{model}"'))
    station = cell.run()
    until(lambda: cell.accepted() >= 3)
    model.rename(tmp_path / "gone.onnx")
    for pid in children(station.pid):
        os.kill(pid, signal.SIGKILL)
    status = until(lambda: (s := cell.ask("status"))["state"] == "error" and s)
    assert status["reason"].startswith("engine: ")
    assert status["hold_line"]
    until(lambda: cell.ask("status")["workers_replaced"] >= 2)
    defaults = cell.ask("status")["decisions"].get("default", 0)
    until(lambda: cell.ask("status")["decisions"].get("default", 0) >= defaults + 3)
    (tmp_path / "gone.onnx").rename(model)
    until(lambda: cell.ask("status")["state"] == "continuous_execution", 20)
    accepted = cell.accepted()
    until(lambda: cell.accepted() > accepted)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in found for child in task.read_text().split()]


def test_children_are_the_workers_alone(line):
    cell = line()
    station = cell.run()
    until(lambda: cell.accepted() >= 1)
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(station.pid)]
    assert len(commands) == 2
    assert all(b"models.worker" in command for command in commands)
    assert sys.executable.encode() in commands[0]
