"""What faults cost: a hung worker, a killed station, and the price of being safe on the wire."""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.chaos.drive import chaos
from bench.measures import UNSEEN_SEED, Figures
from control.actuator import RouterActuator
from edge.app import rigged, scheduled
from edge.children import arm_process, station_process
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge.core.config import (
    ControllerOptions,
    EngineOptions,
    LimitOptions,
    Station,
    SyntheticOptions,
)
from edge.core.errors import EdgeError
from edge.core.types import Action, Deadline
from edge.loop import inspect
from edge.realtime import tuned
from edge.replay import Journal
from edge.stats import spans
from models import package
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import SyntheticRows


def hung_worker() -> Figures:
    """A worker that is stopped while it has a part, fifty times at 20 parts/s, and nothing else."""
    report = chaos(1200, 20.0, 1, lambda line: None, kinds=("worker_stop",))
    spread = report.overshoot_ms or {}
    hangs = report.injected.get("worker_stop", 0)
    return {
        "promises_broken": len(report.broken),
        "defaults_beside_those_in_flight": sum(report.defaults.values()) - hangs,
        "overshoot_p99_ms": spread.get("p99", 0.0),
        "overshoot_max_ms": spread.get("max", 0.0),
        "hangs": hangs,
        "parts": report.parts,
    }


def killed() -> Figures:
    """kill -9 of the station: how long until the controller knows, and what it accepts after."""
    times, after = [], 0
    for rest in (("--rest", "reject"), ("--rest", "pass", "--line-stop")) * 5:
        ms, accepted = _kill_a_station(rest)
        times.append(ms)
        after += accepted
    return {
        "lost_beat_max_ms": max(times),
        "accepted_after": after,
        "lost_beat_p50_ms": statistics.median(times),
        "kills": len(times),
    }


def _kill_a_station(rest: tuple[str, ...]) -> tuple[float, int]:
    """Milliseconds from the kill to the lost beat, and parts accepted after it."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        bind, log, sensor = f"ipc://{name}/s.ipc", folder / "arm.jsonl", folder / "sensor"
        log.touch()
        os.mkfifo(sensor)
        options = (*rest, "--sensor", str(sensor))
        stack.enter_context(arm_process(bind, log, options=options))
        station = folder / "station.toml"
        station.write_text(
            f'name = "killed-{os.getpid()}"\n[camera]\nsource = "synthetic"\nrate_hz = 20\n'
            f'[engine]\nmodel = "synthetic-part"\n[controller]\nbind = "{bind}"\n'
        )
        process, _feed = stack.enter_context(station_process(station))
        while log.read_bytes().count(b'"action":"accept"') < 10:
            clock.wait((), clock.now_ns() + NS_PER_S // 100)
        process.kill()
        killed_ns = clock.now_ns()
        clock.wait((), killed_ns + NS_PER_S // 2)
        with sensor.open("w") as parts:  # and more parts come by than were ever expected
            parts.write("\n" * 30)
        clock.wait((), clock.now_ns() + NS_PER_S // 2)
        entries = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    wanted = "line_stop" if "--line-stop" in rest else "lost_beat"
    lost = [entry["at_ns"] for entry in entries if entry["event"] == wanted]
    if not lost or not any(entry["event"] == "unexpected" for entry in entries):
        raise EdgeError("killed: the controller has not noticed")
    later = [e for e in entries if e.get("action") == "accept" and e["event"] == "applied"]
    return (lost[0] - killed_ns) / NS_PER_MS, sum(e["applied_ns"] > killed_ns for e in later)


class _BareActuator(RouterActuator):
    """Commands and nothing else: no Expect, hence no resends; for what those cost."""

    def expect(self, part: int, number: int, default: Action, deadline: Deadline) -> str:
        self._unacked.expect(part, b"", deadline.trigger_ns, deadline.act_by_ns)
        return self.controller


def wire_cost() -> Figures:
    """Trigger to command with and without Expect, beats, ack tracking and standby, in turns."""
    gaps, bares = [], []
    for _ in range(5):
        bare, whole = (_latency_p50_ms(bare=bare) for bare in (True, False))
        bares.append(bare)
        gaps.append(whole - bare)
    return {
        "added_p50_ms": statistics.median(gaps),
        "bare_p50_ms": statistics.median(bares),
        "least_added_ms": min(gaps),
        "most_added_ms": max(gaps),
    }


def _latency_p50_ms(*, bare: bool, parts: int = 300) -> float:
    model, clock = package.find("synthetic-part"), SystemClock()
    rows = SyntheticRows(PartGenerator(UNSEEN_SEED), model.manifest.views, rate_hz=20, parts=parts)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name, ExitStack() as stack:
        bind = f"ipc://{name}/s.ipc"
        controller = ControllerOptions(bind=bind)
        if bare:  # a beat in a quarter of an hour
            controller = ControllerOptions(bind=bind, beat_ms=1e6, lost_ms=1e6, resend_ms=1e6)
        station = Station(
            camera=SyntheticOptions(),
            engine=EngineOptions(model="synthetic-part", standby=not bare),
            controller=controller,
            limits=LimitOptions.warnings(),
        )
        log, journal = Path(name) / "arm.jsonl", Journal()

        def start_arm() -> None:
            stack.enter_context(arm_process(bind, log))

        rig = stack.enter_context(
            rigged(
                station,
                model,
                journal,
                clock,
                scheduled(rows, clock),
                before_waiting=start_arm,
                actuator_of=_BareActuator if bare else RouterActuator,
            )
        )
        with tuned(station.realtime):
            inspect(rig.inspection, lambda: False)
    timed = [s for record in journal.records if (s := spans(record))]
    return statistics.median(latency for latency, _, _ in timed)


GROUPS = {"hung_worker": hung_worker, "killed": killed, "wire_cost": wire_cost}
