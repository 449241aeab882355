"""A run's parts as one file of fixed rows, written while no part is open.

The station's memory stays as it was however long it runs, and what was written until then is
there even if it dies.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.core.types import Cause, Fault, PartRecord
from edge.stats import is_deadline_miss, is_overrun

FIELDS = (
    *("part", "trigger_ns", "frame_ns", "received_by_worker_ns", "started_ns", "ended_ns"),
    *("answered_by_worker_ns", "answered_ns", "decided_ns", "sent_ns", "received_ns", "acked_ns"),
    *("command_id", "verdict", "miss", "overrun", "fault"),
)
FAULTS = tuple(Fault)  # the column holds the place in it, from 1; 0 for none
BUFFERED = 4096  # rows; written at the latest when so many have come without a pause

Rows = npt.NDArray[np.void]
_ROW = struct.Struct(f"={len(FIELDS)}q")
ROW_TYPE = np.dtype([(name, np.int64) for name in FIELDS])
_FAULT_NUMBERS = {fault: number for number, fault in enumerate(FAULTS, start=1)}


class Writer:
    """Takes records into a buffer made once; `flush` appends them to the file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._buffer = bytearray(_ROW.size * BUFFERED)
        self._view = memoryview(self._buffer)
        self._rows = 0
        self.parts = 0

    def part(self, record: PartRecord) -> None:
        if self._rows == BUFFERED:
            self.flush()
        stamps, decision = record.stamps, record.decision
        fault = decision.fault
        _ROW.pack_into(
            self._buffer, self._rows * _ROW.size,
            record.part, record.deadline.trigger_ns, record.frame_ns,
            stamps.received_ns, stamps.started_ns, stamps.ended_ns, stamps.sent_ns,
            record.answered_ns, record.decided_ns, record.sent_ns,
            record.received_ns, record.acked_ns, record.command_id,
            decision.cause is Cause.VERDICT and record.received_ns > 0,
            is_deadline_miss(record), is_overrun(record),
            0 if fault is None else _FAULT_NUMBERS[fault],
        )  # fmt: skip
        self._rows += 1
        self.parts += 1

    def flush(self) -> None:
        os.write(self._fd, self._view[: self._rows * _ROW.size])
        self._rows = 0

    def close(self) -> None:
        self.flush()
        os.close(self._fd)


class Follower:
    """Reads the file while it grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows = path, 0

    def new(self) -> Rows:
        """The rows that came since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._rows * _ROW.size)
            rows = np.frombuffer(_whole(file.read()), ROW_TYPE)
        self._rows += len(rows)
        return rows


def read(path: Path) -> Rows:
    """Every row of a file; a last one that was not written whole is left out."""
    return np.frombuffer(_whole(path.read_bytes()), ROW_TYPE)


def _whole(data: bytes) -> bytes:
    return data[: len(data) // _ROW.size * _ROW.size]


def latency_ms(rows: Rows) -> npt.NDArray[np.float64]:
    """Trigger to command received, of rows whose command was received."""
    span: npt.NDArray[np.float64] = (rows["received_ns"] - rows["trigger_ns"]) / 1e6
    return span
