"""What a run of `edge bench` comes to: the schema of its JSON file (docs/performance.md).

Milliseconds throughout; percentiles by linear interpolation over the parts that had a verdict.
A percentile of a run too short for it (p99.9 of 100 parts) is close to its maximum.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edge.core.errors import ConfigError
from edge.replay import Percentiles

SCHEMA = 1
Scenario = Literal["constant", "single", "offline", "server"]
# A part's way, in order: from one instant to the next on one clock, so that they add up to latency
# (ack comes after it).
STAGES = (
    "acquire",  # trigger (scheduled arrival) -> the frame is whole in its slot
    "hand_over",  # -> the worker has the request
    "prepare",  # -> session.run begins
    "session",  # -> session.run has ended
    "decode",  # -> fitness, score, map and regions are in the answer
    "answer",  # -> the loop has read it
    "policy",  # -> decided
    "send",  # -> the command is with ZeroMQ
    "receive",  # -> received by the controller's process
    "ack",  # -> its ack is with the loop
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. rate_hz is None where the scenario has no rate."""

    scenario: Scenario
    rate_hz: float | None = None
    parts: int | None = None
    minutes: float | None = None
    arrivals: str = ""  # file of recorded arrivals
    gaps_s: tuple[float, ...] = ()  # idle gaps put between stretches of parts
    burst: int = 1  # parts that arrive at the same instant
    seed: int = 1  # of Poisson arrivals
    standby: bool = True
    publish: bool = True
    keep: str = ""  # folder for records and footage of every part; "" keeps nothing


class Bare(msgspec.Struct, frozen=True, kw_only=True):
    """session.run alone, in a process of its own, back to back: the limit."""

    p50: float
    p99: float
    threads: int
    spinning: bool
    runs: int
    scanned: dict[str, float] = {}  # p50 of every thread setting tried, by its name
    mean: float = 0.0  # of the same runs as p50: what throughput without pauses follows from


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The box, and its own noise floor measured in the same run."""

    cpu: str
    cores: int  # that this process may use
    memory_gib: float
    kernel: str
    machine: str  # an id of this box that tells it from another; no name
    governor: str
    isolated: str  # isolcpus; "" for none
    virtual: str  # the hypervisor; "" for none
    timer_jitter_p50_ms: float  # how late a sleep of 1 ms ends
    timer_jitter_p99_ms: float
    ipc_rtt_p50_ms: float  # one byte to another process and back over a socket pair
    ipc_rtt_p99_ms: float
    load_before: float  # 1-minute load average when the run began
    libraries: dict[str, str] = {}  # name: version
    commit: str = ""  # of the product, where it runs from a checkout; with + if altered


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What the run cost besides time. A part's figures are means over the timed parts.

    kept_blocks and kept_bytes: what tracemalloc finds allocated by the product's own files after
    1,000 further parts beyond what it found before them; None where not asked for.
    """

    page_faults_a_part: float
    context_switches_a_part: float
    involuntary_switches_a_part: float
    collections: int  # of Python's garbage collector, in the loop, while parts were open
    bytes_copied_a_part: int  # of pictures, from the frame in memory into the slot
    pointers_checked: int  # slots whose bound input is the slot's own memory
    resident_mib_first: float  # of the loop's process, after warm-up
    resident_mib_last: float
    worker_resident_mib_first: float
    worker_resident_mib_last: float
    kept_blocks: int | None = None
    kept_bytes: int | None = None
    frame_sized_blocks: int | None = None  # kept or passing, as large as a view or larger
    cpu_ms_a_part: dict[str, float] = {}  # processor time by process: loop, worker, controller


class Overrun(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the timeline that had no verdict in time, or whose command came late."""

    part: int
    second: float  # of the run
    latency_ms: float | None  # trigger to command; None where no command was received
    why: str  # the fault, and what else was seen in that part


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One minute of a soak."""

    minute: int
    parts: int
    overruns: int
    p50: float
    p99: float
    max: float
    session_p50: float
    resident_mib: float


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """The parts themselves, one entry each in part order; every `step`-th of a long run."""

    step: int
    second: list[float]  # of the scheduled arrival, from the first one
    latency_ms: list[float]
    session_ms: list[float]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run. The fields up to `model_sha256` are what other tools rely on."""

    scenario: Scenario
    parts: int
    overruns: int
    overrun_rate: float
    overrun_rate_upper_95: float  # exact (Clopper-Pearson), one-sided
    latency_ms: Percentiles
    session_ms: Percentiles
    overhead_ms: Percentiles  # a part's latency minus its own session.run
    bare_session_ms: Bare
    ratio_p50: float | None  # latency p50 over bare session p50
    stages_ms: dict[str, Percentiles]
    host: Host
    provider: str
    threads: int
    model_sha256: str

    schema: int = SCHEMA
    started: str  # UTC, ISO 8601
    model: str
    precision: str
    frame_px: str  # of the first picture view, "512 x 512"
    plan: Plan
    complete: bool  # False: interrupted, and everything here is of the parts until then
    ended_by: str  # why the run ended when it did
    duration_s: float
    throughput_hz: float
    bare_throughput_hz: float  # 1000 / bare mean
    verdicts: int
    deadline_misses: int
    late_commands: int  # in the controller's own log
    faults: dict[str, int]
    conservation_errors: int
    commands: int
    acks: int
    counters: Counters
    timeline: list[Overrun]
    minutes: list[Minute]
    series: Series
    notes: list[str]  # what a reader of the figures must know


def save(path: Path, result: Result) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def load(path: Path) -> Result:
    """Read a result; ConfigError with one line where it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a result of edge bench: {error}") from None
