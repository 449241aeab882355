"""What a station and its engine worker say to each other: fixed records, no objects.

A request names a lease; the answer repeats it with a score, up to 64 regions and the
worker's stamps. Both travel over one SEQPACKET socket pair, so a record is whole or absent.
"""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.types import Fault
from models.decode import MAX_REGIONS, REGION

REQUEST = struct.Struct("<IQQ")  # slot, generation, part

ANSWER, READY, FAILED = 0, 1, 2
FAULTS = (None, *Fault)  # a fault's number on the wire; 0 is a prediction

RESULT = np.dtype(
    [
        ("kind", "<u4"),
        ("slot", "<u4"),
        ("generation", "<u8"),
        ("part", "<u8"),
        ("fault", "<u4"),
        ("count", "<u4"),
        ("overflow", "<u4"),
        ("score", "<f4"),
        ("received_ns", "<i8"),
        ("started_ns", "<i8"),
        ("ended_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("detail", "S200"),
        ("regions", REGION, MAX_REGIONS),
    ]
)


def result_record() -> tuple[bytearray, npt.NDArray[np.void]]:
    """The bytes of one result, and a record array of length 1 that reads and writes them."""
    data = bytearray(RESULT.itemsize)
    return data, np.frombuffer(data, RESULT)


class WorkerPlan(msgspec.Struct, frozen=True):
    """All a worker is told at birth, as one JSON argument."""

    package: str
    file_sha256: str
    provider: str
    threads: int
    slots: int
    pool_fd: int
    socket_fd: int
    parent_pid: int
