"""The station of a simulated line: the real loop, engine and socket on footage, parts evenly apart.

python -m edge.sim.station PLAN     (started by edge/sim/drive.py)

A process of its own, so that neither the display nor the sums can make a part late. Its feed is
for the display, which may miss some of it; its records are in a file at the end, all of them.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import msgspec

from edge import app, realtime
from edge.announce import Fanout
from edge.core.clock import SystemClock, VirtualClock
from edge.core.config import FootageOptions, Station
from edge.core.errors import EdgeError, FootageError
from edge.core.ledger import Balance
from edge.core.ports import Recorder
from edge.core.process import die_with_parent
from edge.core.types import PartRecord, ViewSpec
from edge.feed import Feed
from edge.loop import inspect
from edge.replay import Journal
from edge.sim.line import Line
from models import package
from sensors.footage import open_footage
from sensors.scheduled import Label, Reader, Rows

RECORDS = "records.msgpack"
FAILED = "sim_failed"  # the event whose detail is the one line of an EdgeError


class StationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the station's process is told; its camera is footage.

    lockstep: as fast as it goes on a virtual clock. parts: of the footage, from its start.
    """

    folder: str
    station: Station
    line: Line
    parts: int
    lockstep: bool
    fd: int
    parent_pid: int


class StationRun(msgspec.Struct, frozen=True):
    """What the station leaves in its folder: every record, and the lines worth a warning."""

    records: list[PartRecord]
    balance: Balance
    warnings: list[str]


class OnBelt:
    """The first of some rows as the belt brings them, whatever times they have of their own."""

    def __init__(self, rows: Rows, line: Line, parts: int) -> None:
        self._rows, self._belt, self._parts = rows, line.belt, parts

    @property
    def parts(self) -> int:
        return self._parts

    def arrival_ns(self, row: int) -> int:
        return self._belt.arrival_ns(row)

    def label(self, part: int) -> Label | None:
        return self._rows.label(part)

    def defect_type(self, part: int) -> str:
        return self._rows.defect_type(part)

    def encoder(self, row: int) -> int | None:
        return self._belt.counts(row * self._belt.spacing_mm)

    def reader(self) -> Reader:
        return self._rows.reader()


def opened(path: Path, split: str, views: tuple[ViewSpec, ...]) -> tuple[Rows, int]:
    """Footage, or a recording (.mcap), for these views, and how many parts it has.

    FootageError where it cannot be used.
    """
    footage = open_footage(path, split=split, views=views)
    if not len(footage):
        raise FootageError(f"{path}: holds no parts")
    return footage, len(footage)


def main(plan_json: str) -> None:
    """Run the station of a plan to the end of its parts."""
    plan = msgspec.json.decode(plan_json, type=StationPlan)
    die_with_parent(plan.parent_pid)
    with socket.socket(fileno=plan.fd) as link:
        feed = Feed(link)
        warnings: list[str] = []
        journal = Journal(warnings.append)
        try:
            balance = _run(plan, Fanout(journal, feed))
            journal.finish()
        except EdgeError as error:  # process boundary: the parent says it
            feed.event(FAILED, 0, str(error)[:4000])
            return
        run = StationRun(journal.records, balance, warnings)
        (Path(plan.folder) / RECORDS).write_bytes(msgspec.msgpack.encode(run))
        feed.end(balance)


def _run(plan: StationPlan, recorder: Recorder) -> Balance:
    station, camera = plan.station, plan.station.camera
    assert isinstance(camera, FootageOptions)
    model = package.find(station.engine.model)
    there, _ = opened(Path(camera.path), camera.split, model.manifest.views)
    clock = VirtualClock() if plan.lockstep else SystemClock()
    rows = OnBelt(there, plan.line, plan.parts)
    with (
        realtime.sliced(station.realtime),
        app.rigged(
            station,
            model,
            recorder,
            clock,
            app.scheduled(rows, clock, lockstep=plan.lockstep),
            lockstep=plan.lockstep,
        ) as rig,
        realtime.tuned(station.realtime),
    ):
        return inspect(rig.inspection, lambda: False)


if __name__ == "__main__":
    main(sys.argv[1])
