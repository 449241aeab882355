"""Everything a shift report says, as figures: frozen, bounded in size, JSON by msgspec.

The words are ARCHITECTURE's. What became of a part is what the controller did with it:

    accepted    it left as good
    rejected    sorted out by an on-time verdict
    reworked    sent to rework by one
    held        set aside by one
    defaulted   no verdict in time, or the controller did not do what it was told in time
    lost        its station was lost before the part was finished

Instants ending in `_utc_ns` are nanoseconds since 1970 in UTC; 0 where there is none.
"""

from __future__ import annotations

import msgspec

from edge.core.regions import SizedRegion

KINDS = ("accepted", "rejected", "reworked", "held", "defaulted", "lost")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A count among others; each bound alone holds with 95 % confidence (Clopper-Pearson)."""

    count: int
    of: int
    share: float
    lower_95: float
    upper_95: float


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Parts by what became of them. overruns and deadline_misses are edge/stats.py's.

    picture_overruns: of the overruns, those of a picture that could not be judged, and nothing
    was late.
    """

    parts: int = 0
    accepted: int = 0
    rejected: int = 0
    reworked: int = 0
    held: int = 0
    defaulted: int = 0
    lost: int = 0
    overruns: int = 0
    picture_overruns: int = 0
    deadline_misses: int = 0


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of milliseconds, by nearest rank, to 0.01 ms."""

    parts: int
    p50: float
    p90: float
    p99: float
    max: float


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the shift: its first instant, its parts, and the faults among them."""

    start_utc_ns: int
    counts: Counts
    latency_ms: Percentiles | None
    faults: dict[str, int]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Parts whose truth is known: defect = caught + escapes + held_defect + defaulted_defect.

    good = passed + overkill + held_good + defaulted_good; a lost part counts as defaulted.
    """

    good: int
    defect: int
    passed: int
    overkill: int
    held_good: int
    defaulted_good: int
    caught: int
    escapes: int
    held_defect: int
    defaulted_defect: int
    detection: Rate | None
    escape_rate: Rate | None
    overkill_rate: Rate | None


class DefectType(msgspec.Struct, frozen=True, kw_only=True):
    """Defective parts of one type: known ones, and of unknown truth those that failed."""

    name: str
    parts: int
    caught: int
    escapes: int
    held: int
    defaulted: int


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts by series between edges; one count fewer than edges in each series."""

    edges: tuple[float, ...]
    series: dict[str, tuple[int, ...]]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What judged how many parts. limits: the scores pass_below and fail_from.

    counts and latency_ms: of these parts, where something else judged others; else None.
    """

    package: str
    content_sha256: str
    provider: str
    limits: tuple[float, ...]
    parts: int
    counts: Counts | None = None
    latency_ms: Percentiles | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Trigger to command received, of parts with a verdict on a real clock; milliseconds.

    budget_ms: the smallest and the largest (act_by - trigger), or the only one.
    """

    overall_ms: Percentiles
    budget_ms: tuple[float, ...]
    histogram: Histogram


class Conservation(msgspec.Struct, frozen=True, kw_only=True):
    """The counts that must agree, and what is known to be wrong with them."""

    triggers: int
    decisions: int
    commands: int
    acks: int
    missing_numbers: int  # trigger numbers of the source that no part has
    otherwise: int  # the controller did something else than it was commanded
    failed: int  # movements that the controller says have failed
    left_otherwise: int  # seen to leave another way than the controller sent them
    late_verdicts: int  # came after decide_by and were not sent
    errors: int  # broken rules that the station itself noted
    broken: tuple[str, ...]  # the first of them, in its words


class Sitting(msgspec.Struct, frozen=True, kw_only=True):
    """A session as far as it lies in the period. `end`: ended | lost | open, "" for unknown.

    said: triggers, decisions and conservation errors by the station's own last count.
    """

    session: int
    station: str = ""
    who: str = ""
    started_utc_ns: int = 0
    lots: tuple[str, ...] = ()
    parts: int = 0
    end: str = ""
    said: tuple[int, int, int] | None = None
    virtual: bool = False
    facts: dict[str, str] = {}  # processor, engine and versions, as text


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what, and when."""

    utc_ns: int
    who: str
    what: str
    old: str
    new: str
    reason: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The last signed checkpoint; hash and public key in hex."""

    event: int
    hash: str
    utc_ns: int
    public_key: str


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the chain of events when the page was made; the hash in hex.

    removed: parts that retention has taken out of the whole database, the oldest ones.
    """

    head_event: int
    head_hash: str
    checkpoint: Checkpoint | None
    removed: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A part worth looking at. evidence is the name of its picture, "" where it has none."""

    why: str
    session: int
    part: int
    utc_ns: int
    lot: str
    kind: str
    verdict: str
    score: float | None
    fault: str
    truth: str
    defect_type: str
    evidence: str
    regions: tuple[SizedRegion, ...]  # in pixels of that picture, worst first


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one report. since and until are what was asked, 0 and 0 for everything.

    Lists of what has no natural bound are cut: sittings and changes to the latest, escaped to the
    first, the others to the largest; left_out says by field how many are missing.
    """

    schema: int = 1
    records: str  # the database's file name
    since_utc_ns: int
    until_utc_ns: int
    lot: str
    package: str = ""  # a name, or the first digits of a digest; as asked
    utc_offset_s: int  # of every time that the page writes
    first_utc_ns: int
    last_utc_ns: int
    step_s: int
    total: Counts
    periods: tuple[Period, ...]
    lots: dict[str, int]
    ran: tuple[Ran, ...]
    sittings: tuple[Sitting, ...]
    known: Known | None
    escaped: tuple[Shown, ...]
    types: tuple[DefectType, ...]
    faults: dict[str, int]
    scores: Histogram | None
    latency: Latency | None
    conservation: Conservation
    changes: tuple[Change, ...]
    chain: Chain | None
    pictures: dict[str, int]
    shown: tuple[Shown, ...]
    left_out: dict[str, int]
