"""The station's side of its historian: nothing waits, nothing is lost that can be told again."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from edge.core.clock import NS_PER_S
from edge.core.errors import RecordsError
from edge.core.history import (
    Closed,
    Committed,
    Envelope,
    Noted,
    Opened,
    Refused,
    Started,
    Trouble,
)
from edge.core.pool import FramePool, Holder
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    Frame,
    PartRecord,
    Trigger,
    Verdict,
    ViewSpec,
)
from edge.history import History, Wants
from edge.testing import ManualClock

VIEWS = (ViewSpec("image", "picture", "uint8", (8, 8)),)
DEADLINE = Deadline(1, 2, 3)
EVERY = Wants(every=True, evidence=False, pass_every=0)


class Scripted:
    """Historians as sockets: the test reads what the last one hears and says what it says."""

    def __init__(self, first: object = Started(0)) -> None:
        self.links: list[socket.socket] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.first = first
        self.lock = threading.Lock()  # the next one is launched from the history's own thread
        self.is_over = False

    def launch(self, gently: bool) -> tuple[subprocess.Popen[bytes], socket.socket]:
        with self.lock:
            if self.is_over:
                raise OSError("the test is over")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.links.append(theirs)
            self.say(self.first)
            self.processes.append(subprocess.Popen(["sleep", "60"]))
            return self.processes[-1], ours

    def say(self, heard: object) -> None:
        self.links[-1].send(msgspec.msgpack.encode(heard))

    def heard(self) -> list[Envelope]:
        found = []
        while True:
            try:
                data = self.links[-1].recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            found.append(msgspec.msgpack.decode(data, type=Envelope))

    def end(self) -> None:
        """End them all; the history, which reaps them, is closed after this."""
        with self.lock:
            self.is_over = True
            for link in self.links:
                link.close()
            for process in self.processes:
                process.kill()


@pytest.fixture
def pool() -> Iterator[FramePool]:
    made = FramePool.create(VIEWS, 8)
    yield made
    made.close()


@pytest.fixture
def made(pool) -> Iterator:
    """A history over scripted historians, and what it told of them."""
    kept: list[tuple[History, Scripted]] = []

    def make(wants: Wants = EVERY) -> tuple[History, Scripted, list[str]]:
        historians, told = Scripted(), []
        history = History(
            historians.launch, wants, pool, ManualClock(), tell=lambda *line: told.append(line[2])
        )
        history.await_start()
        kept.append((history, historians))
        return history, historians, told

    yield make
    for history, historians in kept:
        historians.end()
        history.close()


def decision(part: int, verdict: Verdict | None = Verdict.PASS) -> Decision:
    if verdict is None:
        return Decision(part, Action.REJECT, Cause.FAULT, fault=Fault.NO_IMAGE)
    return Decision(part, Action.ACCEPT, Cause.VERDICT, verdict=verdict, score=0.1)


def inspected(history: History, pool: FramePool, part: int, verdict=Verdict.PASS) -> int:
    """What the loop does with a part; its slot."""
    slot, generation = pool.lease(part)
    history.opened(Trigger(part, part, 1), DEADLINE)
    history.decided(Frame(part, slot, generation, 1), decision(part, verdict))
    pool.release(slot, Holder.PART)
    history.part(PartRecord(part, part, DEADLINE, decision(part, verdict)))
    return slot


def turned(history: History, until, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    at_ns = 0
    while not until():
        assert time.monotonic() < end, "it did not happen"
        at_ns += NS_PER_S
        history.turn(at_ns)
        time.sleep(0.005)


def test_a_part_is_told_twice_and_in_order(made, pool):
    history, historians, _ = made()
    slot = inspected(history, pool, 1)
    history.event("limit", 0, "words")
    opened, closed, noted = historians.heard()
    assert [e.number for e in (opened, closed, noted)] == [1, 2, 3]
    assert isinstance(opened.told, Opened)
    assert closed.told == Closed(
        PartRecord(1, 1, DEADLINE, decision(1)), "kept", slot, pool.generation(slot)
    )
    assert isinstance(noted.told, Noted)


def test_a_slot_is_lent_until_it_has_been_seen(made, pool):
    history, _, _ = made()
    slot = inspected(history, pool, 1)
    assert pool.holders(slot) == Holder.HISTORY
    history.turn(NS_PER_S)
    assert pool.holders(slot) == Holder.HISTORY
    pool.see(slot, pool.generation(slot))
    history.turn(2 * NS_PER_S)
    assert pool.holders(slot) == 0


def test_what_cannot_be_lent_is_lost_and_counted_and_the_line_keeps_its_slots(made, pool):
    history, historians, _ = made()
    for part in range(1, 21):
        inspected(history, pool, part)
    told = [e.told for e in historians.heard() if isinstance(e.told, Closed)]
    assert len(told) == 20
    assert pool.free == 4  # of which one was the part's own
    assert sum(one.picture == "kept" for one in told) == 4
    assert sum(one.picture == "lost" for one in told) == history.lost_pictures == 16


WANTED = [
    (EVERY, Verdict.PASS, "kept"),
    (Wants(False, True, 0), Verdict.PASS, "none"),
    (Wants(False, True, 1), Verdict.PASS, "kept"),
    (Wants(False, True, 0), Verdict.FAIL, "kept"),
    (Wants(False, True, 0), None, "kept"),
    (Wants(False, False, 1), Verdict.FAIL, "none"),
]


@pytest.mark.parametrize(("wants", "verdict", "picture"), WANTED)
def test_only_what_is_wanted_is_lent(made, pool, wants, verdict, picture):
    history, historians, _ = made(wants)
    inspected(history, pool, 1, verdict)
    assert historians.heard()[-1].told.picture == picture


def test_the_next_historian_is_told_what_the_last_one_had_not_committed(made, pool):
    history, historians, told = made()
    for part in (1, 2, 3):
        inspected(history, pool, part)
    historians.say(Committed(4))
    turned(history, lambda: history.committed == 4)
    historians.links[0].close()
    turned(history, lambda: history.restarts == 1)
    inspected(history, pool, 4)  # while there is none
    turned(history, lambda: len(historians.links) == 2)
    turned(history, lambda: history._running is not None)
    assert [e.number for e in historians.heard()] == [5, 6, 7, 8]
    assert "ended; another one is started" in told[0]
    assert pool.free >= 7  # the dead one reads nothing any more


def test_a_historian_that_reads_nothing_is_waited_for_by_nobody(made, pool):
    history, historians, _ = made()
    began = time.monotonic()
    for part in range(1, 5001):
        history.part(PartRecord(part, part, DEADLINE, decision(part)))
    assert time.monotonic() - began < 5.0
    numbers: list[int] = []
    end = time.monotonic() + 20.0
    while len(numbers) < 5000 and time.monotonic() < end:
        if heard := [e.number for e in historians.heard()]:
            numbers += heard
            historians.say(Committed(len(numbers)))
        history.turn(time.monotonic_ns())
        time.sleep(0.001)
    assert numbers == list(range(1, 5001))
    assert history.status()["records_lost"] == 0


def test_troubles_of_the_historian_are_told(made):
    history, historians, told = made()
    historians.say(Trouble("disk", "no footage is kept"))
    turned(history, lambda: bool(told))
    assert told == ["no footage is kept"]


@pytest.mark.parametrize(
    ("first", "words"),
    [(Refused("r.db: from a newer version"), "r.db: from a newer version"),
     (Trouble("x", "y"), "not a historian")],
)  # fmt: skip
def test_one_that_cannot_work_at_all_is_an_error_at_the_start(pool, first, words):
    historians = Scripted(first)
    history = History(historians.launch, EVERY, pool, ManualClock())
    with pytest.raises(RecordsError, match=words):
        history.await_start()
    historians.end()
    history.close()


@pytest.mark.parametrize("detail", ["\ud800", "x" * 200_000])
def test_a_message_that_cannot_be_sent_is_counted_and_holds_up_nothing(made, detail):
    history, historians, _ = made()
    history.event("camera", 0, detail)
    history.event("camera", 0, "fine")
    assert [e.told.detail for e in historians.heard()] == ["fine"]
    assert history.status()["records_lost"] == 1


def test_a_historian_that_makes_no_sense_is_replaced(made):
    history, historians, told = made()
    historians.links[-1].send(b"nonsense")
    turned(history, lambda: len(historians.links) == 2)
    assert "makes no sense" in told[0]


def test_a_line_that_was_quiet_for_long_has_no_hanging_historian(made, monkeypatch):
    monkeypatch.setattr("edge.history.HANG_NS", NS_PER_S // 5)
    history, _, _ = made()
    time.sleep(0.4)
    history.event("camera", 0, "first word after a pause")
    history.turn(NS_PER_S)
    assert history.restarts == 0
    time.sleep(0.4)
    history.turn(2 * NS_PER_S)  # now it is silent
    assert history.restarts == 1
