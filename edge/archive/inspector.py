"""The decision path of a station without the line: decode, engine worker, policy, one by one.

The camera's code fills the slot, the engine worker's own `judge` answers, and the policy decides;
what is left out is what brings no decision about: the loop's clock, the second process, and the
arm. It gives the decisions of `edge replay` at the same thread count, bit for bit. The
engine is warm before its first part and serves one item after another.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from control.policy import ThresholdPolicy
from edge.archive.identity import Settings
from edge.core.clock import SystemClock
from edge.core.config import PolicyOptions
from edge.core.pool import FramePool, Holder, View
from edge.core.types import Deadline, Fault, PartRecord, Prediction, Stamps
from models import package
from models.decode import use_one_thread
from models.exchange import FAULTS, WorkerPlan, said
from models.worker import Worker
from sensors.grabber import Filled, Grabber
from sensors.scheduled import Reader, Rows

_NEVER = Deadline(0, 0, 0)  # nothing waits for these parts


class Inspector:
    """One package on one provider in this process, warm; judges one part at a time."""

    def __init__(self, package_bytes: bytes, settings: Settings) -> None:
        """EngineError or PackageError where this machine cannot run the package."""
        # What the engine's threads leave is for other inspectors on this machine.
        use_one_thread()
        with tempfile.TemporaryDirectory(prefix="edge-archive-") as folder:
            file = Path(folder) / "package.onnx"
            file.write_bytes(package_bytes)
            loaded = package.load(file, content_sha256=settings.content_sha256)
            manifest = loaded.manifest
            self.views, self.limits = manifest.views, manifest.thresholds
            self._type_names = manifest.outputs.type_names
            self._pool = FramePool.create(manifest.views, 1, manifest.outputs.map_shape)
            mapped = os.dup(self._pool.fd)
            plan = WorkerPlan(
                package=str(file),
                file_sha256=loaded.file_sha256,
                provider=settings.provider,
                threads=settings.threads,
                slots=1,
                pool_fd=mapped,
                socket_fd=-1,
                parent_pid=os.getpid(),
                looks=False,
            )
            try:
                self._worker = Worker(plan)
            finally:
                os.close(mapped)  # the mapping stays
        self._grabber = Grabber(self._pool, SystemClock(), "edge-archive")  # its thread is not run
        limits = self.limits
        self._policy = ThresholdPolicy(limits.pass_below, limits.fail_from, PolicyOptions())
        self.detail = ""  # why the last part has no verdict

    def inspect(self, rows: Rows, *, first: int = 1) -> Iterator[PartRecord]:
        """Decide about every part of a footage; `first` is the number of its first part."""
        reader = rows.reader()
        try:
            for row in range(rows.parts or 0):
                yield self._part(row, first + row, reader)
        finally:
            reader.close()

    def last(self) -> tuple[Mapping[str, View], View | None]:
        """The last part's views, and its map if it had a score; in place until the next part."""
        return self._pool.arrays(0), self._pool.map(0)

    def close(self) -> None:
        """Let go of the frame pool."""
        self._grabber.close()
        self._pool.close()

    def _part(self, row: int, number: int, reader: Reader) -> PartRecord:
        part, stamps = row + 1, Stamps()
        self._grabber.fill(part, partial(reader.fill, row))
        event = self._grabber.take()
        outcome: Prediction | Fault = Fault.NO_IMAGE
        self.detail = getattr(event, "detail", "")
        if isinstance(event, Filled):
            try:
                outcome, stamps = self._judge(event)
            finally:
                self._pool.release(event.slot, Holder.PART)
        elif fault := getattr(event, "fault", None):
            outcome = fault
        decision = self._policy.decide(part, outcome)
        return PartRecord(part, number, _NEVER, decision, stamps=stamps, applied=decision.action)

    def _judge(self, lease: Filled) -> tuple[Prediction | Fault, Stamps]:
        """As the station reads a worker's answer."""
        try:
            head = self._worker.judge(lease.slot, lease.generation, lease.part)
        except Exception as error:  # as at the worker's own boundary: trouble of that part alone
            self.detail = str(error)
            return Fault.BAD_OUTPUT, Stamps()
        stamps = Stamps(head.received_ns, head.started_ns, head.ended_ns)
        self.detail = said(head.detail)
        if (fault := FAULTS[head.fault]) is not None:
            return fault, stamps
        if not math.isfinite(head.score):
            return Fault.BAD_OUTPUT, stamps
        regions = self._worker.result.found(head.regions, self._type_names)
        return Prediction(head.score, regions, bool(head.overflow)), stamps
