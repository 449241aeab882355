"""Results of runs that were never run: numbers as a noisy box gives them, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.latency.result import (
    STAGES,
    Bare,
    Counters,
    Host,
    Minute,
    Overrun,
    Plan,
    Result,
    Series,
)
from edge.core.bounds import upper_95
from edge.stats import percentiles

MakeResult = Callable[..., Result]
HOST = Host(
    cpu="AMD EPYC 9B14",
    cores=2,
    memory_gib=23.4,
    kernel="6.12.0",
    machine="9f2c41d07b1e",
    governor="performance",
    isolated="",
    virtual="kvm",
    timer_jitter_p50_ms=0.071,
    timer_jitter_p99_ms=0.212,
    ipc_rtt_p50_ms=0.043,
    ipc_rtt_p99_ms=0.131,
    load_before=0.12,
    libraries={"onnxruntime": "1.31.1", "numpy": "2.4.6", "pyzmq": "27.3.0"},
    commit="0a1b2c3d4e5f+",
)
COUNTERS = Counters(
    page_faults_a_part=1.2,
    context_switches_a_part=14.5,
    involuntary_switches_a_part=0.31,
    collections=0,
    bytes_copied_a_part=524_288,
    pointers_checked=8,
    resident_mib_first=61.2,
    resident_mib_last=61.4,
    worker_resident_mib_first=142.0,
    worker_resident_mib_last=142.1,
    kept_blocks=3,
    kept_bytes=412,
    cpu_ms_a_part={"loop": 1.91, "worker": 8.8, "controller": 0.42},
)
# Of the overhead, roughly as measured; session is the rest.
SHARES = {"acquire": 0.02, "hand_over": 0.28, "prepare": 0.04, "decode": 0.18} | {
    "answer": 0.22,
    "policy": 0.02,
    "send": 0.03,
    "receive": 0.21,
}


@pytest.fixture
def make_result() -> MakeResult:
    return _make


def _make(
    *,
    parts: int = 2000,
    seed: int = 1,
    slower: float = 1.0,
    overruns: tuple[int, ...] = (),
    minutes: int = 0,
    step: int = 1,
    rate_hz: float = 20.0,
    **changed: Any,
) -> Result:
    """A run whose sessions resemble those before them and whose slow parts come in bursts.

    slower: a factor on every latency and session. overruns: numbers of parts, each 62 ms late.
    changed: fields of the result, by name.
    """
    session, overhead = _draw(np.random.default_rng(seed), parts)
    session, overhead = session * slower, overhead * slower
    latency = session + overhead
    for part in overruns:
        latency[part - 1] = 62.0 + part % 7
    host = changed.get("host", HOST)
    kept = slice(None, None, step)
    result = Result(
        scenario="constant",
        parts=parts,
        overruns=len(overruns),
        overrun_rate=len(overruns) / parts,
        overrun_rate_upper_95=upper_95(len(overruns), parts),
        latency_ms=percentiles(latency.tolist()),
        session_ms=percentiles(session.tolist()),
        overhead_ms=percentiles((latency - session).tolist()),
        bare_session_ms=Bare(p50=3.92, p99=4.61, threads=2, spinning=True, runs=500, mean=3.97),
        ratio_p50=float(np.median(latency)) / 3.92,
        stages_ms={
            name: percentiles((session if name == "session" else overhead * share).tolist())
            for name, share in zip(STAGES, map({**SHARES, "ack": 0.3}.get, STAGES), strict=True)
        }
        if parts
        else {},
        host=host,
        provider="cpu",
        threads=2,
        model_sha256="5b1d" + "ab" * 30,
        started="2025-03-01T12:00:00Z",
        model="deeppcb",
        precision="int8",
        frame_px="512 x 512",
        plan=Plan(scenario="constant", rate_hz=rate_hz, parts=parts),
        complete=True,
        ended_by="all parts done",
        duration_s=parts / rate_hz,
        throughput_hz=rate_hz,
        bare_throughput_hz=1000 / 3.97,
        verdicts=parts - len(overruns),
        deadline_misses=len(overruns),
        late_commands=0,
        faults={"deadline": len(overruns)} if overruns else {},
        conservation_errors=0,
        commands=parts,
        acks=parts,
        counters=COUNTERS,
        timeline=[
            Overrun(
                part=part,
                second=(part - 1) / rate_hz,
                latency_ms=float(latency[part - 1]) if part % 5 else None,
                why="deadline; session 58.1 ms, usually 4.2",
            )
            for part in overruns
        ],
        minutes=[_minute(minute, latency, session) for minute in range(minutes)],
        series=Series(
            step=step,
            second=(np.arange(parts) / rate_hz)[kept].round(3).tolist(),
            latency_ms=latency[kept].round(3).tolist(),
            session_ms=session[kept].round(3).tolist(),
        ),
        notes=["pictures: 40 in turn, of the package's own test split; they are in memory"],
    )
    return msgspec.structs.replace(result, **changed)


def _draw(rng: np.random.Generator, parts: int) -> tuple[Any, Any]:
    """(session, overhead) in ms: correlated from part to part, with bursts of slow parts."""
    noise = rng.standard_normal(parts)
    for place in range(1, parts):
        noise[place] = 0.7 * noise[place - 1] + 0.71 * noise[place]
    session = 4.2 * np.exp(0.04 * noise)
    overhead = 0.85 * np.exp(0.2 * rng.standard_normal(parts))
    for first in np.flatnonzero(rng.random(parts) < 0.004):
        late = overhead[first : first + rng.integers(1, 6)]
        late += rng.exponential(4.0, len(late))
    return session, overhead


def _minute(minute: int, latency: Any, session: Any) -> Minute:
    those = slice(minute * 1200 % len(latency), minute * 1200 % len(latency) + 1200)
    spread = percentiles(latency[those].tolist())
    assert spread is not None
    return Minute(
        minute=minute,
        parts=1200,
        overruns=int((latency[those] > 50).sum()),
        p50=spread["p50"],
        p99=spread["p99"],
        max=spread["max"],
        session_p50=float(np.median(session[those])),
        resident_mib=61.0 + 0.01 * minute,
    )
