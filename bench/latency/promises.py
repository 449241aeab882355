"""What `edge bench` must show of this project, as figures by name; judged by bench/budgets.toml."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from bench.latency.result import Result, Scenario
from bench.latency.run import Asked, planned, run
from edge.children import arm_process
from edge.core.clock import NS_PER_S, now_ns
from edge.core.errors import EdgeError
from edge.core.process import python_module
from models import package

MODEL = "deeppcb"
RUNS = 3  # of a minute or less; their median counts, for a shared machine has bad minutes
STARTS = 3
START_S = 30.0
MB = 1e6

Figures = dict[str, float]


def _bench(
    scenario: Scenario, parts: int, rate_hz: float | None = None, *, allocations: bool = False
) -> Result:
    plan = planned(scenario, rate_hz=rate_hz, parts=parts)
    asked = Asked(model=MODEL, plan=plan, allocations=allocations)
    return run(asked, Console(quiet=True))


def single() -> Figures:
    """One part at a time, frames in memory: what the station adds to session.run."""
    results = [_bench("single", 3000, allocations=n == 0) for n in range(RUNS)]
    found = [figures for result in results if (figures := _single(result))]
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    counters = results[0].counters
    return medians | {
        "kept_blocks": counters.kept_blocks or 0,
        "frame_sized_blocks": counters.frame_sized_blocks or 0,
    }


def _single(result: Result) -> Figures:
    overhead, latency = result.overhead_ms, result.latency_ms
    if overhead is None or latency is None:
        raise EdgeError("single: no part had a verdict")
    jitter_ms = result.host.timer_jitter_p99_ms
    return {
        "overhead_p50_ms": overhead["p50"],
        "overhead_p99_less_jitter_ms": overhead["p99"] - jitter_ms,
        "ratio_p50": result.ratio_p50 or 0.0,
        "timer_jitter_p99_ms": jitter_ms,
        "latency_p50_ms": latency["p50"],
        "bare_p50_ms": result.bare_session_ms.p50,
        "parts_per_s": result.throughput_hz,
    }


def stream() -> Figures:
    """A camera at 20 Hz, 20,000 parts: 17 minutes."""
    return _stream(_bench("constant", 20_000, 20.0))


def near_the_limit() -> Figures:
    """A camera at 80 % of the rate that one part at a time reaches, 20,000 parts."""
    reached = _bench("single", 3000).throughput_hz
    return _stream(_bench("constant", 20_000, 0.8 * reached))


def _stream(result: Result) -> Figures:
    latency, overhead = result.latency_ms or {}, result.overhead_ms or {}
    return {
        "parts": result.parts,
        "overruns": result.overruns,
        "overrun_rate": result.overrun_rate,
        "overrun_rate_upper_95": result.overrun_rate_upper_95,
        "unexplained": sum(not one.why for one in result.timeline),
        "conservation_errors": result.conservation_errors,
        "rate_hz": result.plan.rate_hz or 0.0,
        "latency_p50_ms": latency.get("p50", 0.0),
        "latency_p99_ms": latency.get("p99", 0.0),
        "latency_max_ms": latency.get("max", 0.0),
        "overhead_p50_ms": overhead.get("p50", 0.0),
    }


def offline() -> Figures:
    """As many parts as the station takes, against session.run back to back."""
    results = [_bench("offline", 3000) for _ in range(RUNS)]
    shares = [result.throughput_hz / result.bare_throughput_hz for result in results]
    return {
        "share_of_bare": statistics.median(shares),
        "parts_per_s": statistics.median(result.throughput_hz for result in results),
        "overruns": sum(result.overruns for result in results),
    }


def soak() -> Figures:
    """Resident memory over 100,000 parts, one at a time; MiB beyond that after warm-up."""
    result = _bench("single", 100_000)
    minutes = [minute.resident_mib for minute in result.minutes]
    first = minutes[0] if minutes else result.counters.resident_mib_first
    counters = result.counters
    return {
        "grown_mib": counters.resident_mib_last - first,
        "worker_grown_mib": (
            counters.worker_resident_mib_last - counters.worker_resident_mib_first
        ),
        "overruns": result.overruns,
        "parts": result.parts,
    }


def ready() -> Figures:
    """From the start of `edge run` to READY, with a package on disk and an arm that waits."""
    return {"ready_s": statistics.median(_ready_s() for _ in range(STARTS))}


def _ready_s() -> float:
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        bind, notify = f"ipc://{name}/station.ipc", f"{name}/notify"
        station = folder / "ready.toml"
        station.write_text(
            _STATION.format(pid=os.getpid(), model=package.find(MODEL).path, bind=bind)
        )
        told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(notify)
        told.settimeout(START_S)
        stack.enter_context(arm_process(bind, folder / "arm.jsonl"))
        started_ns = now_ns()
        process = subprocess.Popen(
            python_module("edge", "run", str(station)),
            env=os.environ | {"NOTIFY_SOCKET": notify},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        try:
            while b"READY=1" not in told.recv(4096):
                pass
        except TimeoutError:
            raise EdgeError(f"ready: the station was not READY within {START_S:g} s") from None
        return (now_ns() - started_ns) / NS_PER_S


_STATION = """
name = "ready-{pid}"
[camera]
source = "synthetic"
[engine]
model = "{model}"
[controller]
bind = "{bind}"
"""


def environment() -> Figures:
    """Megabytes of a virtual environment with the cpu extra and nothing else, made anew."""
    root = Path(__file__).parents[2]
    lock = root / "requirements" / "cpu.txt"
    if not lock.is_file():
        raise EdgeError(f"{lock}: not here; this figure needs a checkout")
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name:
        folder = Path(name) / "venv"
        command = ["sh", str(root / "deploy" / "venv.sh"), str(folder), str(lock)]
        done = subprocess.run(
            command, cwd=root, env=os.environ | {"PYTHON": sys.executable}, capture_output=True
        )
        if done.returncode:
            raise EdgeError(f"environment: {done.stderr.decode(errors='replace').strip()[-200:]}")
        size = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
        return {"megabytes": size / MB}


GROUPS: dict[str, Callable[[], Figures]] = {
    "single": single,
    "near_the_limit": near_the_limit,
    "offline": offline,
    "ready": ready,
    "environment": environment,
    "soak": soak,
    "stream": stream,
}
