"""What a station tells its historian, and what it hears back: the vocabulary of the records.

The historian (edge/historian) is another process, so every message is a msgpack struct. Instants
end in `_ns` and are on the station's clock; `utc_ns` is the historian's to add.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Literal

import msgspec

from edge.core.config import RecordingOptions, RecordsOptions
from edge.core.types import Deadline, PartRecord, Record, Serving, ViewSpec

# What became of a part's picture: in footage or evidence it may be looked at; `lost` was wanted
# and could not be taken without touching the line; `none` never came or was not wanted.
Picture = Literal["kept", "lost", "none"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a station: what ran. Every record belongs to one.

    package to fail_from, map_threshold and type_names are what served as it began; a part that
    something else served says so itself (`Swapped`). session is the wire's random number.
    started_ns and started_utc_ns are the same instant, on the station's clock and in UTC. settings
    are the station file's values by dotted name: where one differs from the session before, that is
    a `change` event. versions holds what decisions may depend on: python, edge, numpy, opencv,
    onnxruntime. virtual: the clock was a replay's.
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
    version: str = ""  # of the package; "" in what was written before parts named theirs
    map_threshold: float | None = None
    type_names: tuple[str, ...] = ()
    mm_per_px: float = 0.0  # the station's scale, of the first picture view; 0: it has none


class Swapped(Record, frozen=True, omit_defaults=True, kw_only=True):
    """What of a part's `Serving` is not as its session began with; None is as there.

    A million parts carry it after a swap, so it says no more than differs. A version is told with
    its digest.
    """

    package: str | None = None
    version: str | None = None
    content_sha256: str | None = None
    provider: str | None = None
    threads: int | None = None
    precision: str | None = None
    pass_below: float | None = None
    fail_from: float | None = None
    map_threshold: float | None = None
    type_names: tuple[str, ...] | None = None


_SWAPPED = tuple(name for name in Swapped.__struct_fields__ if name != "version")
_facts = attrgetter(*_SWAPPED)


def swapped(serving: Serving | None, session: Session) -> Swapped | None:
    """How what served a part differs from what its session began with; None where it does not.

    serving: None where nobody said; the session's own holds then.
    """
    if serving is None:
        return None
    now, began = _facts(serving), _facts(session)
    if now == began:
        return None
    told = {name: new for name, new, old in zip(_SWAPPED, now, began, strict=True) if new != old}
    if "content_sha256" in told:
        told["version"] = serving.version
    return Swapped(**told)


def served(told: Swapped | None, session: Session) -> Serving:
    """What served a part, from how it differs from what its session began with."""
    own = Serving(version=session.version, **dict(zip(_SWAPPED, _facts(session), strict=True)))
    if told is None:
        return own
    names = Swapped.__struct_fields__
    changed = {name: new for name in names if (new := getattr(told, name)) is not None}
    return msgspec.structs.replace(own, **changed)


def named(serving: Serving) -> str:
    """What serves, for a person: name, version, digest in short, provider."""
    name = f"{serving.package} {serving.version}".rstrip()
    return f"{name} ({serving.content_sha256[:12]}) on {serving.provider}"


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
