"""A historian as a process: what it is told, what it says, what nothing may stop it from."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge.children import historian_process
from edge.core.config import RecordingOptions, RecordsOptions
from edge.core.history import (
    Closed,
    Committed,
    Ended,
    Envelope,
    Heard,
    HistorianPlan,
    Noted,
    Opened,
    Refused,
    Session,
    Started,
    Trouble,
)
from edge.core.pool import FramePool, Holder
from edge.core.types import Action, Cause, Deadline, Decision, PartRecord, Verdict, ViewSpec
from edge.historian.records.query import query
from edge.historian.records.verify import verify
from sensors.mcap import open_recording

VIEW = ViewSpec("image", "picture", "uint8", (64, 64))
_decoder = msgspec.msgpack.Decoder(Heard)


class Told:
    """A real historian, and a station's end of its socket."""

    def __init__(self, folder: Path, records: dict | None = None, **recording) -> None:
        self.folder, self.pool = folder, FramePool.create((VIEW,), 8)
        session = Session(
            session=77, station="cell", started_ns=0, started_utc_ns=10**18, who="x", package="p",
            content_sha256="0" * 64, file_sha256="0" * 64, views=(VIEW,), provider="cpu",
            threads=1, precision="int8", pass_below=0.5, fail_from=0.5, cpu="",
        )  # fmt: skip
        self.plan = HistorianPlan(
            session=session,
            records=RecordsOptions(
                **{"path": str(folder / "r.db"), "min_free_gib": 0.0} | (records or {})
            ),
            recording=RecordingOptions(path=str(folder / "footage"), keep="all", **recording),
            pool_fd=self.pool.fd,
            slots=8,
            socket_fd=-1,
            parent_pid=0,
        )
        self.number = 0
        self.heard: list[object] = []
        self.start()

    def start(self) -> None:
        self.process, self.link = historian_process(self.plan, gently=False)

    def say(self, told: object, number: int = 0) -> None:
        self.number = number or self.number + 1
        self.link.send(msgspec.msgpack.encode(Envelope(self.number, told)))

    def part(self, part: int) -> tuple[int, int]:
        """A part with its picture in a slot; the lease."""
        slot, generation = self.pool.lease(part)
        self.pool.arrays(slot)["image"].fill(part)
        deadline = Deadline(part * 1000, part * 1000 + 45, part * 1000 + 50)
        decision = Decision(part, Action.ACCEPT, Cause.VERDICT, verdict=Verdict.PASS, score=0.1)
        record = PartRecord(part, part, deadline, decision, frame_ns=part * 1000 + 1)
        self.say(Opened(part, part, None, deadline))
        self.say(Closed(record, "kept", slot, generation))
        return slot, generation

    def until(self, holds, within_s: float = 20.0) -> None:
        end = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end, self.heard
            if select.select([self.link], [], [], 0.1)[0]:
                data = self.link.recv(1 << 16)
                assert data, "the historian has ended"
                self.heard.append(_decoder.decode(data))

    def is_committed(self, number: int = 0) -> bool:
        wanted = number or self.number
        return any(isinstance(h, Committed) and h.number >= wanted for h in self.heard)

    def end(self) -> None:
        self.link.close()
        self.process.wait(timeout=20)

    def close(self) -> None:
        self.link.close()
        self.process.kill()
        self.process.wait()
        self.pool.close()


@pytest.fixture
def told(tmp_path) -> Iterator:
    made: list[Told] = []

    def make(*args, **kwargs) -> Told:
        made.append(Told(tmp_path, *args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_part_is_on_record_and_its_slot_let_go(told):
    one = told()
    leases = [one.part(part) for part in (1, 2, 3)]
    one.until(one.is_committed)
    assert isinstance(one.heard[0], Started)
    assert all(one.pool.is_seen(*lease) for lease in leases)
    one.say(Ended(9999, 3, 3, 0))
    one.until(one.is_committed)
    one.end()
    assert verify(one.folder / "r.db").problems == ()
    rows = list(query(one.folder / "r.db"))
    assert [(row.part, row.picture) for row in rows] == [(1, "kept"), (2, "kept"), (3, "kept")]
    (file,) = (one.folder / "footage").glob("*.mcap")
    assert {row.footage for row in rows} == {file.name}
    assert open_recording(file).parts == 3


def test_a_slot_that_was_leased_again_meanwhile_is_a_lost_picture_and_no_other_parts(told):
    one = told()
    slot, generation = one.pool.lease(1)
    one.pool.release(slot, Holder.PART)
    for _ in range(8):  # the whole ring of slots, until this one comes again
        again = one.pool.lease(2)
    deadline = Deadline(1, 2, 3)
    decision = Decision(1, Action.ACCEPT, Cause.VERDICT, verdict=Verdict.PASS, score=0.1)
    one.say(Closed(PartRecord(1, 1, deadline, decision), "kept", slot, generation))
    one.until(one.is_committed)
    (row,) = query(one.folder / "r.db")
    assert again[0] == slot
    assert row.picture == "lost"


def test_a_successor_is_told_from_where_its_predecessor_had_committed(told):
    one = told()
    one.part(1)
    one.until(one.is_committed)
    one.process.kill()
    one.process.wait()
    one.link.close()
    one.start()
    one.heard.clear()
    one.until(lambda: bool(one.heard))
    assert one.heard == [Started(2)]
    one.say(Noted("again", 0, "told twice", 1), number=2)  # committed already: taken once
    one.number = 2
    one.part(2)
    one.until(one.is_committed)
    assert [row.part for row in query(one.folder / "r.db")] == [1, 2]
    assert verify(one.folder / "r.db").problems == ()


@pytest.mark.parametrize(
    "poison", [Noted("controller_state", 2**63, "x", 1), Noted("x", -5, "y", 2**63)]
)
def test_a_message_that_the_books_cannot_take_stops_nothing(told, poison):
    one = told()
    one.say(poison)
    one.part(1)
    one.until(one.is_committed)
    assert [row.part for row in query(one.folder / "r.db")] == [1]
    assert verify(one.folder / "r.db").problems == ()
    assert one.process.poll() is None


def test_a_file_that_cannot_be_deleted_costs_no_record(told, tmp_path):
    (tmp_path / "footage" / "old.mcap").mkdir(parents=True)
    one = told(keep_gib=1e-9)
    for part in range(1, 7):
        one.part(part)
    one.until(one.is_committed)
    assert [row.part for row in query(one.folder / "r.db")] == list(range(1, 7))
    assert (tmp_path / "footage" / "old.mcap").is_dir()


def test_a_disk_that_is_said_to_be_full_keeps_records_waiting_and_says_so(told):
    one = told({"min_free_gib": 900_000.0})
    one.part(1)
    one.until(
        lambda: any(isinstance(h, Trouble) and "nothing is kept" in h.detail for h in one.heard)
    )
    one.until(lambda: sum(isinstance(h, Committed) for h in one.heard) >= 2)  # it is alive
    assert not one.is_committed()


@pytest.mark.parametrize("what", ["key", "database"])
def test_what_it_cannot_open_is_said_before_the_first_part(told, tmp_path, what):
    if what == "key":
        (tmp_path / "r.key").write_text("nonsense")
        os.chmod(tmp_path / "r.key", 0o600)
    else:
        (tmp_path / "r.db").write_bytes(b"x" * 5000)
    one = told()
    one.until(lambda: bool(one.heard))
    assert isinstance(one.heard[0], Refused)
    assert "r." in one.heard[0].error


def test_it_ends_when_the_station_is_gone(told):
    one = told()
    one.until(lambda: bool(one.heard))
    one.link.shutdown(socket.SHUT_RDWR)
    assert one.process.wait(timeout=20) == 0
