"""What a replay runs on: the recording, the package and the station that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edge.core.config import (
    ControllerOptions,
    EngineOptions,
    FootageOptions,
    LimitOptions,
    PublishOptions,
    RecordingOptions,
    RecordsOptions,
    Station,
    TileOptions,
)
from edge.core.errors import ConfigError, FootageError
from edge.core.history import Session, served
from edge.core.types import Serving, ViewSpec
from edge.judged import judges
from models import package
from models.package import Package
from models.store import Store
from models.tiles import shown
from sensors.mcap import Recording, open_recording

RECORDING_SUFFIX = ".mcap"
SLOTS = 16  # decoding ahead and recording share them
MORE_SLOTS = 8  # than were recorded with: pictures may be recorded anew

Pace = Literal["max", "recorded"] | float  # or so many times as fast as recorded
Warn = Callable[[str], None]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A replay as a person asks for it.

    model: "" for the one that judged most of a recording's parts. tiles: of frames larger than the
    package's input. span: parts of a recording, as recorded, first and last. record, records: where
    to keep what happens, as a station would; None for nowhere.
    """

    footage: Path
    model: str = ""
    split: str = "test"
    pace: Pace = "max"
    provider: str | None = None  # None: cpu, or as recorded with this package
    threads: int | None = None  # None: 2, or as recorded with it
    tiles: TileOptions | None = None  # None: none, or as recorded
    span: tuple[int | None, int | None] = (None, None)
    record: Path | None = None
    records: Path | None = None


def opened(asked: Asked, warn: Warn) -> Recording:
    """The recording, or the span of it that was asked for; FootageError where it holds no part."""
    recording = open_recording(asked.footage, warn=warn)
    first, last = asked.span
    if (first, last) != (None, None):
        recording = recording.select(first=first, last=last)
    if not recording.rows:
        raise FootageError(f"{asked.footage}: holds no parts")
    return recording


def judges_of(recording: Recording) -> list[Serving]:
    """What judged its parts, the most parts first."""
    return judges((row.record for row in recording.rows), recording.session)


def resolved(asked: Asked, recording: Recording) -> tuple[Package, Asked]:
    """The package asked for, else the one that judged most of the parts and is here.

    It is as its station shows it: of whole frames where it cuts tiles of them. What else was not
    asked for is as it was when that package judged, or the session began. The model is named as
    models.package.find takes it.
    """
    asked = msgspec.structs.replace(
        asked, tiles=asked.tiles or tiles_then(asked, recording.session)
    )
    candidates = judges_of(recording)
    model = _package(asked, recording, candidates)
    theirs = [one for one in candidates if one.content_sha256 == model.content_sha256]
    like = next(
        (one for one in theirs if asked.provider in (None, one.provider)),
        served(None, recording.session),
    )
    return model, msgspec.structs.replace(
        asked,
        model=asked.model or _name(model),
        provider=asked.provider or like.provider,
        threads=asked.threads or like.threads,
    )


def _package(asked: Asked, recording: Recording, candidates: Sequence[Serving]) -> Package:
    store = Store.at(_options(asked, recording.session).engine.store)
    there = (_there(one, store) for one in candidates)
    found = package.find(asked.model) if asked.model else next(filter(None, there), None)
    if found is None:
        first = candidates[0]
        raise FootageError(
            f"{asked.footage}: recorded with package {first.package}, content sha256 "
            f"{first.content_sha256}, which is neither in the zoo nor installed; give its file "
            "with --model"
        )
    model = _for_frames(found, asked, recording)
    recording.check(model.manifest.views)
    return model


def tiles_then(asked: Asked, session: Session) -> TileOptions | None:
    """The tiles that a session's frames were judged in, from its first part to its last."""
    return _options(asked, session).engine.tiles


def of_frames(model: Package, tiles: TileOptions | None) -> Package:
    """The package as a station shows it; ConfigError where it does not go with the tiles."""
    if tiles is None and model.manifest.tiling.tiles_only:
        name = model.manifest.name
        raise ConfigError(f"{name}: judges nothing but tiles of frames; give --tiles ROWSxCOLUMNS")
    return shown(model, tiles)


def tiles_for(frame_px: Sequence[int], model: Package) -> str:
    """The option by which the package judges frames of this size; "" where they fit its input."""
    frame, tile = tuple(frame_px), model.manifest.picture().shape[:2]
    fits = frame == tile or any(side < least for side, least in zip(frame, tile, strict=True))
    return "" if fits else "--tiles {}x{}".format(*frame)


def _for_frames(model: Package, asked: Asked, recording: Recording) -> Package:
    """The package for a recording's frames; FootageError where it would judge others."""
    pictures = [view.shape[:2] for view in recording.views if view.kind == "picture"]
    there = "{}x{}".format(*pictures[0]) if pictures else "none"
    if asked.tiles and (wanted := "{}x{}".format(*asked.tiles.frame_px)) != there:
        raise FootageError(f"{asked.footage}: holds frames of {there}; --tiles names {wanted}")
    same = _views(model.manifest.views) == _views(recording.views)
    option = tiles_for(pictures[0], model) if same and not asked.tiles else ""
    if option:
        raise FootageError(
            f"{asked.footage}: holds frames larger than the input of {model.manifest.name}; "
            f"give {option}"
        )
    return of_frames(model, asked.tiles)


def _views(views: Sequence[ViewSpec]) -> list[tuple[str, str]]:
    return [(view.name, view.kind) for view in views]


def _name(model: Package) -> str:
    """Its name where the zoo has it, else its file."""
    name = model.manifest.name
    is_of_zoo = name in package.zoo_index() and package.find(name).path == model.path
    return name if is_of_zoo else str(model.path)


def _there(one: Serving, store: Store) -> Package | None:
    """The very package, from the zoo or a store; None where neither has it."""
    if one.package in package.zoo_index():
        found = package.find(one.package)
        if found.content_sha256 == one.content_sha256:
            return found
    return store.holding(one.content_sha256)


def station_for(asked: Asked, camera: FootageOptions, model: str, folder: Path) -> Station:
    return Station(
        camera=camera,
        engine=EngineOptions(
            model=model,
            provider=asked.provider or "cpu",
            threads=asked.threads or 2,
            tiles=asked.tiles,
        ),
        controller=ControllerOptions(bind=f"ipc://{folder}/station.ipc"),
        slots=SLOTS,
        limits=LimitOptions.warnings(),  # a replay decides about parts, it stops no line
        records=_records(asked),
        recording=_recording(asked),
    )


def station_again(asked: Asked, session: Session, folder: Path, more_slots: int) -> Station:
    """The station of a recording, with an arm of its own in place of the machine.

    asked: as `resolved` gives it.
    """
    was = _options(asked, session)
    engine = EngineOptions(  # nothing of stores, chains and trials: this package, on this provider
        model=asked.model,
        provider=asked.provider or session.provider,
        threads=asked.threads or session.threads,
        hang_ms=was.engine.hang_ms,
        standby=was.engine.standby,
        tiles=asked.tiles,
    )
    return msgspec.structs.replace(
        was,
        engine=engine,
        slots=was.slots + more_slots,
        controller=ControllerOptions(
            bind=f"ipc://{folder}/station.ipc", pose_for=was.controller.pose_for
        ),
        publish=PublishOptions(),
        limits=LimitOptions.warnings(),
        records=_records(asked),
        recording=_recording(asked),
    )


def _options(asked: Asked, session: Session) -> Station:
    """The station file of the time."""
    try:
        return msgspec.json.decode(session.options, type=Station)
    except msgspec.MsgspecError as error:
        raise FootageError(f"{asked.footage}: its station's options: {error}") from None


def _records(asked: Asked) -> RecordsOptions:
    return RecordsOptions(path=str(asked.records) if asked.records else "", min_free_gib=0.0)


def _recording(asked: Asked) -> RecordingOptions:
    return RecordingOptions(path=str(asked.record) if asked.record else "", keep="all")


def check_kept(asked: Asked) -> None:
    """FootageError where a replay cannot be recorded where it was asked to be."""
    if asked.record and asked.record.suffix.lower() != RECORDING_SUFFIX:
        raise FootageError(f"--record {asked.record}: ends in {RECORDING_SUFFIX}")
    if asked.record and asked.record.exists():
        raise FootageError(f"--record {asked.record}: exists; nothing is overwritten")
