"""`edge bench`: the box, the bare model, the station on a schedule, and what it all comes to."""

from __future__ import annotations

import os
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.latency import arrivals, frames, reckon
from bench.latency.box.bare import measure
from bench.latency.box.binding import bound_slots
from bench.latency.box.host import probe
from bench.latency.drive import Driven, drive
from bench.latency.progress import Progress
from bench.latency.result import Bare, Counters, Host, Plan, Result, Scenario
from bench.latency.station import EVENTS_KEPT, StationPlan
from edge.core.bounds import upper_95
from edge.core.config import (
    ControllerOptions,
    EngineOptions,
    LimitOptions,
    PublishOptions,
    RecordingOptions,
    RecordsOptions,
    Station,
    SyntheticOptions,
)
from edge.core.errors import ConfigError
from models import package
from models.package import Package

SLOTS = 8  # of a station file that names none
DEFAULT_RATE_HZ = 20.0
MOST_GAP_S = 3600.0
ALLOCATION_PARTS, ALLOCATION_WARM_UP = 1000, 300
ALLOCATIONS_FROM = 1000  # timed parts: a shorter run is a look, and gets no second one


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One run as a person asks for it."""

    model: str
    plan: Plan
    provider: str = "cpu"
    threads: int | None = None  # None: as a station file that names none
    footage: Path | None = None
    allocations: bool | None = None  # None: where the run has ALLOCATIONS_FROM parts
    warm_up: int = arrivals.WARM_UP


def run(asked: Asked, console: Console) -> Result:
    """Do it all and return the result; `complete` is False where a person ended it early.

    EdgeError before anything is timed where the run as asked for cannot mean anything.
    """
    if not asked.model:
        raise ConfigError(f"--model: missing; a package file, or one of: {_zoo()}")
    model = package.find(asked.model)
    length = arrivals.length(asked.plan)
    shown = frames.frames(model, asked.footage)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Progress(console, warm_up=asked.warm_up, of=length.parts) as say:
        say.say(f"{asked.plan.scenario}, {model.manifest.name}: {length.words()}")
        say.say(f"{len(shown.parts)} pictures: {shown.source}")
        host = probe()
        bare = measure(model, asked.provider, shown.parts)
        check_rate(asked.plan, bare)
        say.say(f"session.run alone: p50 {bare.p50:.2f} ms, p99 {bare.p99:.2f} ms")
        driven = _driven(asked, model, shown, length, say)
        counted = driven.counted | _counters(asked, model, shown, driven)
        notes = _notes(asked, shown, driven)
        if driven.complete and _wants_allocations(asked, driven):
            say.say(f"memory: {ALLOCATION_PARTS} further parts, traced and not timed")
            counted |= _kept(_traced(asked, model, shown), notes)
    return _result(asked, model, started, host, bare, driven, counted, notes)


def planned(
    scenario: Scenario,
    *,
    rate_hz: float | None = None,
    parts: int | None = None,
    minutes: float | None = None,
    arrivals: Path | None = None,
    gaps: str = "",
    burst: int = 1,
    seed: int = 1,
    standby: bool = True,
    keep: Path | None = None,
) -> Plan:
    """The plan of a run's options; ConfigError where they contradict each other.

    gaps: seconds with commas between them.
    """
    plan = Plan(
        scenario=scenario,
        rate_hz=rate_hz,
        parts=parts,
        minutes=minutes,
        arrivals="" if arrivals is None else str(arrivals),
        gaps_s=_gaps(gaps),
        burst=burst,
        seed=seed,
        standby=standby,
        keep=str(keep or ""),
    )
    check(plan)
    paced = scenario in ("constant", "server") and not plan.arrivals
    if paced and rate_hz is None:
        return msgspec.structs.replace(plan, rate_hz=DEFAULT_RATE_HZ)
    return plan


def _gaps(text: str) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        gaps = tuple(float(gap) for gap in text.split(","))
    except ValueError:
        gaps = ()
    if not gaps or not all(0.0 < gap <= MOST_GAP_S for gap in gaps):
        raise ConfigError(
            f"--gaps {text}: allowed: seconds above 0 and at most {MOST_GAP_S:g}, as 1,5,10,30"
        )
    return gaps


def check(plan: Plan) -> None:
    """ConfigError where options contradict each other."""
    if plan.parts is not None and plan.minutes is not None:
        raise ConfigError("--parts and --minutes are two answers to one question; give one")
    if plan.scenario in ("single", "offline") and plan.rate_hz is not None:
        raise ConfigError(
            f"--rate: {plan.scenario} has none, the station sets its pace; "
            "allowed with: constant | server"
        )
    given = [
        name
        for name, value in (
            ("--arrivals", plan.arrivals),
            ("--gaps", plan.gaps_s),
            ("--burst", plan.burst > 1),
        )
        if value
    ]
    if given and plan.scenario != "constant":
        raise ConfigError(f"{given[0]}: allowed with: constant; not with {plan.scenario}")
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]}: give one of them")
    if plan.arrivals and plan.rate_hz is not None:
        raise ConfigError("--rate: the recorded arrivals set the pace")


def check_rate(plan: Plan, bare: Bare) -> None:
    """ConfigError for a rate that session.run alone could not keep up with."""
    rate_hz, most_hz = arrivals.mean_rate_hz(plan), 1000.0 / bare.p50
    if rate_hz is None or rate_hz <= most_hz:
        return
    what = (
        f"--arrivals {plan.arrivals}: {rate_hz:.4g} parts/s"
        if plan.arrivals
        else (f"--rate {rate_hz:g}")
    )
    raise ConfigError(
        f"{what}: above what this box can do; session.run alone takes {bare.p50:.2f} ms, "
        f"so at most {most_hz:.4g} parts/s"
    )


def station_of(asked: Asked, folder: Path, pictures: int) -> Station:
    """The station as it would run a line: everything that a station file leaves out is default."""
    keep = asked.plan.keep
    engine = EngineOptions(model=asked.model, provider=asked.provider, standby=asked.plan.standby)
    if asked.threads is not None:
        engine = msgspec.structs.replace(engine, threads=asked.threads)
    return Station(
        camera=SyntheticOptions(),
        engine=engine,
        name=f"bench-{os.getpid()}",
        slots=max(SLOTS, pictures, 2 * asked.plan.burst),  # each picture lies in its own
        controller=ControllerOptions(bind=f"tcp://127.0.0.1:{_free_port()}"),
        publish=PublishOptions(bind=f"ipc://{folder}/p.ipc" if asked.plan.publish else ""),
        limits=LimitOptions.warnings(),  # a measurement stops no line
        records=RecordsOptions(path=f"{keep}/records.db" if keep else ""),
        recording=RecordingOptions(path=f"{keep}/footage" if keep else "", keep="all"),
    )


def _zoo() -> str:
    return ", ".join(sorted(package.zoo_index()))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _driven(
    asked: Asked,
    model: Package,
    shown: frames.Frames,
    length: arrivals.Length,
    say: Progress,
    *,
    allocations: bool = False,
) -> Driven:
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name:
        folder = Path(name)
        frames.save(folder, shown)
        plan = StationPlan(
            folder=name,
            station=station_of(asked, folder, len(shown.parts)),
            plan=asked.plan,
            parts=length.parts,
            warm_up=asked.warm_up,
            allocations=allocations,
            fd=-1,
            parent_pid=os.getpid(),
        )
        return drive(plan, length, say)


def _wants_allocations(asked: Asked, driven: Driven) -> bool:
    if asked.allocations is not None:
        return asked.allocations
    return len(driven.rows) - asked.warm_up >= ALLOCATIONS_FROM


def _traced(asked: Asked, model: Package, shown: frames.Frames) -> Driven:
    """What the station's process keeps in memory of 1,000 parts, in a run of its own.

    One part at a time, whatever the scenario: tracing makes everything slower.
    """
    plan = Plan(scenario="single", parts=ALLOCATION_PARTS, standby=False)
    again = msgspec.structs.replace(asked, plan=plan, warm_up=ALLOCATION_WARM_UP)
    with Progress(Console(quiet=True), warm_up=0, of=None) as quiet:
        length = arrivals.length(plan)
        return _driven(again, model, shown, length, quiet, allocations=True)


def _kept(traced: Driven, notes: list[str]) -> dict[str, Any]:
    """The counters of a traced run; a person may end it, and the timed one stands."""
    if not traced.complete or traced.ending.allocated is None:
        notes.append("memory was not traced to the end: interrupted")
        return {}
    if traced.ending.allocated.blocks:
        notes += [f"grew: {line}" for line in traced.ending.kept_at]
    names = ("kept_blocks", "kept_bytes", "frame_sized_blocks")
    return dict(zip(names, traced.ending.allocated, strict=True))


def _result(
    asked: Asked,
    model: Package,
    started: str,
    host: Host,
    bare: Bare,
    driven: Driven,
    counted: dict[str, Any],
    notes: list[str],
) -> Result:
    rows = driven.rows[driven.rows["part"] > asked.warm_up]
    parts, overruns = len(rows), int(rows["overrun"].sum())
    figures = reckon.timed(rows, driven.ending.events, driven.resident_mib)
    latency, engine = figures.latency_ms, station_of(asked, Path(), 0).engine
    view = model.manifest.picture()
    return Result(
        scenario=asked.plan.scenario,
        parts=parts,
        overruns=overruns,
        overrun_rate=overruns / parts if parts else 0.0,
        overrun_rate_upper_95=upper_95(overruns, parts) if parts else 1.0,
        latency_ms=latency,
        session_ms=figures.session_ms,
        overhead_ms=figures.overhead_ms,
        bare_session_ms=bare,
        ratio_p50=latency["p50"] / bare.p50 if latency else None,
        stages_ms=figures.stages_ms,
        host=host,
        provider=asked.provider,
        threads=engine.threads,
        model_sha256=model.file_sha256,
        started=started,
        model=model.manifest.name,
        precision=model.manifest.precision,
        frame_px=" x ".join(map(str, view.shape[1::-1])),
        plan=asked.plan,
        complete=driven.complete,
        ended_by=driven.ended_by,
        duration_s=figures.duration_s,
        throughput_hz=figures.throughput_hz,
        bare_throughput_hz=1000.0 / (bare.mean or bare.p50),
        verdicts=int(rows["verdict"].sum()),
        deadline_misses=int(rows["miss"].sum()),
        late_commands=driven.late_commands,
        faults=figures.faults,
        conservation_errors=driven.ending.balance.errors,
        commands=int((rows["command_id"] > 0).sum()),
        acks=int((rows["acked_ns"] > 0).sum()),
        counters=_counters_of(counted),
        timeline=figures.timeline,
        minutes=figures.minutes,
        series=figures.series,
        notes=notes,
    )


def _counters(asked: Asked, model: Package, shown: frames.Frames, driven: Driven) -> dict[str, Any]:
    """What is known of result.Counters besides what the meter found."""
    station = station_of(asked, Path(), len(shown.parts))
    return {
        "collections": driven.ending.collections,
        "bytes_copied_a_part": 0,  # each picture stays in a slot of its own
        "pointers_checked": bound_slots(
            model, asked.provider, station.engine.threads, shown.parts, station.slots
        ),
    }


def _counters_of(found: dict[str, Any]) -> Counters:
    """A run that ended before its warm-up did was not metered: zeros."""
    zeros = {field.name: 0 for field in msgspec.structs.fields(Counters) if field.required}
    return Counters(**zeros | found)


def _notes(asked: Asked, shown: frames.Frames, driven: Driven) -> list[str]:
    notes = [
        f"pictures: {len(shown.parts)} in turn, {shown.source}; each lies in a slot of its own "
        "from before the run: no camera's exposure, transfer or copy is in these figures",
        f"{asked.warm_up} parts before the timed ones are in no figure but conservation",
    ]
    if asked.plan.scenario == "offline":
        notes.append(
            f"offline keeps {arrivals.OPEN} parts open, so a part's latency holds a wait for others"
        )
    if not driven.complete:
        notes.append("interrupted: these figures are of the parts until then")
    if lost := driven.ending.events_lost:
        notes.append(f"{lost} events beyond the first {EVENTS_KEPT} were not kept")
    if int(driven.rows["overrun"].sum()) > reckon.MOST_OVERRUNS:
        notes.append(f"the timeline holds the first {reckon.MOST_OVERRUNS} overruns")
    for name in driven.ended:
        notes.append(f"the {name} process ended during the run: its counters stop there")
    if unacked := driven.ending.balance.unacked:
        notes.append(f"{unacked} parts were closed without an ack, warm-up included")
    return notes
