"""A station that keeps everything, with real processes: asked, killed, told its disk is no good."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from edge.children import HISTORIAN
from edge.core.errors import FootageError
from edge.core.process import python_module
from edge.desk import ask, socket_path
from edge.historian.records.query import query, show
from edge.historian.records.verify import verify
from edge.playback import Asked
from edge.playback import verify as verify_footage
from sensors.mcap import open_recording

RATE_HZ = 40


class Kept:
    """A station on synthetic parts that keeps records and footage in a folder, and its arm."""

    def __init__(self, folder: Path, parts: int, *, name: str = "") -> None:
        self.folder, self.name = folder, name or f"kept-{os.getpid()}-{time.monotonic_ns()}"
        self.database, self.footage = folder / "r.db", folder / "footage"
        bind = f"ipc://{folder}/station.ipc"
        (folder / "cell.toml").write_text(
            f'name = "{self.name}"\nslots = 16\n'
            f'[camera]\nsource = "synthetic"\nrate_hz = {RATE_HZ}\nparts = {parts}\n'
            f'[engine]\nmodel = "synthetic-part"\n[controller]\nbind = "{bind}"\n'
            f'[records]\npath = "{self.database}"\nlot = "A"\npass_share = 0.1\n'
            f'report = "{folder}/shift.html"\n'
            f'[recording]\npath = "{self.footage}"\nkeep = "all"\n'
        )
        self.log = folder / "arm.jsonl"
        self.log.touch()
        arm = python_module("edge", "arm", "--connect", bind, "--log", str(self.log))
        self.arm = subprocess.Popen(arm, stdout=subprocess.DEVNULL)
        self.station = subprocess.Popen(
            python_module("edge", "run", str(folder / "cell.toml")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def historian(self) -> int:
        """Its process id; 0 while there is none."""
        with suppress(OSError):
            for task in Path(f"/proc/{self.station.pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    if HISTORIAN in Path(f"/proc/{child}/cmdline").read_text():
                        return int(child)
        return 0

    def parts_on_record(self) -> int:
        with (
            suppress(sqlite3.Error),
            sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as c,
        ):
            return int(c.execute("SELECT count(*) FROM parts").fetchone()[0])
        return 0

    def finish(self) -> str:
        """Wait for its last part; what it said on stderr."""
        _, err = self.station.communicate(timeout=60)
        assert self.station.returncode == 0, err
        return err

    def end(self) -> None:
        for process in (self.station, self.arm):
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def kept(tmp_path):
    made: list[Kept] = []

    def make(parts: int, **options) -> Kept:
        made.append(Kept(tmp_path, parts, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


def until(holds, within_s=30.0):
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def test_a_run_is_on_record_whole_and_its_footage_plays_the_same(kept):
    line = kept(80)
    until(lambda: line.parts_on_record() > 5)
    refused = ask(socket_path(line.name), "lot", "")
    assert (refused["ok"], refused["error"]) == (False, "which? give its name with --reason")
    assert ask(socket_path(line.name), "lot", "B")["ok"] is True
    status = ask(socket_path(line.name), "status")
    assert status["records_lost"] == 0
    line.finish()
    found = verify(line.database)
    assert (found.problems, found.parts) == ((), 80)
    rows = list(query(line.database))
    assert [row.part for row in rows] == list(range(1, 81))
    assert Counter(row.lot for row in rows).keys() == {"A", "B"}
    assert all(row.applied in (row.action, "reject") for row in rows)
    for row in rows:
        if row.verdict == "fail":
            assert (line.folder / "r-evidence" / row.evidence).is_file()
    page = (line.folder / "shift.html").read_text()
    assert "synthetic-part" in page
    assert "80" in page
    (change,) = [
        event
        for event in _events(line.database)
        if event["kind"] == "change" and '"lot"' in event["body"]
    ]
    told = msgspec.json.decode(change["body"])
    assert (told["old"], told["new"]) == ("A", "B")
    assert str(os.getuid()) in told["who"]
    (file,) = line.footage.glob("*.mcap")
    pictures = {row.record.part for row in open_recording(file).rows if row.has_picture}
    assert pictures == {row.part for row in rows if row.footage == file.name}
    assert pictures == {row.part for row in rows if row.picture == "kept"}
    again = verify_footage(Asked(footage=file))
    assert (again.parts, again.differences) == (80, [])
    assert again.judged + again.unseen >= sum(row.verdict is not None for row in rows)


def test_a_killed_historian_costs_no_part(kept):
    line = kept(160)
    for parts in (20, 80):
        until(lambda parts=parts: line.parts_on_record() > parts)
        os.kill(until(line.historian), signal.SIGKILL)
    err = line.finish()
    assert err.count("another one is started") == 2
    found = verify(line.database)
    assert (found.problems, found.parts) == ((), 160)
    assert all(row.applied in (row.action, "reject") for row in query(line.database))
    files = sorted(line.footage.glob("*.mcap"))
    assert len(files) == 3
    assert sum(map(_pictures, files)) > 0
    there = {row.footage for row in query(line.database) if row.footage}
    assert there <= {file.name for file in files if _pictures(file)}


def test_a_killed_station_leaves_sound_records_and_the_next_one_names_what_was_open(kept):
    line = kept(4000)
    until(lambda: line.parts_on_record() > 30)
    line.station.kill()
    line.station.wait()
    until(lambda: not _is_locked(line.database))
    first = verify(line.database)
    assert first.problems == ()
    applied = [msgspec.json.decode(entry) for entry in line.log.read_bytes().splitlines()]
    on_record = {row.part: row.applied for row in query(line.database)}
    for entry in applied:  # what is on record is what the machine did
        if entry["event"] == "applied" and on_record.get(entry["part"]):
            assert on_record[entry["part"]] == entry["action"]
    line.end()
    again = kept(5, name=line.name)
    again.finish()
    found = verify(line.database, head=first.head)
    assert found.problems == ()
    assert found.sessions == 2
    lost = [row for row in query(line.database) if row.cause == "lost"]
    assert len(lost) <= 16
    assert all(row.verdict is None for row in lost)


@pytest.mark.parametrize("trouble", ["newer", "foreign", "no folder"])
def test_records_that_cannot_be_kept_are_one_line_before_the_first_part(kept, tmp_path, trouble):
    database = tmp_path / "r.db"
    if trouble == "newer":
        with sqlite3.connect(database) as made:
            made.execute("PRAGMA user_version = 99")
            made.execute("CREATE TABLE parts (x)")
        made.close()
    elif trouble == "foreign":
        database.write_bytes(b"not a database" * 100)
    else:
        database.mkdir()
    line = kept(5)
    _, err = line.station.communicate(timeout=30)
    assert line.station.returncode == 2
    (told,) = [one for one in err.splitlines() if one.startswith("edge:")]
    assert "r.db" in told
    assert "Traceback" not in err


def test_a_part_is_shown_with_its_events_while_the_station_writes(kept):
    line = kept(4000)
    until(lambda: line.parts_on_record() > 10)
    shown = show(line.database, 3)
    assert [event.kind for event in shown.events][:3] == ["trigger", "decision", "command"]
    assert shown.row is not None
    assert verify(line.database).problems == ()


def _pictures(file: Path) -> int:
    """How many can be looked at; none of a file whose writer was killed in its first chunk."""
    with suppress(FootageError):
        return sum(row.has_picture for row in open_recording(file).rows)
    return 0


def _events(database: Path) -> list[dict]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        found = connection.execute("SELECT kind, body FROM events ORDER BY event").fetchall()
    connection.close()
    return [{"kind": kind, "body": body} for kind, body in found]


def _is_locked(database: Path) -> bool:
    """Whether a historian still writes there."""
    lock = Path(f"{database}-writer")
    with lock.open() as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
