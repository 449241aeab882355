"""Whatever instant a writer dies at, the records open, verify, and hold the committed groups."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from edge.historian.records.query import query
from edge.historian.records.verify import verify

WRITER = Path(__file__).with_name("killed_writer.py")
ROUNDS = 5


def kill_after(path: Path, session: int, part: int, seconds: float) -> list[int]:
    """Run a writer, kill it so long after its first commit; the numbers it said were committed."""
    command = [sys.executable, str(WRITER), str(path), str(session), str(part)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        lines = writer.stdout.read().split(b"\n")[:-1]  # the last one may be cut
    return [int(first), *map(int, lines)]


def test_a_killed_writer_leaves_whole_records(tmp_path, make_line):
    path, random_s = tmp_path / "killed.db", random.Random(1)
    session, told, part = 1, 0, 1
    for turn in range(ROUNDS):
        if turn % 2 == 0:  # a new station; else the same one with its next historian
            session, told = session + 1, 0
        said = kill_after(path, session, part, random_s.uniform(0.0, 0.3))
        assert said[0] >= told
        found = verify(path)
        assert found.problems == ()
        assert found.events + found.removed == found.head_event
        told = said[-1]
        part = 10_000 * (turn + 1)
    line = make_line("killed.db")
    number = line.begin(session)
    assert told <= number <= told + 9  # at most one group whose word did not come
    line.books.close()
    assert verify(path).problems == ()


def test_a_log_cut_anywhere_is_a_prefix_of_the_groups(make_line, tmp_path):
    """As a loss of power leaves it: the log ends, or turns to noise, at any byte."""
    line = make_line("cut.db")
    line.begin()
    heads = {line.books.head}
    for part in range(1, 30, 3):
        line.parts(part, part + 2)
        line.books.commit(line.told)
        heads.add(line.books.head)
    log = Path(f"{line.path}-wal").read_bytes()
    chance, seen = random.Random(2), set()
    for turn in range(40):
        copy = tmp_path / f"copy{turn}.db"
        shutil.copyfile(line.path, copy)
        shutil.copyfile(line.path.with_suffix(".key"), copy.with_suffix(".key"))
        at = chance.randrange(len(log))
        noise = chance.randbytes(len(log) - at) if turn % 2 else b""
        Path(f"{copy}-wal").write_bytes(log[:at] + noise)
        connection = sqlite3.connect(copy)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        connection.close()
        if not tables:  # cut before the tables were committed: nothing was promised yet
            continue
        found = verify(copy)
        assert found.problems == ()
        if found.head_event:
            assert (found.head_event, found.head) in heads
        seen.add(found.head_event)
    assert len(seen) > 5
    line.books.close()


def test_records_are_read_while_a_station_writes(make_line):
    line = make_line("read.db", every=20)
    line.begin()
    line.parts(1, 20)
    line.books.commit()
    rows = query(line.path)
    first = next(rows)
    line.parts(21, 40)
    line.books.commit()
    assert first.part == 1
    assert len(list(rows)) == 19  # what was there when it began
    assert len(list(query(line.path))) == 40
    assert verify(line.path).problems == ()
    line.books.close()
