"""How fast this box runs the operators of inspection networks, found in a few seconds.

The probe graphs (probes.py) are run under ONNX Runtime's own profiler, with the
station's session options and on the station's processors; costs.py makes rates of
what the profiler says of each operator.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort

from bench.latency.forecast import macs, probes
from bench.latency.forecast.costs import EXECUTED, MOVED, Calibration, fit, rate
from bench.latency.forecast.macs import Work
from edge import realtime
from edge.core.config import RealtimeOptions
from edge.core.errors import EngineError
from models.session import session_options

_SCAFFOLD = ("Expand", "Slice")  # of the probes themselves
_TURNS = 3  # of each probe, apart
PRECISIONS: tuple[probes.Precision, ...] = ("int8", "fp32")
_RUN_SHARE = 0.85  # of the time; the profiles are read in the rest
# Of a turn: memory is planned in the first run ever, and the caches are another probe's.
_WARM_UP_RUNS = 2
_LEAST_RUNS = 5


def calibrate(threads: int, seconds: float) -> Calibration:
    """Measure for about `seconds`; the machine should have nothing else to do."""
    began = time.perf_counter()
    node_us, run_us = _overheads(threads, 0.06 * seconds)
    families, samples = _probed(threads, began + seconds * _RUN_SHARE)
    fits = {kind: fit(measured) for kind, measured in families.items() if kind != "free"}
    costs = {kind: fit[0] for kind, fit in fits.items()}
    whole = Calibration(
        threads=threads,
        seconds=round(time.perf_counter() - began, 2),
        costs=costs,
        gmacs={p: rate(costs[f"{p} dense"][EXECUTED]) for p in PRECISIONS},
        gbytes=rate(costs["fp32 plain"][MOVED]),
        node_us=node_us,
        run_us=run_us,
        spread=0.0,
        fit_error={kind: fit[1] for kind, fit in fits.items()},
        samples=tuple(samples),
    )
    low, middle, high = np.percentile(whole.stretches(5_000), (10, 50, 90))
    return msgspec.structs.replace(whole, spread=round(float((high - low) / middle), 3))


def _probed(
    threads: int, end: float
) -> tuple[dict[str, list[tuple[Work, float]]], list[tuple[float, float]]]:
    """Run all probes until `end`: (operator, median us) by family, and the samples in order."""
    benches = [
        _Bench(model, probes.inputs(precision), threads)
        for precision in PRECISIONS
        for model in probes.graphs(precision)
    ]
    with judging(threads):
        for turn in range(_TURNS):
            left = max(0.0, end - time.perf_counter())
            for bench in benches:
                bench.turn(left / (_TURNS - turn) / len(benches))
    families: dict[str, list[tuple[Work, float]]] = {}
    samples: list[tuple[float, float]] = []
    for bench in benches:
        found, noise = bench.end()
        samples += noise
        for work, us in found:
            if work.operator not in _SCAFFOLD:
                families.setdefault(work.kind, []).append((work, us))
    return families, samples


@contextmanager
def judging(threads: int) -> Iterator[None]:
    """The calling thread on the processors of a station's judging thread."""
    allowed = os.sched_getaffinity(0)
    cpus = realtime.engine_cpus(RealtimeOptions(), threads).judging
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def options(threads: int) -> ort.SessionOptions:
    """A station's session options, its helper threads on the processors they have there."""
    return session_options(threads, realtime.engine_cpus(RealtimeOptions(), threads).helpers)


class _Event(msgspec.Struct):
    """What is read of a profile's entry."""

    cat: str = ""
    name: str = ""
    dur: int = 0


class _Bench:
    """One probe graph under the profiler."""

    def __init__(self, model: bytes, feed: dict[str, Any], threads: int) -> None:
        self._work = {work.name: work for work in macs.graph(macs.optimised(model)).work}
        self._feed = feed
        self._folder = tempfile.TemporaryDirectory(prefix="edge-predict-")
        wanted = options(threads)
        wanted.enable_profiling = True
        wanted.profile_file_prefix = str(Path(self._folder.name) / "probe")
        self._session = session(model, wanted)

        self._turns: list[int] = []  # runs of each

    def turn(self, seconds: float) -> None:
        end, runs = time.perf_counter() + seconds, 0
        while time.perf_counter() < end or runs < _LEAST_RUNS:
            self._session.run(None, self._feed)
            runs += 1
        self._turns.append(runs)

    def end(self) -> tuple[list[tuple[Work, float]], list[tuple[float, float]]]:
        """(operator, us) of each, and (its turn's median, measured) us of all runs in order.

        An operator's time is the least of its turns' medians: other jobs on the machine, and a
        virtual machine's slow spells, last for seconds and are not what is asked for.
        """
        times = self._profile()
        names = list(times)
        runs = np.array([times[name] for name in names])  # operators, runs
        medians, noise, first = [], [], 0
        for count in self._turns:
            turn = runs[:, first + _WARM_UP_RUNS : first + count]
            first += count
            medians.append(np.median(turn, axis=1))
            expected = np.broadcast_to(medians[-1][:, None], turn.shape)
            noise += list(zip(expected.T.ravel().tolist(), turn.T.ravel().tolist(), strict=True))
        least = np.min(medians, axis=0)
        return [(self._work[n], float(us)) for n, us in zip(names, least, strict=True)], noise

    def _profile(self) -> dict[str, list[float]]:
        """Microseconds of every operator in every run."""
        with self._folder:
            profile = Path(self._session.end_profiling()).read_bytes()
        times: dict[str, list[float]] = {}
        for event in msgspec.json.decode(profile, type=list[_Event]):
            name = event.name.removesuffix("_kernel_time")
            if event.cat == "Node" and name in self._work:
                times.setdefault(name, []).append(event.dur + 0.5)  # cut off to whole ones
        return times


def session(model: bytes, wanted: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(model, wanted, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no base
        raise EngineError(f"ONNX Runtime: {' '.join(str(error).split())[:200]}") from None


def _overheads(threads: int, seconds: float) -> tuple[float, float]:
    """Microseconds of an operator and of a run that have nothing to do."""
    feed, medians = {"x": np.ones((1, 1, 1, 1), np.float32)}, []
    for count in probes.TINY:
        chain = session(probes.tiny(count), options(threads))
        with judging(threads):
            medians.append(timed(partial(chain.run, None, feed), seconds / 2)[0])
    a, b = probes.TINY
    node_us = max(0.0, (medians[1] - medians[0]) / (b - a))
    return round(node_us, 3), round(max(0.0, medians[0] - a * node_us), 3)


def timed(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """(p50, p99) us of a call, back to back."""
    found: list[float] = []
    end = time.perf_counter_ns() + round(seconds * 1e9)
    for _ in range(_LEAST_RUNS):
        call()
    last = time.perf_counter_ns()
    while last < end or len(found) < _LEAST_RUNS:
        call()
        now = time.perf_counter_ns()
        found.append((now - last) / 1e3)
        last = now
    p50, p99 = np.percentile(found, (50, 99))
    return float(p50), float(p99)
