"""What keeping costs and holds: the historian beside a line, killed, asked, and replayed."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from bench.chaos.drive import chaos
from bench.chaos.plan import KINDS
from bench.latency.box.bare import measure
from bench.latency.result import Result, Scenario
from bench.latency.run import Asked, planned, run
from bench.measures import UNSEEN_SEED, Figures, data
from edge.children import HISTORIAN
from edge.core.clock import NS_PER_MS, NS_PER_S, SystemClock, now_ns
from edge.core.errors import EdgeError, FootageError
from edge.core.history import Closed, Opened, Session
from edge.core.process import python_module
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fit,
    PartRecord,
    Verdict,
    ViewSpec,
)
from edge.desk import ask, socket_path
from edge.historian.records.books import Books
from edge.historian.records.query import count, query
from edge.historian.records.verify import verify
from edge.playback import Asked as Replayed
from edge.playback import replay
from edge.playback import verify as verify_recording
from models import package
from models.manifest import Envelope
from sensors.mcap import open_recording
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import write_footage

MODEL = "deeppcb"
PAIRS, PAIR_PARTS = 5, 1500  # at 20 Hz: 75 s each
KILLS = 200
ROWS = 1_000_000
UTC_NS = 1_700_000_000 * NS_PER_S


def historian() -> Figures:
    """20 parts/s with records and footage of every part, and without, in turns."""
    with_it, without = [], []
    missing = lost = 0.0
    for _ in range(PAIRS):
        with tempfile.TemporaryDirectory(prefix="edge-keep-") as name:
            result = _bench("constant", PAIR_PARTS, 20.0, keep=Path(name))
            with_it.append(result)
            kept = _kept(Path(name) / "records.db", Path(name) / "footage")
            missing += PAIR_PARTS + 50 - kept["parts"]
            lost += kept["pictures_lost"]
        without.append(_bench("constant", PAIR_PARTS, 20.0))
    added = {
        name: statistics.median(
            (one.overhead_ms or {})[name] - (other.overhead_ms or {})[name]
            for one, other in zip(with_it, without, strict=True)
        )
        for name in ("p50", "p99")
    }
    return {
        "added_p99_ms": added["p99"],
        "overruns": sum(result.overruns for result in with_it),
        "records_missing": missing,
        "added_p50_ms": added["p50"],
        "overruns_without": sum(result.overruns for result in without),
        "pictures_lost": lost,
        "parts": PAIRS * PAIR_PARTS,
    }


def kept() -> Figures:
    """10,000 parts of two 512 x 512 views at 100 parts/s, footage and retention on."""
    return _long(MODEL, 10_000, 100.0, None)


def kept_long() -> Figures:
    """100,000 parts of 300 x 300 at 200 parts/s: 8 minutes."""
    with tempfile.TemporaryDirectory(prefix="edge-keep-") as name:
        footage = write_footage(PartGenerator(UNSEEN_SEED), Path(name) / "footage", 64)
        model = _of_300_px(Path(name) / "wide.onnx")
        return _long(str(model), 100_000, 200.0, footage)


def _of_300_px(path: Path) -> Path:
    """The package of synthetic parts behind a crop: what it looks at is 300 x 300."""
    import onnx
    from onnx import helper, numpy_helper

    found = package.find("synthetic-part")
    model = onnx.load_model_from_string(found.model_bytes())
    del model.metadata_props[:]
    for node in model.graph.node:
        node.input[:] = ["cropped" if name == "image" else name for name in node.input]
    for name, values in (("starts", [22, 22]), ("ends", [278, 278]), ("axes", [2, 3])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    crop = helper.make_node("Slice", ["image", "starts", "ends", "axes"], ["cropped"])
    model.graph.node.insert(0, crop)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 300
    view = ViewSpec("image", "picture", "uint8", (300, 300), Fit("pad"))
    manifest = msgspec.structs.replace(
        found.manifest, name="wide-part", views=(view,), envelope=Envelope()
    )
    path.write_bytes(package.seal(model.SerializeToString(), manifest))
    return path


def _long(model: str, parts: int, rate_hz: float, footage: Path | None) -> Figures:
    with tempfile.TemporaryDirectory(prefix="edge-keep-") as name:
        plan = planned("constant", rate_hz=rate_hz, parts=parts, keep=Path(name))
        asked = Asked(model=model, plan=plan, allocations=False, footage=footage)
        result = run(asked, Console(quiet=True))
        found = _kept(Path(name) / "records.db", Path(name) / "footage")
        return {
            "records_missing": parts + 50 - found["parts"],
            "problems": found["problems"],
            "footage_miscounted": found["miscounted"],
            "parts": parts,
            "pictures_kept": found["pictures_kept"],
            "pictures_lost": found["pictures_lost"],
            "overruns": result.overruns,
            "overhead_p99_ms": (result.overhead_ms or {}).get("p99", 0.0),
        }


def _kept(database: Path, footage: Path) -> Figures:
    """What a run has left: rows, and of each picture whether it is where the records say."""
    found = verify(database)
    there = {file.name: _pictures(file) for file in footage.glob("*.mcap")}
    kept = lost = on_disk = miscounted = 0
    for row in query(database):
        kept += row.picture == "kept"
        lost += row.picture == "lost"
        if row.footage is not None and row.footage in there:  # else retention took the file
            on_disk += 1
            miscounted += row.part not in there[row.footage]
    return {
        "parts": found.parts,
        "problems": len(found.problems),
        "pictures_kept": kept,
        "pictures_lost": lost,
        "on_disk": on_disk,
        "miscounted": miscounted,
    }


def _pictures(file: Path) -> set[int]:
    """The parts whose picture can be looked at; none of a file killed in its first chunk."""
    with suppress(FootageError):
        return {row.record.part for row in open_recording(file).rows if row.has_picture}
    return set()


def killed_historians() -> Figures:
    """kill -9 at random instants, 200 times: the historian, and every fourth time the station."""
    dice, problems, unkept = random.Random(7), 0, 0
    with tempfile.TemporaryDirectory(prefix="edge-kill-") as name:
        folder, done = Path(name), 0
        while done < KILLS:
            line = _Line(folder)
            for _ in range(3):
                _rest(dice.uniform(0.2, 1.2))
                done += line.kill_historian()
            _rest(dice.uniform(0.1, 0.8))
            committed, session = line.kill_station()
            done += 1
            found = verify(folder / "r.db")
            problems += len(found.problems)
            unkept += _committed(folder / "r.db", session) < committed
        found_there = _kept(folder / "r.db", folder / "footage")
        files = len(list((folder / "footage").glob("*.mcap")))
    return {
        "problems": problems,
        "committed_and_not_there": unkept,
        "footage_missing": found_there["miscounted"],
        "kills": done,
        "parts": found_there["parts"],
        "pictures_on_disk": found_there["on_disk"],
        "files": files,
    }


class _Line:
    """A station at 50 parts/s that keeps everything, and its arm."""

    def __init__(self, folder: Path) -> None:
        self._name = f"kill-{os.getpid()}-{now_ns()}"
        bind = f"ipc://{folder}/s.ipc"
        (folder / "cell.toml").write_text(
            f'name = "{self._name}"\nslots = 16\n'
            '[camera]\nsource = "synthetic"\nrate_hz = 50\n[engine]\nmodel = "synthetic-part"\n'
            f'[controller]\nbind = "{bind}"\n'
            f'[records]\npath = "{folder}/r.db"\nevidence = false\n'
            f'[recording]\npath = "{folder}/footage"\nkeep = "all"\n'
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        arm = python_module("edge", "arm", "--connect", bind)
        self._arm = subprocess.Popen(arm, **quiet)  # type: ignore[call-overload]
        run = python_module("edge", "run", str(folder / "cell.toml"))
        self._station = subprocess.Popen(run, **quiet)  # type: ignore[call-overload]
        until_ns = now_ns() + 30 * NS_PER_S
        while not self._status().get("parts") and now_ns() < until_ns:
            _rest(0.05)

    def _status(self) -> dict[str, int]:
        with suppress(EdgeError):
            answer: dict[str, int] = ask(socket_path(self._name), "status")
            return answer
        return {}

    def kill_historian(self) -> bool:
        """False while there is none to kill."""
        for task in Path(f"/proc/{self._station.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                with suppress(OSError):
                    if HISTORIAN in Path(f"/proc/{child}/cmdline").read_text():
                        os.kill(int(child), signal.SIGKILL)
                        return True
        return False

    def kill_station(self) -> tuple[int, int]:
        """What it had heard to be committed shortly before, and its session."""
        status = self._status()
        self._station.kill()
        self._station.wait()
        self._arm.kill()
        self._arm.wait()
        _rest(0.5)  # the historian writes what it was told, and ends
        return status.get("records_committed", 0), status.get("session", 0)


def _committed(database: Path, session: int) -> int:
    """The number of the last message of a session that is on disk."""
    import sqlite3

    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        found = connection.execute("SELECT number FROM heard WHERE session = ?", (session,))
        row = found.fetchone()
    connection.close()
    return int(row[0]) if row else 0


def records_query() -> Figures:
    """1,000,000 parts in a database: by number, by day and verdict, and the check of all."""
    with tempfile.TemporaryDirectory(prefix="edge-query-") as name:
        database = Path(name) / "r.db"
        _fill(database)
        dice = random.Random(3)
        by_part = [
            _ms(lambda: list(query(database, part=dice.randrange(1, ROWS)))) for _ in range(50)
        ]
        days = [UTC_NS + day * 86_400 * NS_PER_S for day in range(10)]
        by_day = [_ms(partial(_day, database, day)) for day in days]
        verified_ms = _ms(partial(verify, database))
        size = database.stat().st_size
    return {
        "by_part_ms": max(by_part),
        "by_day_and_verdict_ms": max(by_day),
        "by_part_p50_ms": statistics.median(by_part),
        "by_day_and_verdict_p50_ms": statistics.median(by_day),
        "verify_s": verified_ms / 1000.0,
        "bytes_a_part": size / ROWS,
    }


def _one(database: Path, part: int) -> int:
    return len(list(query(database, part=part)))


def _day(database: Path, since_ns: int) -> int:
    until_ns = since_ns + 86_400 * NS_PER_S
    asked = {"since_ns": since_ns, "until_ns": until_ns, "verdict": "fail"}
    found = count(database, **asked)  # type: ignore[arg-type]
    return found + len(list(query(database, limit=100, **asked)))  # type: ignore[arg-type]


def _ms(work: Callable[[], object]) -> float:
    began_ns = now_ns()
    work()
    return (now_ns() - began_ns) / NS_PER_MS


def _fill(database: Path) -> None:
    books = Books(database)
    view = ViewSpec("image", "picture", "uint8", (8, 8))
    session = Session(
        session=1, station="bench", started_ns=0, started_utc_ns=UTC_NS, who="bench", package="p",
        content_sha256="0" * 64, file_sha256="0" * 64, views=(view,), provider="cpu", threads=1,
        precision="int8", pass_below=0.5, fail_from=0.5, cpu="",
    )  # fmt: skip
    books.begin(session)
    step_ns = 10 * 86_400 * NS_PER_S // ROWS  # ten days
    for part in range(1, ROWS + 1):
        at_ns = part * step_ns
        deadline = Deadline(at_ns, at_ns + 45 * NS_PER_MS, at_ns + 50 * NS_PER_MS)
        bad = part % 10 == 0
        decision = Decision(
            part=part,
            action=Action.REJECT if bad else Action.ACCEPT,
            cause=Cause.VERDICT,
            verdict=Verdict.FAIL if bad else Verdict.PASS,
            score=0.9 if bad else 0.1,
        )
        record = PartRecord(
            part, part, deadline, decision, decided_ns=at_ns + 1, command_id=part,
            sent_ns=at_ns + 2, received_ns=at_ns + 3, acked_ns=at_ns + 4, applied=decision.action,
        )  # fmt: skip
        books.take(Opened(part, part, None, deadline), UTC_NS + at_ns)
        books.take(Closed(record), UTC_NS + at_ns)
        if part % 500 == 0:
            books.commit()
    books.close()


def verified_replay() -> Figures:
    """10,000 parts recorded while everything around them is broken, replayed and compared."""
    kinds = tuple(kind for kind in KINDS if kind not in ("historian_kill", "disk_full"))
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as name:
        folder = Path(name) / "chaos"
        report = chaos(10_000, 40.0, 5, lambda line: None, folder=folder, kinds=kinds, slots=24)
        found = [
            verify_recording(Replayed(footage=file))
            for file in sorted((folder / "footage").glob("*.mcap"))
        ]
    return {
        "differences": sum(len(one.differences) for one in found),
        "parts_missing": 10_000 - sum(one.parts for one in found),
        "judged_again": sum(one.judged for one in found),
        "without_picture": sum(one.unseen for one in found),
        "defaults": sum(report.defaults.values()),
        "elsewhere": sum(len(one.elsewhere) for one in found),
    }


def max_replay() -> Figures:
    """Parts a second of a replay at full speed, against decoding and session.run alone."""
    footage = data(MODEL)
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as name:
        recording = Path(name) / "out.mcap"
        replay(Replayed(footage=footage, model=MODEL, record=recording))
        shares = [_share(recording) for _ in range(3)]
    return {
        "share_of_bare": statistics.median(share for share, _, _ in shares),
        "parts_per_s": statistics.median(rate for _, rate, _ in shares),
        "bare_parts_per_s": statistics.median(bare for _, _, bare in shares),
    }


def _share(recording: Path) -> tuple[float, float, float]:
    rows = open_recording(recording)
    model = package.find(MODEL)
    views = model.manifest.views
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in views}
    reader = rows.reader()
    decode_ms = [_ms(partial(reader.fill, row, arrays)) for row in range(len(rows))]
    reader.close()
    parts = [{name: array.copy() for name, array in arrays.items()}]
    bare = measure(model, "cpu", parts)
    bare_s = (statistics.fmean(decode_ms) + (bare.mean or bare.p50)) / 1000.0
    began_ns = now_ns()
    played = replay(Replayed(footage=recording))
    start_s = _start_s(recording)
    took_s = (now_ns() - began_ns) / NS_PER_S - start_s
    rate = played.report.parts / took_s
    return rate * bare_s, rate, 1.0 / bare_s


def _start_s(recording: Path) -> float:
    """What a replay of one part takes: the start and the end of its processes."""
    began_ns = now_ns()
    replay(Replayed(footage=recording, span=(1, 1)))
    return (now_ns() - began_ns) / NS_PER_S


def _bench(
    scenario: Scenario,
    parts: int,
    rate_hz: float | None = None,
    *,
    keep: Path | None = None,
) -> Result:
    plan = planned(scenario, rate_hz=rate_hz, parts=parts, keep=keep)
    return run(Asked(model=MODEL, plan=plan, allocations=False), Console(quiet=True))


def _rest(seconds: float) -> None:
    SystemClock().wait((), now_ns() + round(seconds * NS_PER_S))


GROUPS = {
    "historian": historian,
    "kept": kept,
    "kept_long": kept_long,
    "killed_historians": killed_historians,
    "records_query": records_query,
    "verified_replay": verified_replay,
    "max_replay": max_replay,
}
