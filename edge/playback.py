"""Replays: recorded parts through the real loop, engine and arm.

Footage whose parts are pictures with labels is scored. A recording of a station can be played as it
was, instants and faults included, and compared with what was decided then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from edge import realtime
from edge.app import CameraFor, Rig, rigged, scheduled
from edge.children import arm_process
from edge.core import box
from edge.core.clock import SystemClock, VirtualClock
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
from edge.core.errors import FootageError, PackageError, RecordsError
from edge.core.history import Session
from edge.core.ledger import Balance
from edge.core.pool import View
from edge.core.ports import Clock
from edge.core.types import PartRecord
from edge.historian.report.flips import Flip
from edge.loop import inspect
from edge.recorded import (
    Difference,
    RecordedCamera,
    RecordedClock,
    Scripted,
    differences,
    script,
)
from edge.replay import Journal, Label, Report, report
from edge.stats import DecisionDigest
from models import package
from models.package import Package
from sensors.footage import open_footage
from sensors.grabber import UnreadError
from sensors.mcap import Recording, open_recording
from sensors.paced import Paced
from sensors.scheduled import Rows

RECORDING_SUFFIX = ".mcap"
SLOTS = 16  # decoding ahead and recording share them
MORE_SLOTS = 8  # than were recorded with: pictures may be recorded anew

Pace = Literal["max", "recorded"] | float  # or so many times as fast as recorded


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A replay as a person asks for it.

    model: "" for the one that a recording names. span: parts of a recording, as recorded, first and
    last. record, records: where to keep what happens, as a station would; None for nowhere.
    """

    footage: Path
    model: str = ""
    split: str = "test"
    pace: Pace = "max"
    provider: str | None = None  # None: cpu, or as recorded
    threads: int | None = None  # None: 2, or as recorded
    span: tuple[int | None, int | None] = (None, None)
    record: Path | None = None
    records: Path | None = None


class Played(NamedTuple):
    """A finished replay."""

    report: Report
    records: list[PartRecord]


Warn = Callable[[str], None]


def _nobody(line: str) -> None:
    """Hears no warnings."""


def replay(asked: Asked, warn: Warn = _nobody) -> Played:
    """Replay footage, or a recording, and score it.

    pace "max" is a virtual clock: lock-step for footage, every instant as it was for a recording.
    Otherwise time is real, deadlines and all.
    """
    _check_kept(asked)
    if asked.footage.suffix.lower() == RECORDING_SUFFIX:
        return _replay_recording(asked, warn)
    if asked.span != (None, None):
        raise FootageError(f"{asked.footage}: --from, --to and --part are for recordings (.mcap)")
    if not asked.model:
        raise PackageError("--model: missing; footage that is no recording does not name one")
    model = package.find(asked.model)
    footage = open_footage(asked.footage, split=asked.split, views=model.manifest.views)
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
        camera = FootageOptions(path=str(asked.footage), split=asked.split)
        station = _station(asked, camera, asked.model, Path(folder))
        rows: Rows = footage
        if isinstance(asked.pace, float):
            rows = Paced(footage, asked.pace)
        return replay_on(
            station, model, rows, Path(folder), lockstep=asked.pace == "max", warn=warn
        )


def replay_on(
    station: Station,
    model: Package,
    rows: Rows,
    folder: Path,
    *,
    lockstep: bool,
    warn: Warn = _nobody,
) -> Played:
    """Replay opened footage on a station with an arm of its own that logs into `folder`."""
    clock = VirtualClock() if lockstep else SystemClock()
    camera_for = scheduled(rows, clock, lockstep=lockstep)
    return _run(station, model, clock, camera_for, rows.label, folder, lockstep, warn)


def _run(
    station: Station,
    model: Package,
    clock: Clock,
    camera_for: CameraFor,
    label: Label,
    folder: Path,
    lockstep: bool,
    warn: Warn,
    recorded: Sequence[Scripted] = (),
) -> Played:
    journal, arm_log = Journal(warn), folder / "arm.jsonl"
    arm_log.touch()
    with ExitStack() as stack:
        stack.enter_context(realtime.sliced(station.realtime))

        def start_arm() -> None:
            stack.enter_context(arm_process(station.controller.bind, arm_log, simulated=lockstep))

        rig = stack.enter_context(
            rigged(
                station,
                model,
                journal,
                clock,
                camera_for,
                lockstep=lockstep,
                before_waiting=start_arm,
                recorded=recorded,
            )
        )
        with realtime.tuned(station.realtime):
            balance: Balance = inspect(rig.inspection, lambda: False)
            rig.end(balance)
            if lockstep:
                _check_all_kept(rig)
            elif rig.history and (lost := rig.history.lost_pictures):
                warn(f"{lost} pictures are in no footage: there was no time for them")
    scored = report(
        journal.records,
        label,
        balance=balance,
        arm_log=arm_log,
        real_time=not lockstep,
        provider=station.engine.provider,
        model_sha256=model.file_sha256,
    )
    return Played(scored, journal.records)


def _check_all_kept(rig: Rig) -> None:
    """RecordsError where a replay that was to be kept is not, whole: nothing hurried it."""
    history = rig.history
    if history and (history.lost_pictures or history.troubles or history.restarts):
        raise RecordsError(
            f"not everything of this replay was kept: {history.lost_pictures} pictures could not "
            f"be taken, {history.restarts} historians ended, {history.troubles} troubles told above"
        )


def _replay_recording(asked: Asked, warn: Warn) -> Played:
    recording = _opened(asked, warn)
    model = _package(asked, recording)
    if asked.pace != "max":
        with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
            station = _station_again(asked, recording.session, Path(folder), 0)
            rows: Rows = recording
            if isinstance(asked.pace, float):
                rows = Paced(recording, asked.pace)
            return replay_on(station, model, rows, Path(folder), lockstep=False, warn=warn)
    return play(recording, model, asked, warn)


def play(recording: Recording, model: Package, asked: Asked, warn: Warn) -> Played:
    """Play a recording with every instant and fault as it was; its pictures are judged again."""
    parts = scripted(recording)
    clock = RecordedClock(parts)
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
        station = _station_again(asked, recording.session, Path(folder), MORE_SLOTS)
        return _run(
            station,
            model,
            clock,
            lambda pool: RecordedCamera(
                parts,
                recording.reader,
                pool,
                lambda part: (recording.label(part) or "", recording.defect_type(part)),
            ),
            recording.label,
            Path(folder),
            True,
            warn,
            parts,
        )


def scripted(recording: Recording) -> list[Scripted]:
    """A recording's parts as parts of a run that begins now."""
    rows = recording.rows
    return script([row.record for row in rows], lambda row: rows[row].has_picture)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A recording played and compared. differences: the first field of each part that has one.

    judged parts had their picture looked at again. unseen ones had no picture any more, and their
    answer was taken as it was. The rest never had an answer in time: what became of them follows
    from what was recorded of the camera, the workers and the machine. elsewhere: what is not as it
    was recorded with; where it is empty, decisions are bit-exact (CPU provider).
    """

    parts: int
    judged: int
    unseen: int
    differences: list[str]
    recorded_sha256: str
    replayed_sha256: str
    elsewhere: list[str]


def verify(asked: Asked, warn: Warn = _nobody) -> Verified:
    """Play a recording and compare every decision with the recorded one."""
    if asked.footage.suffix.lower() != RECORDING_SUFFIX:
        raise FootageError(f"{asked.footage}: --verify is for recordings (.mcap)")
    recording = _opened(asked, warn)
    was = [row.record for row in recording.rows]
    parts = scripted(recording)
    if not any(one.is_judged for one in parts):
        raise FootageError(f"{asked.footage}: nothing to compare: no part has verdict and picture")
    model = _package(asked, recording)
    played = play(recording, model, asked, warn)
    found: list[Difference] = differences(was, played.records)
    return Verified(
        parts=len(was),
        judged=sum(one.is_judged for one in parts),
        unseen=sum(bool(one.record.frame_ns) and one.row < 0 for one in parts),
        differences=[str(one) for one in found],
        recorded_sha256=_digest([one.record for one in parts]),
        replayed_sha256=_digest(played.records),
        elsewhere=elsewhere(recording.session, asked, model),
    )


def _digest(records: Sequence[PartRecord]) -> str:
    digest = DecisionDigest()
    for record in records:
        digest.add(record)
    return digest.hexdigest()


def elsewhere(session: Session, asked: Asked, model: Package) -> list[str]:
    """What decisions may depend on and is not as it was recorded with."""
    now = {
        "package": model.content_sha256,
        "provider": asked.provider or session.provider,
        "threads": str(asked.threads or session.threads),
        "instruction sets": " ".join(box.instruction_sets()),
    } | box.libraries()
    was = {
        "package": session.content_sha256,
        "provider": session.provider,
        "threads": str(session.threads),
        "instruction sets": " ".join(session.instruction_sets),
    } | session.versions
    return [
        f"{name}: recorded with {was.get(name, 'none')}, here {now.get(name, 'none')}"
        for name in dict.fromkeys((*was, *now))
        if was.get(name) != now.get(name)
    ]


def against(asked: Asked, new_model: str, warn: Warn = _nobody) -> list[Flip]:
    """Replay with two packages and list the parts whose verdict changes."""
    plain = msgspec.structs.replace(asked, pace="max")
    old = replay(plain, warn)
    other = msgspec.structs.replace(plain, model=new_model, record=None, records=None)
    new = replay(other, warn)
    label = _source(asked).label
    flips = []
    for was, now in zip(old.records, new.records, strict=True):
        one, other_one = was.decision, now.decision
        before, after = (str(d.verdict or d.fault) for d in (one, other_one))
        if before != after:
            truth = label(was.part) or ""
            flips.append(Flip(was.part, truth, before, after, one.score, other_one.score))
    return flips


def pictures(asked: Asked, parts: Iterable[int]) -> Iterator[View | None]:
    """The first picture of each part, numbered as replayed, rising; None for one that is lost."""
    rows = _source(asked)
    model = package.find(asked.model) if asked.model else None
    views = model.manifest.views if model else _opened(asked, _nobody).views
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in views}
    name = next(view.name for view in views if view.kind == "picture")
    reader = rows.reader()
    try:
        for part in parts:
            try:
                reader.fill(part - 1, arrays)
            except UnreadError:
                yield None
            else:
                yield arrays[name]
    finally:
        reader.close()


def _source(asked: Asked) -> Rows:
    """The parts themselves, for their labels and pictures."""
    if asked.footage.suffix.lower() == RECORDING_SUFFIX:
        return _opened(asked, _nobody)
    views = package.find(asked.model).manifest.views
    return open_footage(asked.footage, split=asked.split, views=views)


# ---- what a replay runs on ----


def _opened(asked: Asked, warn: Warn) -> Recording:
    recording = open_recording(asked.footage, warn=warn)
    first, last = asked.span
    if (first, last) != (None, None):
        recording = recording.select(first=first, last=last)
    if not recording.rows:
        raise FootageError(f"{asked.footage}: holds no parts")
    return recording


def _package(asked: Asked, recording: Recording) -> Package:
    """The package asked for, else the very one that the recording was made with."""
    if asked.model:
        found = package.find(asked.model)
        recording.check(found.manifest.views)
        return found
    session = recording.session
    wanted = session.content_sha256
    if session.package in package.zoo_index():
        found = package.find(session.package)
        if found.content_sha256 == wanted:
            return found
    raise FootageError(
        f"{asked.footage}: recorded with package {session.package}, content sha256 {wanted}, "
        "which is not in the zoo; give its file with --model"
    )


def _station(asked: Asked, camera: FootageOptions, model: str, folder: Path) -> Station:
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


def _station_again(asked: Asked, session: Session, folder: Path, more_slots: int) -> Station:
    """The station of a recording, with an arm of its own in place of the machine."""
    try:
        was = msgspec.json.decode(session.options, type=Station)
    except msgspec.MsgspecError as error:
        raise FootageError(f"{asked.footage}: its station's options: {error}") from None
    engine = msgspec.structs.replace(
        was.engine,
        model=asked.model or session.package,
        provider=asked.provider or was.engine.provider,
        threads=asked.threads or was.engine.threads,
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


def _records(asked: Asked) -> RecordsOptions:
    return RecordsOptions(path=str(asked.records) if asked.records else "", min_free_gib=0.0)


def _recording(asked: Asked) -> RecordingOptions:
    return RecordingOptions(path=str(asked.record) if asked.record else "", keep="all")


def _check_kept(asked: Asked) -> None:
    if asked.record and asked.record.suffix.lower() != RECORDING_SUFFIX:
        raise FootageError(f"--record {asked.record}: ends in {RECORDING_SUFFIX}")
    if asked.record and asked.record.exists():
        raise FootageError(f"--record {asked.record}: exists; nothing is overwritten")
