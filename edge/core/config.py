"""The station file: TOML, strict, every key documented where it is declared.

Unknown keys, values out of range and unknown names are refused with one line that names the
key and what is allowed. There are no environment variables.
"""

from __future__ import annotations

import re
import tomllib
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge.core.clock import NS_PER_MS
from edge.core.errors import ConfigError
from edge.core.types import Action, Deadline, Verdict

T = TypeVar("T")
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Rate = Annotated[float, Meta(gt=0, le=10_000)]
Count = Annotated[int, Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a configuration file; a key that is not declared is refused."""


class _Camera(Section, frozen=True, kw_only=True, tag_field="source"):
    """What every source has."""

    # Of the picture that is judged, which is the one in evidence: after the view's `fit`. None:
    # that of [pose] where there is one, else sizes are told in pixels alone.
    mm_per_px: Positive | None = None


class SyntheticOptions(_Camera, frozen=True, tag="synthetic"):
    """Machined parts on a belt, drawn from a seed."""

    seed: Annotated[int, Meta(ge=0)] = 10_000
    rate_hz: Rate = 20.0
    parts: Annotated[int, Meta(ge=0)] = 0  # 0: until stopped
    defect_share: Annotated[float, Meta(ge=0, le=1)] = 0.1


class FootageOptions(_Camera, frozen=True, tag="footage"):
    """A data-set folder, a footage.csv, a folder of images or a video, at its own pace."""

    path: str
    split: str = "test"
    rate_hz: Rate = 20.0  # where the footage has no times of its own


class OpenCvOptions(_Camera, frozen=True, tag="opencv"):
    """A camera by device number, a stream by URL, or a video file played as if live."""

    device: int | str = 0
    stale_after: Annotated[int, Meta(ge=0)] = 1  # identical repetitions until STALE_FRAME; 0: never


CameraOptions = SyntheticOptions | FootageOptions | OpenCvOptions


AUTO = "auto"
PROVIDERS = ("cpu", "openvino", "cuda", "tensorrt")  # models/providers.py says what each is


# The words stand in messages in place of the pattern.
DIGEST = Meta(pattern="^([0-9a-fA-F]{64})?$", description="64 hexadecimal digits, or empty")


class _RefusedError(ConfigError, ValueError):
    """A value of a file is told by its key, one of a caller by itself; so it is both."""


class ProbationOptions(Section, frozen=True):
    """How far a newly activated package may stray before it is rolled back by itself.

    missed, faults and more_rejects are shares of the parts beyond what the package before it had;
    fewer_rejects is a share of its rejects: 1 admits a package that rejects nothing.
    """

    parts: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000  # then it has passed; 0: no probation
    missed: Share = 0.01  # deadlines
    faults: Share = 0.01  # unfit pictures, garbage, workers that died
    more_rejects: Share = 0.1  # held parts included
    fewer_rejects: Share = 0.8


class CheckOptions(Section, frozen=True):
    """How often the workers judge their golden set again while parts come; 0: only at the start."""

    parts: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    hours: Annotated[float, Meta(ge=0, le=10_000)] = 0.0


class TileOptions(Section, frozen=True):
    """Frames larger than the package's input, judged in tiles of it (docs/packages.md)."""

    frame_px: tuple[Count, Count]  # rows, columns
    shrink: Annotated[int, Meta(ge=1, le=16)] = 1  # frame pixels to one of a tile, each way
    overlap_px: Annotated[int, Meta(ge=0, le=8192)] = 0  # of a tile, at least; 0: the package's own
    fit: Literal["exact", "pad", "crop"] = "exact"  # how a picture of another size becomes a frame
    # Of the tiles, how many must look like the package's pictures for a frame to be fit to judge:
    # less than all is a person's word that the rest may be dark, or show nothing, and still pass.
    fit_share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class CertificateOptions(Section, frozen=True):
    """What a package must have been proven to keep to before it may judge here.

    Rates of units at most, each with the confidence (docs/decisions.md); 1 asks for nothing.
    """

    escape: Annotated[float, Meta(gt=0, le=1)]  # defective units that pass
    overkill: Annotated[float, Meta(gt=0, le=1)] = 1.0  # good units that fail or are held
    confidence: Annotated[float, Meta(gt=0, lt=1)] = 0.95


class EngineOptions(Section, frozen=True):
    """What judges a part, and how long it may be silent before it is replaced."""

    model: str  # a name from the zoo, or a path to an .onnx package
    # One of PROVIDERS; several, tried in their order; or "auto": what this box is quickest on.
    provider: str | tuple[str, ...] = "cpu"
    # When "auto" and a chain are timed on this box, to be admitted: at every start, or once for a
    # package, library, driver and box. "never" admits a chain by what is installed. One name that
    # is no chain is timed for "always" only; a chain may hold one.
    measure: Literal["always", "once", "never"] = "once"
    cache: str = ""  # folder of what was measured and built for this box; "": the user's cache
    # The model runs for nothing when none came for so long; 0: never, None: as the provider needs.
    keep_warm_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    hang_ms: Positive = 150.0  # a worker silent for so long is killed and replaced
    standby: bool = True  # a second warm worker takes over when the first fails
    tiles: TileOptions | None = None  # of frames larger than the package's input
    store: str = ""  # folder of the installed packages; "": the machine's own (docs/packages.md)
    # The one content that may judge here, whatever the store says; "": any.
    content_sha256: Annotated[str, DIGEST] = ""
    probation: ProbationOptions = ProbationOptions()
    check: CheckOptions = CheckOptions()
    require_signature: bool = False  # only a package signed by one of `trusted` may judge here
    trusted: tuple[str, ...] = ()  # public keys: 64 hexadecimal digits, or a .pub file
    certificate: CertificateOptions | None = None  # of the package; None: none is asked for

    def __post_init__(self) -> None:
        if self.require_signature != bool(self.trusted):
            raise _RefusedError(
                "require_signature and trusted need each other; allowed trusted: "
                '["64 hexadecimal digits", "FILE.pub"] (edge model keygen)'
            )
        names = (self.provider,) if isinstance(self.provider, str) else self.provider
        allowed = " | ".join((*PROVIDERS, AUTO))
        for name in names:
            if name not in (AUTO, *PROVIDERS):
                raise _RefusedError(f"provider {name}: unknown; allowed: {allowed}")
        if not names or len(set(names)) < len(names):
            raise _RefusedError(
                f"provider {list(names)}: each once, at least one; allowed: {allowed}"
            )
        if AUTO in names and len(names) > 1:
            raise _RefusedError(f"provider {list(names)}: {AUTO} stands alone")
        if AUTO in names and self.measure == "never":
            raise _RefusedError(
                "provider auto is chosen by measuring; allowed measure: always | once"
            )

    @property
    def providers(self) -> tuple[str, ...]:
        """The names in the order asked for; ("auto",) where this box is to choose."""
        return (self.provider,) if isinstance(self.provider, str) else self.provider


class RegionRule(Section, frozen=True):
    """A region of the defect map at least this large makes the part at least this bad."""

    min_area_px: Count
    verdict: Verdict = Verdict.FAIL


class PolicyOptions(Section, frozen=True):
    """Verdict to action. `default` is what a part gets without an on-time verdict."""

    default: Action = Action.REJECT
    on_pass: Action = Action.ACCEPT
    on_fail: Action = Action.REJECT
    on_indeterminate: Action = Action.HOLD
    region_rules: tuple[RegionRule, ...] = ()

    def __post_init__(self) -> None:
        if self.default not in (Action.REJECT, Action.HOLD):
            raise ValueError(f"default = {self.default} needs a verdict; allowed: reject | hold")
        for key in ("on_fail", "on_indeterminate"):
            if getattr(self, key) is Action.ACCEPT:
                raise ValueError(f"{key} = accept would fail open; allowed: reject | rework | hold")


class PoseOptions(Section, frozen=True):
    """Where a picture's pixels lie in the machine's frame, and which actions are sent a pose.

    The pixel (0, 0) lies at (x_mm, y_mm, z_mm) of `frame`; the picture's x axis is turned by
    rz_deg from the frame's; one pixel measures mm_per_px both ways.
    """

    frame: Annotated[str, Meta(min_length=1, max_length=200)]
    mm_per_px: Positive
    x_mm: float
    y_mm: float
    z_mm: float
    rz_deg: float = 0.0


class Allowed(Section, frozen=True):
    """A peer by its public key (40 characters, or a .pub file) and the role it may take."""

    key: str
    role: str = "disposition"


class ControllerOptions(Section, frozen=True):
    """The command socket and what counts as a controller being there."""

    bind: str = "tcp://127.0.0.1:5590"
    wait_s: Positive = 10.0  # how long to wait for a controller before giving up
    beat_ms: Positive = 50.0
    lost_ms: Positive = 150.0  # no beat for so long, three of them: the controller is gone
    ack_ms: Positive = 200.0  # after act_by: a part without an ack is closed as unacked
    resend_ms: Positive = 15.0  # an Expect or Command without its ack is sent again
    confirm_ms: Positive = 2000.0  # where the controller confirms: after the ack, at the latest
    at_ms: Annotated[float, Meta(ge=0, le=1e6)] = 0.0  # from the trigger to the place of action
    at_counts: Annotated[int, Meta(ge=0)] = 0  # the same in counts of the controller's encoder
    pose_for: tuple[Action, ...] = ()  # actions that are sent a pose; needs [pose]
    key: str = ""  # the station's own .key file; needed where bind is not loopback or ipc
    allow: tuple[Allowed, ...] = ()

    def __post_init__(self) -> None:
        if self.at_ms and self.at_counts:
            raise ValueError("at_ms and at_counts are two answers to one question; give one")


class PublishOptions(Section, frozen=True):
    """Verdicts, events and statistics for anyone who listens; "" publishes nothing."""

    bind: str = ""
    allow: tuple[str, ...] = ()  # public keys beside those of the controllers


Share = Annotated[float, Meta(ge=0, le=1)]
Days = Annotated[float, Meta(ge=0, le=36_500)]
Gib = Annotated[float, Meta(ge=0, le=1e6)]


class RecordsOptions(Section, frozen=True):
    """What is kept of every part, in one database; "" keeps nothing.

    Pictures of parts that failed, were held or defaulted, and of a share of those that passed, are
    kept as evidence in the folder NAME-evidence beside the database.
    """

    path: str = ""
    key: str = ""  # signs checkpoints; "": NAME.key beside the database, made when absent
    checkpoint_events: Annotated[int, Meta(ge=10, le=1_000_000)] = 1000
    lot: Annotated[str, Meta(max_length=200)] = ""  # of the first parts; `edge ctl lot` changes it
    report: str = ""  # a page of the running session (`edge report`), written anew every minute
    evidence: bool = True
    pass_share: Share = 0.01  # of the parts that pass, how many are evidence too
    keep_days: Days = 0.0  # of records and evidence; 0: for ever
    keep_gib: Gib = 0.0  # of evidence; 0: no limit
    # Free space on the disk below which footage stops; evidence stops at half of it, records at
    # a tenth.
    min_free_gib: Gib = 2.0

    def __post_init__(self) -> None:
        if self.report and not self.path:
            raise ValueError("report needs records to be of: path is missing")


class RecordingOptions(Section, frozen=True):
    """Footage of the parts, as MCAP files in a folder; "" records none.

    keep: every part's views, or those of the parts around an event (any part that did not pass),
    pre_s before it and post_s after.
    """

    path: str = ""
    keep: Literal["all", "events"] = "events"
    pre_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
    post_s: Annotated[float, Meta(ge=0, le=600)] = 2.0
    codec: Literal["raw", "jpeg"] = "raw"  # raw is compressed without loss; jpeg is not exact
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] = 90
    file_mib: Annotated[int, Meta(ge=1, le=100_000)] = 1024  # then the next file begins
    keep_days: Days = 0.0
    keep_gib: Gib = 20.0  # the oldest files go first; 0: no limit


Effect = Literal["warn", "hold_line", "error"]


class Limit(Section, frozen=True):
    """How many make a person look, and what happens then."""

    limit: Count
    effect: Effect = "warn"


class RateLimit(Section, frozen=True):
    """A share of the last `parts` parts, judged once so many have come."""

    limit: Annotated[float, Meta(gt=0, le=1)]
    parts: Annotated[int, Meta(ge=10, le=100_000)] = 100
    effect: Effect = "warn"


class LimitOptions(Section, frozen=True):
    """When the station warns, stops the line, or goes to Error until an operator resets it."""

    consecutive_faults: Limit = Limit(limit=3)
    consecutive_rejects: Limit = Limit(limit=10)
    reject_rate: RateLimit = RateLimit(limit=0.5)
    missed_acks: Limit = Limit(limit=3, effect="hold_line")  # in a row
    unconfirmed_rejects: Limit = Limit(
        limit=1, effect="hold_line"
    )  # since the last reset or resume
    conservation_errors: Limit = Limit(limit=1, effect="error")  # since the last reset or resume

    @classmethod
    def warnings(cls) -> LimitOptions:
        """The same limits, none of which stops anything."""
        rules = cls()
        named = {name: getattr(rules, name) for name in rules.__struct_fields__}
        return cls(**{n: msgspec.structs.replace(r, effect="warn") for n, r in named.items()})


class RealtimeOptions(Section, frozen=True):
    """What the loop's thread asks of the machine; what it is not given is reported."""

    # SCHED_FIFO priority of the loop's thread; 0: the usual scheduler. No cure for a thread that
    # holds Python's interpreter lock: it runs on at its own priority.
    fifo: Annotated[int, Meta(ge=0, le=90)] = 0
    cpus: Annotated[tuple[int, ...], Meta(min_length=1)] | Literal["auto", "any"] = "auto"
    worker_cpus: tuple[int, ...] = ()  # of the judging thread; empty: those the loop leaves
    # Time slice of all of the station's threads under the usual scheduler; 0: the kernel's own.
    slice_ms: Annotated[float, Meta(ge=0, le=100)] = 0.1
    rehearse: bool = True  # run the model once for nothing before a part that is due by a schedule
    lock_memory: bool = False  # all of the station's pages in memory: 460 MB instead of 60
    collect: bool = False  # leave Python's garbage collector on while parts come

    def __post_init__(self) -> None:
        if 0 < self.slice_ms < 0.1:
            raise ValueError(f"slice_ms {self.slice_ms:g}: allowed: 0 | 0.1 to 100")


class Station(Section, frozen=True):
    """One station file: one camera place, one model, one machine."""

    camera: CameraOptions
    engine: EngineOptions
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,60}$")] = "station"
    budget_ms: Positive = 50.0  # trigger to the last instant the controller may hear ACCEPT
    margin_ms: Positive = 5.0  # kept back for the wire: the station decides this much earlier
    slots: Annotated[int, Meta(ge=4, le=256)] = 8
    policy: PolicyOptions = PolicyOptions()
    controller: ControllerOptions = ControllerOptions()
    publish: PublishOptions = PublishOptions()
    limits: LimitOptions = LimitOptions()
    records: RecordsOptions = RecordsOptions()
    recording: RecordingOptions = RecordingOptions()
    realtime: RealtimeOptions = RealtimeOptions()
    pose: PoseOptions | None = None

    def __post_init__(self) -> None:
        if self.margin_ms >= self.budget_ms:
            raise ValueError(f"margin_ms {self.margin_ms} must be below budget_ms {self.budget_ms}")
        if self.controller.pose_for and self.pose is None:
            keys = "frame, mm_per_px, x_mm, y_mm, z_mm"
            raise ValueError(f"controller.pose_for needs the table [pose]: {keys}")
        one, other = self.camera.mm_per_px, self.pose and self.pose.mm_per_px
        if one and other and one != other:
            raise ValueError(
                f"camera.mm_per_px {one:g} and pose.mm_per_px {other:g} are of the same picture; "
                "give one"
            )

    @property
    def mm_per_px(self) -> float:
        """Millimetres to a pixel of the picture that is judged, both ways; 0: nobody said."""
        return self.camera.mm_per_px or (self.pose.mm_per_px if self.pose else 0.0)

    def deadline(self, trigger_ns: int) -> Deadline:
        """A part's instants from its trigger."""
        act_by_ns = trigger_ns + round(self.budget_ms * NS_PER_MS)
        decide_by_ns = act_by_ns - round(self.margin_ms * NS_PER_MS)
        return Deadline(trigger_ns, decide_by_ns, act_by_ns)


def load(path: str | Path, of: type[T]) -> T:
    """Read a TOML file as `of`; ConfigError with one line that names the key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # huge numbers and deep nesting included
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        return msgspec.convert(tree, of)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {explain(str(error), of, tree)}") from None


def explain(message: str, of: Any, tree: Any) -> str:
    """Turn msgspec's complaint into one line: the key by its dotted name, and what is allowed."""
    text, _, path = message.partition(" - at `$")
    where = path.rstrip("`").replace("[...]", "").lstrip(".")
    node, value = _resolve(of, tree, where)
    if unknown := re.match(r"Object contains unknown field `(.*)`", text):
        key = ".".join(filter(None, (where, unknown[1])))
        return f"{key}: unknown key; allowed: {', '.join(_fields(node, value))}"
    if missing := re.match(r"Object missing required field `(.*)`", text):
        key = ".".join(filter(None, (where, missing[1])))
        return f"{key}: missing"
    allowed = [_table(node)] if text.startswith("Expected `object`") else _choices(node)
    if said := _description(node):
        text, allowed = text.partition(" matching regex")[0], [said]
    allowed = list(filter(None, allowed))
    hint = f"; allowed: {' | '.join(allowed)}" if allowed else ""
    return f"{where + ': ' if where else ''}{text[0].lower() + text[1:]}{hint}"


def _variants(node: Any) -> list[Any]:
    if typing.get_origin(node) is Annotated:
        return _variants(typing.get_args(node)[0])
    if isinstance(node, types.UnionType) or typing.get_origin(node) is typing.Union:
        return [leaf for arg in typing.get_args(node) for leaf in _variants(arg)]
    if typing.get_origin(node) is tuple:
        return _variants(typing.get_args(node)[0])
    return [node]


def _resolve(node: Any, value: Any, where: str) -> tuple[Any, Any]:
    """Follow a dotted path through types and values, as far as both go."""
    for step in filter(None, re.sub(r"\[\d+\]", "", where).split(".")):
        if isinstance(value, list):
            value = next((entry for entry in value if isinstance(entry, dict)), None)
        structs = _matching(node, value)
        value = value.get(step) if isinstance(value, dict) else None
        if step in _tags(node):
            continue
        hints = [typing.get_type_hints(s, include_extras=True) for s in structs]
        node = next((h[step] for h in hints if step in h), None)
        if node is None:
            break
    return node, value


def _matching(node: Any, value: Any) -> list[Any]:
    """The structs a value can be: the one its tag names, else all of the union's."""
    structs = [v for v in _variants(node) if isinstance(v, type) and issubclass(v, msgspec.Struct)]
    for struct in structs:
        config = struct.__struct_config__
        tagged = config.tag_field and isinstance(value, dict)
        if tagged and value.get(config.tag_field) == config.tag:
            return [struct]
    return structs


def _tags(node: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for struct in _matching(node, None):
        config = struct.__struct_config__
        if config.tag_field:
            found.setdefault(config.tag_field, []).append(str(config.tag))
    return found


def _fields(node: Any, value: Any) -> list[str]:
    if isinstance(value, list):
        value = next((entry for entry in value if isinstance(entry, dict)), None)
    names = [name for struct in _matching(node, value) for name in struct.__struct_fields__]
    return [*_tags(node), *dict.fromkeys(names)]


def _choices(node: Any) -> list[str]:
    for tags in _tags(node).values():
        return tags
    for leaf in _variants(node):
        if isinstance(leaf, type) and issubclass(leaf, Enum):
            return [str(member.value) for member in leaf]
        if typing.get_origin(leaf) is Literal:
            return [str(arg) for arg in typing.get_args(leaf)]
    return _plain(node)


def _table(node: Any) -> str:
    """What a table may hold, by its keys; its tags where it is one of several, "" for a list."""
    if typing.get_origin(node) is tuple:
        return ""
    if tags := [tag for tags in _tags(node).values() for tag in tags]:
        return " | ".join(tags)
    keys = [f"{name} = ..." for name in _fields(node, None)]
    return f"{{ {', '.join(keys)} }}" if keys else ""


def _description(node: Any) -> str:
    """The words that stand for a pattern, where its Meta has some."""
    metas = typing.get_args(node)[1:] if typing.get_origin(node) is Annotated else ()
    return next((m.description for m in metas if getattr(m, "description", None)), "")


_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true | false"}
_BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}


def _plain(node: Any) -> list[str]:
    """What a plain value may be, each kind in words: "a number above 0, up to 1000000"."""
    if isinstance(node, types.UnionType) or typing.get_origin(node) is typing.Union:
        return [words for arg in typing.get_args(node) for words in _plain(arg)]
    kind, *metas = typing.get_args(node) if typing.get_origin(node) is Annotated else (node,)
    if kind not in _PLAIN:
        return []
    bounds = [
        f"{word} {bound:.12g}"
        for meta in metas
        for name, word in _BOUNDS.items()
        if (bound := getattr(meta, name, None)) is not None
    ]
    return [" ".join((_PLAIN[kind], ", ".join(bounds))).rstrip()]
