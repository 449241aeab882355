"""A prediction: its figures, and the lines that a person reads."""

from __future__ import annotations

import msgspec

PROVIDER = "cpu"
_WORDS = {
    "session_p50_ms": "session.run p50",
    "session_p99_ms": "session.run p99",
    "paced_session_p50_ms": "session.run p50 in the station",
    "latency_p50_ms": "a part p50",
    "latency_p99_ms": "a part p99",
    "parts_per_s": "parts/s",
}


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """What the calibration found. gmacs in 1e9 MACs/s of dense work, gbytes in 1e9 bytes/s."""

    seconds: float
    gmacs: dict[str, float]
    gbytes: float
    node_us: float
    run_us: float
    spread: float
    fit_error: dict[str, float]  # by family of operators, median over its own probes
    pause_ms: float  # what a session takes longer after a pause
    overhead_p50_ms: float  # trigger to command without the session
    overhead_p99_ms: float
    turn_ms: float
    timer_jitter_p99_ms: float
    ipc_rtt_p50_ms: float
    cpu: str
    cores: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A package on this box at `threads`; milliseconds. session_* is back to back, latency_* paced.

    macs and parameters are the package's own, activation bytes and nodes those of the graph as
    ONNX Runtime optimises it. measured: the same names, where a measurement was given or made;
    error_percent: of session_p50_ms
    """

    model: str
    model_sha256: str
    precision: str
    threads: int
    macs: int
    parameters: int
    parameter_bytes: int
    activations_bytes: int
    nodes: int
    unknown_operators: tuple[str, ...]
    calibration: Box
    session_p50_ms: float
    session_p99_ms: float
    paced_session_p50_ms: float
    latency_p50_ms: float
    latency_p99_ms: float
    parts_per_s: float
    slowest: tuple[tuple[str, float], ...]
    measured: dict[str, float] | None
    error_percent: float | None
    warnings: tuple[str, ...]


def describe(prediction: Prediction) -> str:
    """A prediction in plain lines, its error against a measurement among them."""
    p, box = prediction, prediction.calibration
    slow = ", ".join(f"{operator} {ms:.2f} ms" for operator, ms in p.slowest)
    lines = [
        f"package         {p.model}, {p.precision}, {p.threads} "
        f"thread{'' if p.threads == 1 else 's'}, provider {PROVIDER}",
        f"work            {p.macs / 1e6:,.1f} million MACs, {p.parameters:,} parameters, "
        f"{p.activations_bytes / 1e6:.1f} MB of activations moved, {p.nodes} operators",
        f"this box        {box.cpu}, {box.cores} cores; INT8 {box.gmacs['int8']:.0f}, "
        f"FP32 {box.gmacs['fp32']:.0f} GMAC/s, {box.gbytes:.0f} GB/s, "
        f"{box.node_us:.2f} us an operator ({box.seconds:.1f} s of calibration)",
        f"session.run     p50 {p.session_p50_ms:.2f} ms, p99 {p.session_p99_ms:.2f} ms, "
        f"back to back; p50 {p.paced_session_p50_ms:.2f} ms after a pause",
        f"slowest         {slow}",
        f"a part          p50 {p.latency_p50_ms:.2f} ms, p99 {p.latency_p99_ms:.2f} ms, "
        f"trigger to command; {box.overhead_p50_ms:.2f} ms of it beside the session",
        f"at most         {p.parts_per_s:.0f} parts/s",
    ]
    for name, value in (p.measured or {}).items():
        predicted = float(getattr(p, name))
        unit = name.removeprefix("parts_per_s") and " ms"
        lines.append(
            f"measured        {_WORDS[name]} {value:.2f}{unit}: predicted {predicted:.2f}, "
            f"{100 * (predicted / value - 1):+.0f} %"
        )
    lines += [f"warning         {warning}" for warning in p.warnings]
    return "\n".join(lines)
