"""Replays: recorded parts through the real loop, engine and arm.

Footage whose parts are pictures with labels is scored. A recording of a station can be played as it
was, instants and faults included, and compared with what was decided then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edge import realtime
from edge.app import CameraFor, Rig, rigged, scheduled
from edge.children import arm_process
from edge.core import box
from edge.core.clock import SystemClock, VirtualClock
from edge.core.config import FootageOptions, Station, TileOptions
from edge.core.errors import FootageError, PackageError, RecordsError
from edge.core.history import Session, named, served
from edge.core.ledger import Balance
from edge.core.pool import View
from edge.core.ports import Clock
from edge.core.types import PartRecord, Serving
from edge.historian.report.flips import Flip
from edge.judged import Comparison
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
from edge.rerun import (
    MORE_SLOTS,
    RECORDING_SUFFIX,
    Warn,
    check_kept,
    judges_of,
    of_frames,
    opened,
    resolved,
    station_again,
    station_for,
    tiles_for,
    tiles_then,
)
from edge.rerun import Asked as Asked
from edge.rerun import Pace as Pace
from edge.stats import DecisionDigest
from models import package
from models.package import Package
from sensors.footage import Footage, open_footage, refuse_recordings
from sensors.grabber import UnreadError
from sensors.mcap import Recording
from sensors.paced import Paced
from sensors.readers import read_picture
from sensors.scheduled import Rows


def nobody(line: str) -> None:
    """Hears no warnings."""


class Played(NamedTuple):
    """A finished replay."""

    report: Report
    records: list[PartRecord]


def replay(asked: Asked, warn: Warn = nobody) -> Played:
    """Replay footage, or a recording, and score it.

    pace "max" is a virtual clock: lock-step for footage, every instant as it was for a recording.
    Otherwise time is real, deadlines and all.
    """
    check_kept(asked)
    if asked.footage.suffix.lower() == RECORDING_SUFFIX:
        return _replay_recording(asked, warn)
    if asked.span != (None, None):
        raise FootageError(f"{asked.footage}: --from, --to and --part are for recordings (.mcap)")
    if not asked.model:
        if asked.footage.is_dir():
            refuse_recordings(asked.footage)
        raise PackageError("--model: missing; footage that is no recording does not name one")
    model, footage = _footage(asked)
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
        camera = FootageOptions(path=str(asked.footage), split=asked.split)
        station = station_for(asked, camera, asked.model, Path(folder))
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
    warn: Warn = nobody,
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
            journal.finish()
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
        provider=_provider(station, journal.records),
        model_sha256=model.file_sha256,
    )
    return Played(scored, journal.records)


def _provider(station: Station, records: Sequence[PartRecord]) -> str:
    """What the parts were served by; several where one gave up; else what was asked for."""
    served_by = dict.fromkeys(one.serving.provider for one in records if one.serving)
    return ", ".join(served_by or station.engine.providers)


def _check_all_kept(rig: Rig) -> None:
    """RecordsError where a replay that was to be kept is not, whole: nothing hurried it."""
    history = rig.history
    if history and (history.lost_pictures or history.troubles or history.restarts):
        raise RecordsError(
            f"not everything of this replay was kept: {history.lost_pictures} pictures could not "
            f"be taken, {history.restarts} historians ended, {history.troubles} troubles told above"
        )


def _replay_recording(asked: Asked, warn: Warn) -> Played:
    recording = opened(asked, warn)
    model, asked = resolved(asked, recording)
    if len(then := judges_of(recording)) > 1:
        by = ", ".join(map(named, then))
        warn(f"parts were judged by {by}; now all are by {asked.model} on {asked.provider}")
    if asked.pace != "max":
        with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
            station = station_again(asked, recording.session, Path(folder), 0)
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
        station = station_again(asked, recording.session, Path(folder), MORE_SLOTS)
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
    from what was recorded of the camera, the workers and the machine. left_out: where several
    packages or providers judged the parts, those that others judged than the one replayed with, by
    name; no other figure counts them. elsewhere: what is not as it was recorded with; where it is
    empty, decisions are bit-exact (CPU provider).
    """

    parts: int
    judged: int
    unseen: int
    differences: list[str]
    recorded_sha256: str
    replayed_sha256: str
    elsewhere: list[str]
    left_out: dict[str, int] = {}


def verify(asked: Asked, warn: Warn = nobody) -> Verified:
    """Play a recording and compare every decision with the recorded one.

    warn: told of parts that are left out, too.
    """
    if asked.footage.suffix.lower() != RECORDING_SUFFIX:
        raise FootageError(f"{asked.footage}: --verify is for recordings (.mcap)")
    recording = opened(asked, warn)
    was, parts = [row.record for row in recording.rows], scripted(recording)
    model, asked = resolved(asked, recording)
    compared = Comparison(
        was,
        recording.session,
        content_sha256=model.content_sha256,
        provider=asked.provider or recording.session.provider,
    )
    some = [parts[place] for place in compared.places]
    if not any(one.is_judged for one in some):
        raise FootageError(f"{asked.footage}: nothing to compare: {_why(compared, asked)}")
    for line in compared.left_out():
        warn(line)
    played = play(recording, model, asked, warn)
    numbers = {one.record.part for one in some}  # of this run
    theirs = {was[place].part for place in compared.places} | {0}
    found: list[Difference] = differences(was, played.records)
    then = (elsewhere(recording.session, asked, model, one) for one in compared.judges)
    return Verified(
        parts=len(some),
        judged=sum(one.is_judged for one in some),
        unseen=sum(bool(one.record.frame_ns) and one.row < 0 for one in some),
        differences=[str(one) for one in found if one.part in theirs],
        recorded_sha256=_digest([one.record for one in some]),
        replayed_sha256=_digest([one for one in played.records if one.part in numbers]),
        elsewhere=list(dict.fromkeys(line for lines in then for line in lines)),
        left_out=dict(compared.others.most_common()),
    )


def _why(compared: Comparison, asked: Asked) -> str:
    """Why no part can be compared."""
    if not compared.others:
        return "no part has verdict and picture"
    by = ", ".join(f"{name} ({parts})" for name, parts in compared.others.most_common())
    return f"parts were judged by {by}; none with its picture by {asked.model} on {asked.provider}"


def _digest(records: Sequence[PartRecord]) -> str:
    digest = DecisionDigest()
    for record in records:
        digest.add(record)
    return digest.hexdigest()


def elsewhere(
    session: Session, asked: Asked, model: Package, judge: Serving | None = None
) -> list[str]:
    """What decisions may depend on and is not as it was recorded with.

    judge: of the parts in question; None for what the session began with.
    """
    judge = judge or served(None, session)
    tiles = tiles_then(asked, session)
    now = {
        "package": model.content_sha256,
        "provider": asked.provider or judge.provider,
        "threads": str(asked.threads or judge.threads),
        "tiles": _told(asked.tiles or tiles),
        "instruction sets": " ".join(box.instruction_sets()),
    } | box.libraries()
    was = {
        "package": judge.content_sha256,
        "provider": judge.provider,
        "threads": str(judge.threads),
        "tiles": _told(tiles),
        "instruction sets": " ".join(session.instruction_sets),
    } | session.versions
    return [
        f"{name}: recorded with {was.get(name, 'none')}, here {now.get(name, 'none')}"
        for name in dict.fromkeys((*was, *now))
        if was.get(name) != now.get(name)
    ]


def _told(tiles: TileOptions | None) -> str:
    """Tiles by the station file's keys, but for `fit`: a recorded picture is a frame already."""
    if tiles is None:
        return "none"
    keys = ("frame_px", "shrink", "overlap_px", "fit_share")
    values = (msgspec.json.encode(getattr(tiles, key)).decode() for key in keys)
    return ", ".join(map("{} = {}".format, keys, values))


def against(asked: Asked, new_model: str, warn: Warn = nobody) -> list[Flip]:
    """Replay with two packages and list the parts whose verdict changes."""
    plain = msgspec.structs.replace(asked, pace="max")
    if asked.footage.suffix.lower() == RECORDING_SUFFIX:  # so that both run on the same provider
        _, plain = resolved(plain, opened(plain, nobody))
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
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in rows.views}
    name = next(view.name for view in rows.views if view.kind == "picture")
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


def _source(asked: Asked) -> Footage | Recording:
    """The parts themselves, for their labels and pictures."""
    if asked.footage.suffix.lower() == RECORDING_SUFFIX:
        return opened(asked, nobody)
    return _footage(asked)[1]


def _footage(asked: Asked) -> tuple[Package, Footage | Recording]:
    """Footage that is no recording, opened for the package asked for, and that package."""
    model = of_frames(package.find(asked.model), asked.tiles)
    return model, open_footage(asked.footage, split=asked.split, views=model.manifest.views)


def missing_tiles(asked: Asked) -> str:
    """The option that footage lacks of which no picture could be judged; "" where it lacks none.

    Told by the first picture, where that is a file larger than the package's input.
    """
    is_recording = asked.footage.suffix.lower() == RECORDING_SUFFIX
    fitted = asked.tiles is not None and asked.tiles.fit != "exact"  # of any size, on purpose
    footage = None if is_recording or fitted else _source(asked)
    if not isinstance(footage, Footage) or footage.video:
        return ""
    files = zip(footage.views, footage.rows[0].paths, strict=True)
    view, file = next(pair for pair in files if pair[0].kind == "picture")
    try:
        frame_px = read_picture(file, gray=True).shape if file else view.shape
    except UnreadError:
        return ""
    return "" if frame_px == view.shape[:2] else tiles_for(frame_px, package.find(asked.model))
