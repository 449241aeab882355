"""Whole stations: real loop, real worker processes, real sockets, the arm as its own process."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edge import app
from edge.children import arm_process
from edge.core.clock import NS_PER_MS, SystemClock, VirtualClock
from edge.core.config import ControllerOptions, EngineOptions, FootageOptions, Station
from edge.core.types import Action, Fault
from edge.loop import inspect
from edge.playback import Asked, replay
from edge.replay import Journal, Report
from models import package
from sensors.footage import open_footage

GRAY = {"good": 51, "defect": 204}


@pytest.fixture
def footage(tmp_path: Path):
    """Parts of one picture and one force window; good is dark, defect is bright."""

    def write(labels: list[str], forces: dict[int, float] | None = None) -> Path:
        folder = tmp_path / "footage"
        folder.mkdir()
        with (folder / "footage.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["seq", "timestamp_ns", "path", "samples_path", "label"])
            for n, label in enumerate(labels):
                picture = np.full((16, 16), GRAY[label], np.uint8)
                cv2.imwrite(str(folder / f"{n}.png"), picture)
                force = np.full((12, 6), (forces or {}).get(n + 1, 0.0), np.float32)
                np.save(folder / f"{n}.npy", force)
                rows.writerow([n, n * 50_000_000, f"{n}.png", f"{n}.npy", label])
        return folder / "footage.csv"

    return write


class Saboteur(Journal):
    """A journal that does something to the station when a given part is finished."""

    def __init__(self, at: int, deed) -> None:
        super().__init__()
        self._at, self._deed = at, deed

    def part(self, record) -> None:
        super().part(record)
        if record.part == self._at:
            self._deed(self)


class Run:
    """A replay composed by hand, so that a test can reach into it."""

    def __init__(self, path: Path, model: Path, folder: Path, *, at=0, deed=None, clock=None):
        lockstep = isinstance(clock, VirtualClock)
        self.log = folder / "arm.jsonl"
        self.log.touch()
        station = Station(
            camera=FootageOptions(path=str(path)),
            engine=EngineOptions(model=str(model), threads=1),
            controller=ControllerOptions(bind=f"ipc://{folder}/s.ipc"),
        )
        loaded = package.load(model)
        rows = open_footage(path, views=loaded.manifest.views)
        clock = clock or SystemClock()
        self.journal = Saboteur(at, lambda journal: deed(self))
        with ExitStack() as stack:

            def start_arm():
                arm = arm_process(station.controller.bind, self.log, simulated=lockstep)
                self.arm = stack.enter_context(arm)

            self.rig = stack.enter_context(
                app.rigged(
                    station,
                    loaded,
                    self.journal,
                    clock,
                    app.scheduled(rows, clock, lockstep=lockstep),
                    lockstep=lockstep,
                    before_waiting=start_arm,
                )
            )
            self.balance = inspect(self.rig.inspection, lambda: False)

    @property
    def decisions(self):
        return [record.decision for record in self.journal.records]

    @property
    def applied(self):
        entries = [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines()]
        return [e for e in entries if e["event"] == "applied"]

    def assert_sound(self, parts: int) -> None:
        """What holds whatever happens."""
        assert self.balance.triggers == self.balance.decided == parts
        assert [record.part for record in self.journal.records] == list(range(1, parts + 1))
        done = [entry["part"] for entry in self.applied]
        assert len(done) == len(set(done))
        for entry in self.applied:
            if entry["action"] == Action.ACCEPT:
                assert entry["applied_ns"] <= entry["act_by_ns"]
                assert self.decisions[entry["part"] - 1].fault is None
        for decision in self.decisions:
            assert decision.fault is None or decision.action is Action.REJECT


def replayed(path: Path, package: Path, **asked) -> Report:
    return replay(Asked(footage=path, model=str(package), threads=1, **asked)).report


def test_a_part_of_a_picture_and_a_force_window_gets_one_verdict(footage, tiny_package):
    result = replayed(footage(["good", "defect"] * 10), tiny_package)
    assert (result.parts, result.commands, result.acks, result.scored) == (20, 20, 20, 20)
    assert (result.caught, result.escapes, result.overkill) == (10, 0, 0)
    assert result.auroc == 1.0
    assert result.conservation_errors == 0
    assert result.latency_ms is None


def test_nan_in_the_force_window_never_accepts(footage, tiny_package):
    path = footage(["good"] * 8, {3: float("nan"), 5: 1e38})
    result = replayed(path, tiny_package)
    assert result.faults == {"bad_frame": 1, "bad_output": 1}
    assert (result.defaulted_good, result.scored, result.commands) == (2, 6, 8)
    assert result.conservation_errors == 0


def test_two_replays_decide_the_same_to_the_bit(footage, tiny_package):
    path = footage(["good", "defect", "good"] * 5)
    first, second = (replayed(path, tiny_package) for _ in range(2))
    assert first.decisions_sha256 == second.decisions_sha256


def test_real_time_holds_the_deadline_and_the_accounts(footage, tiny_package):
    path = footage(["good", "defect"] * 15)
    result = replayed(path, tiny_package, pace="recorded")
    assert result.parts == result.commands == 30
    assert result.conservation_errors == 0
    assert result.late_commands == 0
    assert result.latency_ms is not None


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_hangs_costs_the_part_in_flight_and_no_more(
    footage, tiny_package, tmp_path, blow
):
    def strike(run):
        os.kill(run.rig.engine.worker_pids[0], blow)

    run = Run(footage(["good"] * 60), tiny_package, tmp_path, at=10, deed=strike)
    run.assert_sound(60)
    assert run.balance.errors == 0
    faults = [d.fault for d in run.decisions if d.fault]
    assert Fault.BAD_OUTPUT not in faults
    assert len(faults) <= 5  # one; the rest is for a machine that stands still for a while
    assert run.rig.engine.replaced >= 1
    assert Action.ACCEPT in [d.action for d in run.decisions[30:]]


def test_a_controller_that_dies_is_a_named_default_for_every_part_after(
    footage, tiny_package, tmp_path
):
    def kill(run):
        run.arm.kill()

    run = Run(footage(["good"] * 40), tiny_package, tmp_path, at=10, deed=kill)
    run.assert_sound(40)
    assert {d.fault for d in run.decisions[20:]} == {Fault.NO_CONTROLLER}
    assert run.journal.events["unacked"] > 0


def test_in_lock_step_the_watchdog_ends_a_hung_worker_and_the_next_part_is_inspected(
    footage, tiny_package, tmp_path
):
    run = Run(
        footage(["good"] * 12),
        tiny_package,
        tmp_path,
        at=5,
        deed=lambda run: os.kill(run.rig.engine.worker_pids[0], signal.SIGSTOP),
        clock=VirtualClock(watchdog_ns=3000 * NS_PER_MS),
    )
    run.assert_sound(12)
    assert [d.fault for d in run.decisions].count(Fault.DEADLINE) == 1
    assert run.decisions[5].fault is Fault.DEADLINE
    assert [d.action for d in run.decisions[6:]] == [Action.ACCEPT] * 6


def test_run_finishes_its_parts_on_sigterm_and_exits_0(footage, tiny_package, tmp_path):
    path, bind = footage(["good"] * 200), f"ipc://{tmp_path}/run.ipc"
    (tmp_path / "cell.toml").write_text(
        f'[camera]\nsource = "footage"\npath = "{path}"\n'
        f'[engine]\nmodel = "{tiny_package}"\nthreads = 1\n'
        f'[controller]\nbind = "{bind}"\n'
    )
    log = tmp_path / "arm.jsonl"
    log.touch()
    with arm_process(bind, log):
        station = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge", "run", str(tmp_path / "cell.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(200):
            if log.read_bytes().count(b'"event":"applied"') >= 5:
                break
            time.sleep(0.05)
        station.send_signal(signal.SIGTERM)
        words, trouble = station.communicate(timeout=10)
    assert station.returncode == 0, trouble
    parts = int(words.split()[0])
    assert 5 <= parts < 200
    assert words.strip() == (
        f"{parts} parts, {parts} decided, {parts} acked, 0 conservation errors"
    )
    assert "Traceback" not in trouble
