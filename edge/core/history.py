"""What a station tells its historian, and what it hears back: the vocabulary of the records.

The historian (edge/historian) is another process, so every message is a msgpack struct. Instants
end in `_ns` and are on the station's clock; `utc_ns` is the historian's to add.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.core.config import RecordingOptions, RecordsOptions
from edge.core.types import Deadline, PartRecord, ViewSpec

# What became of a part's picture: in footage or evidence it may be looked at; `lost` was wanted
# and could not be taken without touching the line; `none` never came or was not wanted.
Picture = Literal["kept", "lost", "none"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a station: what ran. Every record belongs to one.

    session is the wire's random number. started_ns and started_utc_ns are the same instant, on the
    station's clock and in UTC. settings are the station file's values by dotted name: where one
    differs from the session before, that is a `change` event. versions holds what decisions may
    depend on: python, edge, numpy, opencv, onnxruntime. virtual: the clock was a replay's.
    """

    session: int
    station: str
    started_ns: int
    started_utc_ns: int
    who: str
    package: str
    content_sha256: str
    file_sha256: str
    views: tuple[ViewSpec, ...]
    provider: str
    threads: int
    precision: str
    pass_below: float
    fail_from: float
    cpu: str
    instruction_sets: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    settings: dict[str, str] = {}
    options: str = ""  # the whole station file as JSON, by which a replay builds the same station
    lot: str = ""
    map_shape: tuple[int, int] | None = None
    cell_px: int = 0
    virtual: bool = False


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A part's trigger, told before anything is known of it."""

    part: int
    number: int
    encoder: int | None
    deadline: Deadline
    truth: str = ""  # good | defect, where the source knows
    defect_type: str = ""


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """Everything of a finished part.

    slot and generation: where its views lie in the pool until the historian lets the slot go;
    slot is -1 where picture is not "kept".
    """

    record: PartRecord
    picture: Picture = "none"
    slot: int = -1
    generation: int = 0


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """Anything else worth a line; `done` and `confirm` of a part come this way too."""

    kind: str
    part: int
    detail: str
    at_ns: int


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """A person, or a new session, changed something that decides about parts."""

    what: str
    who: str
    old: str
    new: str
    reason: str
    at_ns: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The station has finished its parts and says so; without one it was lost."""

    at_ns: int
    triggers: int
    decided: int
    errors: int


Told = Opened | Closed | Noted | Changed | Ended


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A message with its place in the session, from 1 without gaps; told again until committed."""

    number: int
    told: Told


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The historian has its files open; up to this number it has everything on disk already."""

    number: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The historian cannot work at all: why, in one line for a person."""

    error: str


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """Everything up to this number is on disk, synchronously."""

    number: int


class Checkpointed(msgspec.Struct, frozen=True, tag="checkpointed"):
    """A checkpoint was signed: for the station to publish. hash and signature are hex."""

    event: int
    hash: str
    signature: str


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """Something of the historian's own that people must hear of, such as a full disk."""

    kind: str
    detail: str


Heard = Started | Refused | Committed | Checkpointed | Trouble


class HistorianPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a historian is told on its command line."""

    session: Session
    records: RecordsOptions
    recording: RecordingOptions
    pool_fd: int
    slots: int
    socket_fd: int
    parent_pid: int
