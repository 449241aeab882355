"""One run of the real processes over a line's footage: station, engine worker, reference arm."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import msgspec

from edge import feed
from edge.children import arm_process
from edge.core.clock import NS_PER_S, SystemClock
from edge.core.config import (
    ControllerOptions,
    EngineOptions,
    FootageOptions,
    LimitOptions,
    Station,
)
from edge.core.errors import EdgeError
from edge.core.process import python_module
from edge.core.types import Action, PartRecord, Record
from edge.feed import FedEnd, FedEvent
from edge.replay import Label, Report, report
from edge.sim.line import Line
from edge.sim.station import FAILED, RECORDS, StationPlan, StationRun
from edge.sim.view import Watch
from models.package import Package

LOOK_EVERY_NS = NS_PER_S // 5
DEFAULT_SLOTS, MOST_SLOTS = 8, 256  # of a station file


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: parts of some footage, from its start, on a package on a provider."""

    path: Path
    label: Label
    split: str
    model: Package
    model_name: str
    provider: str
    threads: int
    margin_ms: float
    parts: int


class Applied(Record, frozen=True):
    """One line of the controller's own log: what it did with a part, when, and why.

    applied_ns is on the controller's clock, which here is the station's.
    """

    part: int
    action: Action
    cause: str
    applied_ns: int


class Driven(msgspec.Struct, frozen=True):
    """A finished run: the station's records, what the controller did, and the replay's report.

    stopped_ns: when the line stopped for a lost beat; None where it did not.
    """

    records: list[PartRecord]
    warnings: list[str]
    applied: dict[int, Applied]
    stopped_ns: int | None
    report: Report

    @property
    def told(self) -> dict[int, Action]:
        """The action that the machine took for each part."""
        return {part: done.action for part, done in self.applied.items()}


def drive(
    job: Job, line: Line, watch: Watch, *, lockstep: bool, budget_ms: float | None = None
) -> Driven:
    """Run the job's parts over the line, in real time or in lock-step; EdgeError if it cannot.

    budget_ms: the station's; the geometry's without.
    """
    with tempfile.TemporaryDirectory(prefix="edge-sim-") as name:
        folder = Path(name)
        arm_log = folder / "arm.jsonl"
        arm_log.touch()
        budget_ms = line.budget_ms if budget_ms is None else budget_ms
        station = station_of(job, line, f"ipc://{name}/station.ipc", budget_ms)
        rest = ("--rest", line.rest) + (("--line-stop",) if line.rest == "pass" else ())
        bind = station.controller.bind
        with arm_process(bind, arm_log, simulated=lockstep, options=rest):
            _station(folder, station, line, job.parts, lockstep, watch)
        run = msgspec.msgpack.decode((folder / RECORDS).read_bytes(), type=StationRun)
        applied, stopped_ns = read_arm_log(arm_log)
        scored = report(
            run.records,
            job.label,
            balance=run.balance,
            arm_log=arm_log,
            real_time=not lockstep,
            provider=job.provider,
            model_sha256=job.model.file_sha256,
        )
        return Driven(run.records, run.warnings, applied, stopped_ns, scored)


def station_of(job: Job, line: Line, bind: str, budget_ms: float) -> Station:
    """The station of a line, with slots for as many parts as may be open within its budget."""
    belt, open_parts = line.belt, int(budget_ms / 1000.0 * line.rate_hz)
    return Station(
        camera=FootageOptions(path=str(job.path), split=job.split),
        engine=EngineOptions(model=job.model_name, provider=job.provider, threads=job.threads),
        controller=ControllerOptions(bind=bind, at_counts=belt.counts(line.camera_to_gate_mm)),
        limits=LimitOptions.warnings(),  # nobody is there to let a held line go on
        budget_ms=budget_ms,
        margin_ms=job.margin_ms,
        slots=min(MOST_SLOTS, max(DEFAULT_SLOTS, 2 * open_parts)),
    )


def read_arm_log(arm_log: Path) -> tuple[dict[int, Applied], int | None]:
    """What the controller did with each part, and when it stopped the line, in its own words."""
    applied: dict[int, Applied] = {}
    stopped_ns: int | None = None
    with arm_log.open("rb") as lines:
        for line in lines:
            entry = msgspec.json.decode(line)
            if entry["event"] == "applied":
                done = msgspec.convert(entry, Applied)
                applied.setdefault(done.part, done)
            elif entry["event"] == "line_stop" and stopped_ns is None:
                stopped_ns = entry["at_ns"]
    return applied, stopped_ns


def _station(
    folder: Path, station: Station, line: Line, parts: int, lockstep: bool, watch: Watch
) -> None:
    """The station's process from its start to its end, watched."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        plan = StationPlan(
            folder=str(folder),
            station=station,
            line=line,
            parts=parts,
            lockstep=lockstep,
            fd=theirs.fileno(),
            parent_pid=os.getpid(),
        )
        process = subprocess.Popen(
            python_module("edge.sim.station", msgspec.json.encode(plan).decode()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(plan.fd,),
            process_group=0,
        )
        theirs.close()  # so that the feed ends when the station does
        try:
            _follow(ours, watch)
            if process.wait(timeout=10.0):
                raise EdgeError(f"the station ended early, exit code {process.returncode}")
        finally:
            process.kill()
            process.wait()


def _follow(link: socket.socket, watch: Watch) -> None:
    """Read the feed to its end, drawing in between; EdgeError where the station says why not.

    A few times a second and not with every part: woken by each, this process would take a
    processor from the one before it.
    """
    clock, link_ended = SystemClock(), False
    with watch:
        while not link_ended:
            clock.wait((), clock.now_ns() + LOOK_EVERY_NS, look_ns=0)
            while not link_ended and clock.wait((link.fileno(),), 0):
                match message := feed.read(link):
                    case None:
                        raise EdgeError("the station ended early, without a word")
                    case FedEnd():
                        link_ended = True
                    case FedEvent(kind=kind, detail=detail) if kind == FAILED:
                        raise EdgeError(detail)
                    case _:
                        feed.tell(message, watch)
            watch.draw(clock.now_ns())
