"""`edge bench predict`: how fast a package will be on this box, without running it.

The optimised graph's operators, counted (macs.py), times what such operators cost
here (calibrate.py), plus what a part costs beside its session
(miniature.py). Nothing in it was fitted to a package.

p50 of session.run, back to back, is the sum of the operators' medians. Its p99: the calibration's
runs are laid end to end and cut into stretches as long as the session; the 99th percentile of
measured over expected. A part comes after a pause, which costs its session what it costs the
miniature's. Its p99 adds the excesses of session, overhead and timer over their medians as the root
of their squares, as if they came independently.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bench.latency.box import host
from bench.latency.forecast import calibrate, macs, miniature
from bench.latency.forecast.costs import Calibration
from bench.latency.forecast.prediction import PROVIDER, Box, Prediction, describe
from bench.latency.result import Host, load
from edge.core.config import EngineOptions
from edge.core.errors import ConfigError
from models import package
from models.package import Package

__all__ = ["Prediction", "describe", "predict"]

SECONDS = 10.0
# Of the time: the noise floor, the miniature, the probes. Those left out are for reading profiles.
_FLOOR, _MINIATURE, _PROBES = 0.1, 0.2, 0.65
LEAST_S = 2.0
BUSY_SPREAD = 0.25  # of 5 ms stretches: 0.14 was seen on an idle shared machine, 0.3 on a busy one
MEASURE_S = 2.0
_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


def predict(
    model: Package | str,
    *,
    against: Path | None = None,
    seconds: float = SECONDS,
    threads: int | None = None,
    measure: bool = False,
) -> Prediction:
    """Calibrate this box for `seconds` and predict a package's times on the CPU provider.

    against: a result of `edge bench` to compare with. measure: run the package afterwards.
    threads: those of `against`, or else of a station file that names none.
    """
    found = model if isinstance(model, Package) else package.find(model)
    if seconds < LEAST_S:
        raise ConfigError(f"seconds {seconds:g}: at least {LEAST_S:g}, to calibrate this box")
    measured, notes = _against(against, found) if against else ({}, [])
    of_threads = int(measured.pop("threads", EngineOptions("").threads))
    threads = threads or of_threads
    if measured and threads != of_threads:
        notes.append(f"the measurement was made with {of_threads} threads, not {threads}")
    data = found.model_bytes()
    plain, run = macs.graph(data), macs.graph(macs.optimised(data))
    floor = host.probe(_FLOOR * seconds)
    small = _miniature(found, threads, _MINIATURE * seconds)
    box = calibrate.calibrate(threads, _PROBES * seconds)
    times = _times(box.session_us(run), box, small, floor)
    if measure:
        measured = _measured(data, threads) | measured
    if box.spread > BUSY_SPREAD:
        notes.append(
            "the machine was busy or unsteady while it was calibrated: "
            f"stretches of 5 ms spread by {100 * box.spread:.0f} %"
        )
    if unknown := run.unknown:
        notes.append(f"counted as memory traffic only: {', '.join(unknown)}")
    costs = sorted(((box.operator_us(w) / 1e3, w.operator) for w in run.work), reverse=True)
    return Prediction(
        model=found.manifest.name,
        model_sha256=found.file_sha256,
        precision=found.manifest.precision,
        threads=threads,
        macs=plain.macs,
        parameters=plain.parameters,
        parameter_bytes=plain.parameter_bytes,
        activations_bytes=run.activation_bytes,
        nodes=len(run.work),
        unknown_operators=unknown,
        calibration=_box(box, small, floor),
        **times,
        slowest=tuple((operator, round(ms, 4)) for ms, operator in costs[:5]),
        measured=measured or None,
        error_percent=_error_percent(times, measured),
        warnings=tuple(notes),
    )


def _miniature(model: Package, threads: int, seconds: float) -> miniature.Miniature:
    views = model.manifest.views
    view_bytes = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in views)
    cells = math.prod(model.manifest.outputs.map_shape or (1,))
    return miniature.measure(threads, view_bytes, cells, seconds)


def _times(
    session_us: float, box: Calibration, small: miniature.Miniature, floor: Host
) -> dict[str, float]:
    """Every predicted figure, by the name it has in `Prediction`."""
    p50 = session_us / 1e3
    p99 = max(p50, p50 * float(np.percentile(box.stretches(session_us), 99)))
    paced = p50 + small.pause
    excess = math.hypot(
        p99 - p50,
        small.overhead_p99 - small.overhead_p50,
        floor.timer_jitter_p99_ms - floor.timer_jitter_p50_ms,
    )
    times = {
        "session_p50_ms": p50,
        "session_p99_ms": p99,
        "paced_session_p50_ms": paced,
        "latency_p50_ms": paced + small.overhead_p50,
        "latency_p99_ms": paced + small.overhead_p50 + excess,
        "parts_per_s": 1e3 / (p50 + small.turn_p50),
    }
    return {name: round(value, 4) for name, value in times.items()}


def _box(box: Calibration, small: miniature.Miniature, floor: Host) -> Box:
    return Box(
        seconds=box.seconds,
        gmacs=box.gmacs,
        gbytes=box.gbytes,
        node_us=box.node_us,
        run_us=box.run_us,
        spread=box.spread,
        fit_error=box.fit_error,
        pause_ms=small.pause,
        overhead_p50_ms=small.overhead_p50,
        overhead_p99_ms=small.overhead_p99,
        turn_ms=small.turn_p50,
        timer_jitter_p99_ms=floor.timer_jitter_p99_ms,
        ipc_rtt_p50_ms=floor.ipc_rtt_p50_ms,
        cpu=floor.cpu,
        cores=floor.cores,
    )


def _against(path: Path, model: Package) -> tuple[dict[str, float], list[str]]:
    """What a result says of the predicted figures, and of its threads; ConfigError if no kin."""
    result = load(path)
    if result.model_sha256 != model.file_sha256:
        raise ConfigError(f"{path}: a measurement of {result.model}, another file than this model")
    notes = []
    if result.provider != PROVIDER:
        notes.append(f"the measurement was made on {result.provider}; {PROVIDER} is predicted")
    bare, found = result.bare_session_ms, {"threads": float(result.threads)}
    if bare.threads == result.threads:
        found |= {"session_p50_ms": bare.p50, "session_p99_ms": bare.p99}
    if result.scenario == "offline":
        return found | {"parts_per_s": result.throughput_hz}, notes
    if result.scenario == "single":
        notes.append("the measurement had no pauses: its times of a part are not compared")
        return found, notes
    if result.session_ms:
        found["paced_session_p50_ms"] = result.session_ms["p50"]
    if result.latency_ms:
        found["latency_p50_ms"] = result.latency_ms["p50"]
        found["latency_p99_ms"] = result.latency_ms["p99"]
    return found, notes


def _measured(model: bytes, threads: int) -> dict[str, float]:
    """session.run itself, back to back, as the probes were run."""
    session = calibrate.session(model, calibrate.options(threads))
    dice = np.random.default_rng(1)
    feed = {
        node.name: dice.integers(0, 255, node.shape).astype(_DTYPES[node.type])
        for node in session.get_inputs()
    }
    with calibrate.judging(threads):
        p50, p99 = calibrate.timed(lambda: session.run(None, feed), MEASURE_S)
    return {"session_p50_ms": round(p50 / 1e3, 4), "session_p99_ms": round(p99 / 1e3, 4)}


def _error_percent(times: dict[str, float], measured: dict[str, float]) -> float | None:
    for name in ("session_p50_ms", "paced_session_p50_ms"):
        if name in measured:
            return round(100 * (times[name] / measured[name] - 1), 1)
    return None
