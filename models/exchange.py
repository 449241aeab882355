"""What a station and its engine worker say to each other: fixed records, no objects.

A request names a lease; the answer repeats it with a score, up to 64 regions and the worker's
stamps. Both travel over one SEQPACKET socket pair, so a record is whole or absent. The head is
packed by `struct` and not as a NumPy record: writing its fields one by one cost 0.1 ms a part
in a worker that had slept for 30 ms, with everything out of the caches.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge.core.config import TileOptions
from edge.core.types import Answer, Fault, Frame, Prediction, Region, Serving, Stamps
from models.decode import MAX_REGIONS, REGION

REQUEST = struct.Struct("<IQQ")  # slot, generation, part
# In place of a slot: no part yet, but one is due. The generation is then the instant, the part 0;
# what comes back is REHEARSED.
ALERT = 0xFFFF_FFFF

# The same for a look at picture `generation` of the golden set; what comes back is CHECKED.
CHECK = 0xFFFF_FFFE

# After FAILED one more message follows: all the words there are, as UTF-8.
ANSWER, READY, FAILED, REHEARSED, CHECKED = 0, 1, 2, 3, 4
MOST_WORDS = 32_768
FAULTS: tuple[Fault | None, ...] = (None, *Fault)  # a fault's number here; 0 is a prediction
FAULT_NUMBERS = {fault: number for number, fault in enumerate(FAULTS)}
_HEAD = struct.Struct("<IIQQIIIfqqqq200s")
_SENT, _SENT_AT = struct.Struct("<q"), struct.calcsize("<IIQQIIIfqqq")
RESULT_BYTES = _HEAD.size + MAX_REGIONS * REGION.itemsize


class Head(NamedTuple):
    """The fixed fields of a result, in order; detail is UTF-8 padded with zeros.

    READY says what the golden set showed: regions is how many pictures it has, score the largest
    difference to their reference scores, ended_ns the median time of one. CHECKED says in detail
    what is wrong with the picture.
    """

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

    def answer(self, frame: Frame | None, serving: Serving) -> Answer | None:
        """The answer on a frame; None if any field is not what a sane worker would send."""
        head = self.read()
        if frame is None or head.kind != ANSWER:
            return None
        lease = (head.part, head.slot, head.generation)
        if lease != lease_of(frame) or head.regions > MAX_REGIONS or head.fault >= len(FAULTS):
            return None
        outcome: Prediction | Fault
        if (named := FAULTS[head.fault]) is not None:
            outcome = named
        elif math.isfinite(head.score):
            try:
                regions = self.found(head.regions, serving.type_names)
            except IndexError:  # a type that its package has no name for
                return None
            outcome = Prediction(head.score, regions, bool(head.overflow))
        else:
            outcome = Fault.BAD_OUTPUT
        stamps = Stamps(head.received_ns, head.started_ns, head.ended_ns, head.sent_ns)
        return Answer(*lease, outcome, stamps, said(head.detail), serving)

    def found(self, count: int, type_names: tuple[str, ...]) -> tuple[Region, ...]:
        """The first so many regions; IndexError for a type without a name."""
        if not count:
            return ()
        names = ("", *type_names)
        rows = self.regions[:count].tolist()
        return tuple(
            Region(x, y, width, height, area_px, peak, names[kind])
            for x, y, width, height, area_px, peak, kind in rows
        )


def lease_of(frame: Frame) -> tuple[int, int, int]:
    """What names a lease in an answer: (part, slot, generation)."""
    return frame.part, frame.slot, frame.generation


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
    cache: str = ""  # folder of the provider's engines for this package; "": it has none
    gently: bool = False  # the line runs: the golden set is judged with pauses
    shadow: bool = False  # only ever compared: at the lowest priority, and leaves no map behind
    tiles: TileOptions | None = None  # the slots hold frames, to be judged in tiles
