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


class SyntheticOptions(Section, frozen=True, tag_field="source", tag="synthetic"):
    """Machined parts on a belt, drawn from a seed."""

    seed: Annotated[int, Meta(ge=0)] = 10_000
    rate_hz: Rate = 20.0
    parts: Annotated[int, Meta(ge=0)] = 0  # 0: until stopped
    defect_share: Annotated[float, Meta(ge=0, le=1)] = 0.1


class FootageOptions(Section, frozen=True, tag_field="source", tag="footage"):
    """A data-set folder, a footage.csv, a folder of images or a video, at its own pace."""

    path: str
    split: str = "test"
    rate_hz: Rate = 20.0  # where the footage has no times of its own


class OpenCvOptions(Section, frozen=True, tag_field="source", tag="opencv"):
    """A camera by device number, a stream by URL, or a video file played as if live."""

    device: int | str = 0


CameraOptions = SyntheticOptions | FootageOptions | OpenCvOptions


class EngineOptions(Section, frozen=True):
    """What judges a part, and how long it may be silent before it is replaced."""

    model: str  # a name from the zoo, or a path to an .onnx package
    provider: str = "cpu"
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    hang_ms: Positive = 150.0  # a worker silent for so long is killed and replaced


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


class ControllerOptions(Section, frozen=True):
    """The command socket and what counts as a controller being there."""

    bind: str = "tcp://127.0.0.1:5590"
    wait_s: Positive = 10.0  # how long to wait for a controller before giving up
    beat_ms: Positive = 50.0
    lost_ms: Positive = 200.0  # no beat for so long: the controller is gone
    ack_ms: Positive = 200.0  # after act_by: a part without an ack is closed as unacked


class Station(Section, frozen=True):
    """One station file: one camera place, one model, one machine."""

    camera: CameraOptions
    engine: EngineOptions
    name: str = "station"
    budget_ms: Positive = 50.0  # trigger to the last instant the controller may hear ACCEPT
    margin_ms: Positive = 5.0  # kept back for the wire: the station decides this much earlier
    slots: Annotated[int, Meta(ge=4, le=256)] = 8
    policy: PolicyOptions = PolicyOptions()
    controller: ControllerOptions = ControllerOptions()

    def __post_init__(self) -> None:
        if self.margin_ms >= self.budget_ms:
            raise ValueError(f"margin_ms {self.margin_ms} must be below budget_ms {self.budget_ms}")

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
    allowed = _choices(node)
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
    return []
