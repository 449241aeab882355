"""What a station and its engine worker say to each other: fixed records, no objects.

A request names a lease; the answer repeats it with a score, up to 64 regions and the worker's
stamps. Both travel over one SEQPACKET socket pair, so a record is whole or absent. The head is
packed by `struct` and not as a NumPy record: writing its fields one by one cost 0.1 ms a part
in a worker that had slept for 30 ms, with everything out of the caches.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.types import Fault
from models.decode import MAX_REGIONS, REGION

REQUEST = struct.Struct("<IQQ")  # slot, generation, part
# In place of a slot: no part yet, but one is due. The generation is then the instant, the part 0;
# what comes back is REHEARSED.
ALERT = 0xFFFF_FFFF

ANSWER, READY, FAILED, REHEARSED = 0, 1, 2, 3
FAULTS: tuple[Fault | None, ...] = (None, *Fault)  # a fault's number here; 0 is a prediction
FAULT_NUMBERS = {fault: number for number, fault in enumerate(FAULTS)}
_HEAD = struct.Struct("<IIQQIIIfqqqq200s")
_SENT, _SENT_AT = struct.Struct("<q"), struct.calcsize("<IIQQIIIfqqq")
RESULT_BYTES = _HEAD.size + MAX_REGIONS * REGION.itemsize


class Head(NamedTuple):
    """The fixed fields of a result, in order; detail is UTF-8 padded with zeros."""

    kind: int
    slot: int
    generation: int
    part: int
    fault: int = 0
    regions: int = 0
    overflow: int = 0
    score: float = float("nan")
    received_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    sent_ns: int = 0
    detail: bytes = b""


class Result:
    """The bytes of one result, written and read in place."""

    def __init__(self) -> None:
        self.data = bytearray(RESULT_BYTES)
        self.regions: npt.NDArray[Any] = np.frombuffer(self.data, REGION, offset=_HEAD.size)

    def write(self, head: Head) -> None:
        _HEAD.pack_into(self.data, 0, *head)

    def sent(self, now_ns: int) -> None:
        """Stamp what is written, last of all."""
        _SENT.pack_into(self.data, _SENT_AT, now_ns)

    def read(self) -> Head:
        return Head(*_HEAD.unpack_from(self.data))


def words(text: object) -> bytes:
    """One line of at most 200 bytes, for `detail`."""
    return " ".join(str(text).split()).encode()[:200]


def said(detail: bytes) -> str:
    """The line in a received `detail`, whatever bytes it holds."""
    return detail.rstrip(b"\0").decode(errors="replace")


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
    looks: bool = True  # for its next request before it sleeps; not on a box with one processor
    cpus: tuple[int, ...] = ()  # for the thread that judges; empty for any
    helper_cpus: tuple[int, ...] = ()  # for the session's other threads, one each; empty for any
