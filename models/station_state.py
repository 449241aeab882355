"""What the store remembers of a station: which package is active, which was, and who said so.

The rules are pure; `read` and `save` are the file, for models/store.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from edge.core.errors import ConfigError, EdgeError, PackageError
from models.package import Package
from models.probation import Counts
from models.store_files import utc_text, write

FORMAT = 1
KEPT_CHANGES = 500  # the newest; all of them are events in the records
_STATION = re.compile(r"[A-Za-z0-9_.-]{1,60}")
Step = Literal["start", "activate", "shadow", "promote", "rollback", "keep"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file."""


class Ref(_Part, frozen=True):
    """A package by name: content_sha256 is what it is, file_sha256 with which signature."""

    name: str
    version: str
    content_sha256: str
    file_sha256: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version} {self.content_sha256[:12]}"


class Change(_Part, frozen=True):
    """One change: who, the active package (the shadow, for verb shadow) before and after, why."""

    at_utc: str
    who: str
    verb: Step
    old: str
    new: str
    reason: str = ""


class StationState(_Part, frozen=True):
    """The file stations/NAME.json.

    model is the text of the station file's engine.model that this was made for; probation the
    counts of the package that the active one, on probation, is held against.
    """

    station: str
    model: str
    format: int = FORMAT
    active: Ref | None = None
    previous: Ref | None = None
    shadow: Ref | None = None
    probation: Counts | None = None
    history: tuple[Change, ...] = ()

    @property
    def since(self) -> str:
        """When the active package became it."""
        steps = ("start", "activate", "promote", "rollback")
        return next((one.at_utc for one in reversed(self.history) if one.verb in steps), "")

    def used(self) -> dict[str, Ref]:
        """What may not be removed: the packages that are active, previous or shadow here."""
        named = {"active": self.active, "previous": self.previous, "shadow": self.shadow}
        return {use: ref for use, ref in named.items() if ref}


def ref_of(package: Package) -> Ref:
    """What a state keeps of a package."""
    manifest = package.manifest
    return Ref(
        name=manifest.name,
        version=manifest.version,
        content_sha256=package.content_sha256,
        file_sha256=package.file_sha256,
    )


def begun(state: StationState | None, station: str, model: str, *, is_firm: bool) -> StationState:
    """The state to go on from: a new one, the history kept, where it was made for another model.

    is_firm: model is the station file's own text, and no guess for want of it.
    """
    if state is None:
        return StationState(station=station, model=model)
    if is_firm and state.model != model:
        return StationState(station=station, model=model, history=state.history)
    return state


def meant(state: StationState, step: Step) -> Ref | None:
    """The package of a step that names none."""
    return {"promote": state.shadow, "rollback": state.previous}.get(step)


def after(
    state: StationState,
    step: Step,
    *,
    at_ns: int,
    who: str,
    new: Ref | None = None,
    reason: str = "",
    probation: Counts | None = None,
) -> StationState:
    """The state after a step, its change in the history.

    start, activate: new is active. shadow: new runs beside it, None ends that. promote: the
    shadow, or new, is active. rollback: the previous one, or new, is active again, and there is
    no previous one then: going back twice never leads to what was left. keep: probation is over.
    PackageError where there is nothing to promote or to go back to.
    """
    old, new = state.active, new or meant(state, step)
    if new is None and step not in ("shadow", "keep"):
        raise PackageError(f"station {state.station}: {_NOTHING.get(step, 'no package named')}")
    before, now = (state.shadow, new) if step == "shadow" else (old, new or old)
    change = Change(
        at_utc=utc_text(at_ns),
        who=who,
        verb=step,
        old=str(before or ""),
        new=str(now or ""),
        reason=reason,
    )
    state = msgspec.structs.replace(state, history=(*state.history, change)[-KEPT_CHANGES:])
    if step == "shadow":
        return msgspec.structs.replace(state, shadow=new)
    if step == "keep":
        return msgspec.structs.replace(state, probation=None)
    assert new is not None
    same = old is not None and old.content_sha256 == new.content_sha256
    # One that has not passed its probation is no way back: the one before it stays that.
    unpassed = state.probation is not None and state.previous is not None
    previous = state.previous if same or unpassed else old
    ended = state.shadow is not None and state.shadow.content_sha256 == new.content_sha256
    return msgspec.structs.replace(
        state,
        active=new,
        previous=None if step == "rollback" else previous,
        shadow=None if ended or step == "promote" else state.shadow,
        probation=probation if step in ("activate", "promote") else None,
    )


_NOTHING = {
    "promote": "no shadow to promote; name a package, or begin with `edge model shadow`",
    "rollback": "no package to go back to",
}


def read(folder: Path, station: str) -> StationState | None:
    """The state of a station, None without one; EdgeError, naming the file, where it is damaged."""
    path = _path(folder, station)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EdgeError(f"{path}: cannot be read: {error.strerror}") from None
    cure = "without this file the station begins with the model of its station file"
    try:
        state = msgspec.json.decode(data, type=StationState)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EdgeError(f"{path}: damaged: {error}; {cure}") from None
    if state.format != FORMAT or state.station != station:
        found = f"format {state.format} of station {state.station!r}"
        raise EdgeError(f"{path}: {found}, not format {FORMAT} of {station!r}; {cure}")
    return state


def save(folder: Path, state: StationState) -> None:
    """Write a state down; for who holds the store's lock."""
    data = msgspec.json.format(msgspec.json.encode(state)) + b"\n"
    write(_path(folder, state.station), data)


def _path(folder: Path, station: str) -> Path:
    if not _STATION.fullmatch(station):
        raise ConfigError(f"station {station[:80]!r}: allowed: 1 to 60 of A-Z a-z 0-9 _ . -")
    return folder / f"{station}.json"
