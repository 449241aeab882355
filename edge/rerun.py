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
)
from edge.core.errors import FootageError
from edge.core.history import Session, served
from edge.core.types import Serving
from edge.judged import judges
from models import package
from models.package import Package
from models.store import Store
from sensors.mcap import Recording, open_recording

RECORDING_SUFFIX = ".mcap"
SLOTS = 16  # decoding ahead and recording share them
MORE_SLOTS = 8  # than were recorded with: pictures may be recorded anew

Pace = Literal["max", "recorded"] | float  # or so many times as fast as recorded
Warn = Callable[[str], None]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A replay as a person asks for it.

    model: "" for the one that judged most of a recording's parts. span: parts of a recording, as
    recorded, first and last. record, records: where to keep what happens, as a station would; None
    for nowhere.
    """

    footage: Path
    model: str = ""
    split: str = "test"
    pace: Pace = "max"
    provider: str | None = None  # None: cpu, or as recorded with this package
    threads: int | None = None  # None: 2, or as recorded with it
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

    What else was not asked for is as it was when that package judged, or the session began. The
    model is named as models.package.find takes it.
    """
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
    recording.check(found.manifest.views)
    return found


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
            model=model, provider=asked.provider or "cpu", threads=asked.threads or 2
        ),
        controller=ControllerOptions(bind=f"ipc://{folder}/station.ipc"),
        slots=SLOTS,
        limits=LimitOptions.warnings(),  # a replay decides about parts, it stops no line
        records=_records(asked),
        recording=_recording(asked),
    )


def station_again(asked: Asked, session: Session, folder: Path, more_slots: int) -> Station:
    """The station of a recording, with an arm of its own in place of the machine."""
    was = _options(asked, session)
    engine = EngineOptions(  # nothing of stores, chains and trials: this package, on this provider
        model=asked.model,
        provider=asked.provider or session.provider,
        threads=asked.threads or session.threads,
        hang_ms=was.engine.hang_ms,
        standby=was.engine.standby,
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
