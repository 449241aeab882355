"""The processes of one latency run, followed from here: station, worker and controller.

This process sleeps while parts are open, and reads the station's reports in the pauses.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from bench.latency import arrivals, columns
from bench.latency.progress import Progress
from bench.latency.station import ENDING, ROWS, Ending, StationPlan, Told
from edge.children import arm_process
from edge.core.clock import NS_PER_S
from edge.core.errors import EdgeError
from edge.core.process import python_module

ARM_LOG = "arm.jsonl"
SILENCE_S = 600.0  # without a report the station hangs: a GPU's engine may build for minutes


class Driven(msgspec.Struct, frozen=True):
    """One run of the processes, as they left it."""

    rows: Any  # columns.Rows, warm-up included
    ending: Ending
    late_commands: int
    ended_by: str
    complete: bool
    counted: dict[str, Any]  # what the meter found, by field of result.Counters
    ended: tuple[str, ...]  # processes that were not there any more
    resident_mib: dict[int, float]  # the loop's process, by minute of the run


class Watch:
    """Follows one station; SIGINT and SIGTERM end its run in good order."""

    def __init__(self, plan: StationPlan, length: arrivals.Length, say: Progress) -> None:
        self._plan, self._length, self._say = plan, length, say
        self._file = columns.Follower(Path(plan.folder) / ROWS)
        self._signals = 0
        self._warm_ns = self._warm_parts = 0
        self._meter: Any = None
        self.counted: dict[str, Any] = {}
        self.resident_mib: dict[int, float] = {}
        self.ended: tuple[str, ...] = ()
        self.ended_by, self.complete = "", True

    def follow(self, station: subprocess.Popen[bytes], arm_pid: int, link: socket.socket) -> None:
        """Until the station is over; EdgeError with its reason where it failed."""
        self._station, self._arm_pid = station, arm_pid
        link.settimeout(SILENCE_S + max((0.0, *self._plan.plan.gaps_s)))
        with self._signals_taken():
            while True:
                try:
                    data = link.recv(65536)
                except TimeoutError:
                    raise EdgeError(
                        "the station has not reported for 10 minutes: it hangs"
                    ) from None
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
                told = msgspec.json.decode(data, type=Told)
                self._hear(told, link)
                if told.kind == "over":
                    return
        if self._signals:  # it came before the station could take it
            raise KeyboardInterrupt
        raise EdgeError(f"the station ended with exit code {station.wait()}")

    def _hear(self, told: Told, link: socket.socket) -> None:
        match told.kind:
            case "failed":
                raise EdgeError(told.error)
            case "warm":
                self._warm_ns, self._warm_parts = told.at_ns, told.parts
                self._begin()
            case "progress":
                self._progress(told)
            case "end":
                if self._meter is not None:
                    timed = max(1, told.parts - self._warm_parts)
                    self.counted = dict(self._meter.end(timed))
                    self.ended = self._meter.ended
                link.send(b"go")
            case "over":
                pass

    def _begin(self) -> None:
        if self._plan.allocations:
            return
        from bench.latency.box.counters import Meter

        pids = {"loop": self._station.pid, "controller": self._arm_pid}
        if worker := worker_of(self._station.pid):
            pids["worker"] = worker
        self._meter = Meter(pids)
        self._meter.begin()

    def _progress(self, told: Told) -> None:
        self._say.take(self._file.new())
        if not self._warm_ns:
            return
        seconds = (told.at_ns - self._warm_ns) / NS_PER_S
        minute = int(seconds // 60)
        found = resident_mib(self._station.pid)
        self.resident_mib[minute] = max(found, self.resident_mib.get(minute, 0.0))
        self._say.show(seconds)
        timed, overruns = self._say.parts, self._say.overruns
        if self._length.reached(timed, seconds):
            self._stop(f"{self._length.words()} have passed")
        elif hopeless := arrivals.hopeless(timed, overruns):
            self._stop(hopeless)

    def _stop(self, why: str) -> None:
        if not self.ended_by:
            self.ended_by = why
            self._station.send_signal(signal.SIGTERM)

    @contextmanager
    def _signals_taken(self) -> Iterator[None]:
        before = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        """The first one lets the open parts finish, the second ends everything at once."""
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt
        self.complete = False
        self.ended_by = ""
        self._stop(f"interrupted by {signal.Signals(signum).name}")


def drive(plan: StationPlan, length: arrivals.Length, say: Progress) -> Driven:
    """Run a station and its controller to the end; the files stay in the plan's folder."""
    folder = Path(plan.folder)
    (folder / ARM_LOG).touch()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    plan = msgspec.structs.replace(plan, fd=fd, parent_pid=os.getpid())
    command = python_module("bench.latency.station", msgspec.json.encode(plan).decode())
    watch = Watch(plan, length, say)
    with ours, arm_process(plan.station.controller.bind, folder / ARM_LOG) as arm:
        station = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(fd,), process_group=0
        )
        theirs.close()
        try:
            watch.follow(station, arm.pid, ours)
            station.wait(timeout=10.0)
        finally:
            station.kill()
            station.wait()
    ended_by = watch.ended_by or f"all {length.words()} of the plan have come"
    return Driven(
        rows=columns.read(folder / ROWS),
        ending=msgspec.json.decode((folder / ENDING).read_bytes(), type=Ending),
        late_commands=late_commands(folder / ARM_LOG),
        ended_by=ended_by,
        complete=watch.complete,
        counted=watch.counted,
        ended=watch.ended,
        resident_mib=watch.resident_mib,
    )


def late_commands(arm_log: Path) -> int:
    """edge.replay.late_commands, in memory that does not grow with the log."""
    late = 0
    decode = msgspec.json.Decoder(_Applied).decode
    with arm_log.open("rb") as lines:
        for line in lines:
            entry = decode(line)
            if entry.event == "applied" and entry.action in ("accept", "rework"):
                late += entry.applied_ns > entry.act_by_ns
    return late


class _Applied(msgspec.Struct):
    """The fields of a line of the arm's log that matter here."""

    event: str
    action: str = ""
    applied_ns: int = 0
    act_by_ns: int = 0


def worker_of(station_pid: int) -> int | None:
    """The engine worker that serves: the station's child that was not started gently."""
    found: list[tuple[bool, int]] = []
    for folder in Path(f"/proc/{station_pid}/task").glob("*"):
        with suppress(OSError):
            for pid in (folder / "children").read_text().split():
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"models.worker" in words:
                    found.append((b"models.gentle" in words, int(pid)))
    return min(found)[1] if found else None


def resident_mib(pid: int) -> float:
    """What a process keeps in memory; 0 once it is gone."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0
