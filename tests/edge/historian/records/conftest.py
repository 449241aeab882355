"""A line that tells the books of its parts, and databases of known content."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge.core.history import Changed, Closed, Ended, Noted, Opened, Session
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Pose,
    Region,
    Stamps,
    Verdict,
    ViewSpec,
)
from edge.historian.records.books import Books

MS = 1_000_000
CLOCK_NS = 5_000 * MS
UTC_NS = 1_763_791_200_000 * MS  # 2025-11-22 06:00 UTC
PART_NS = 50 * MS

SESSION = Session(
    session=11,
    station="cell-4",
    started_ns=CLOCK_NS,
    started_utc_ns=UTC_NS,
    who="kai (1000)",
    package="connector",
    content_sha256="3f" * 32,
    file_sha256="9e" * 32,
    views=(ViewSpec("image", "picture", "uint8", (16, 16)),),
    provider="cpu",
    threads=1,
    precision="int8",
    pass_below=0.4,
    fail_from=0.6,
    cpu="a processor",
    settings={"budget_ms": "50", "policy.default": "reject"},
    lot="L1",
)


def trigger_ns(part: int) -> int:
    return CLOCK_NS + part * PART_NS


def utc_ns(at_ns: int) -> int:
    return UTC_NS + at_ns - CLOCK_NS


def opened(part: int, truth: str = "good", defect_type: str = "") -> Opened:
    at_ns = trigger_ns(part)
    deadline = Deadline(at_ns, at_ns + 45 * MS, at_ns + 50 * MS)
    return Opened(part, 1000 + part, 40 * part, deadline, truth, defect_type)


def record(
    part: int,
    score: float | None = 0.125,
    fault: Fault | None = None,
    types: tuple[str, str] = ("", ""),
) -> PartRecord:
    """A part that passed, failed from 0.6 with regions of two types, or defaulted for a fault."""
    at_ns = trigger_ns(part)
    if fault is not None:
        decision = Decision(part, Action.REJECT, Cause.FAULT, fault=fault, detail="no frame came")
        return PartRecord(
            part=part,
            number=1000 + part,
            deadline=opened(part).deadline,
            decision=decision,
            decided_ns=at_ns + 45 * MS,
            sent_ns=at_ns + 45 * MS + 1,
            command_id=3 * part,
            late_score=0.75,
        )
    assert score is not None
    bad = score >= 0.6
    decision = Decision(
        part,
        Action.REJECT if bad else Action.ACCEPT,
        Cause.VERDICT,
        Verdict.FAIL if bad else Verdict.PASS,
        score=score,
        regions=(
            (Region(1, 2, 3, 4, 9, score, types[0]), Region(5, 6, 7, 8, 12, 0.5, types[1]))
            if bad
            else ()
        ),
        pose=Pose("belt", 1.5, 2.0, 0.0, 0.0, 0.0, 90.0) if bad else None,
    )
    return PartRecord(
        part=part,
        number=1000 + part,
        deadline=opened(part).deadline,
        decision=decision,
        frame_ns=at_ns + 3 * MS,
        stamps=Stamps(at_ns + 4 * MS, at_ns + 5 * MS, at_ns + 8 * MS, at_ns + 9 * MS),
        answered_ns=at_ns + 10 * MS,
        decided_ns=at_ns + 11 * MS,
        sent_ns=at_ns + 12 * MS,
        command_id=3 * part,
        received_ns=at_ns + 13 * MS,
        acked_ns=at_ns + 14 * MS,
        applied=decision.action,
        encoder=40 * part,
    )


class Line:
    """One database and what a station tells it; `told` numbers the messages."""

    def __init__(self, path: Path, *, every: int = 1000) -> None:
        self.path, self.every, self.told = path, every, 0
        self.books = Books(path, every=every)

    record = staticmethod(record)

    def reopen(self) -> Books:
        self.books.close()
        self.books = Books(self.path, every=self.every)
        return self.books

    def begin(self, session: int = 11, **changed: object) -> int:
        values = {"session": session, **changed}
        return self.books.begin(msgspec.structs.replace(SESSION, **values))

    def tell(self, told: Opened | Closed | Noted | Changed | Ended, at_ns: int) -> None:
        self.books.take(told, utc_ns(at_ns))
        self.told += 1

    def open(self, part: int, truth: str = "good", defect_type: str = "") -> None:
        self.tell(opened(part, truth, defect_type), trigger_ns(part))

    def close(
        self,
        part: int,
        score: float = 0.125,
        fault: Fault | None = None,
        picture: str = "none",
        types: tuple[str, str] = ("", ""),
    ) -> None:
        done = Closed(record(part, score, fault, types), picture)
        self.tell(done, trigger_ns(part) + 15 * MS)

    def parts(self, first: int, last: int) -> None:
        """Parts one after the other, every fifth a scratched one that fails."""
        for part in range(first, last + 1):
            scratched = part % 5 == 0
            truth = ("defect", "scratch") if scratched else ("good", "")
            self.open(part, *truth)
            self.close(part, 0.875 if scratched else 0.125, None, "kept" if scratched else "none")

    def note(self, kind: str, part: int, detail: str) -> None:
        at_ns = trigger_ns(part) + 30 * MS
        self.tell(Noted(kind, part, detail, at_ns), at_ns)

    def lot(self, old: str, new: str, part: int) -> None:
        at_ns = trigger_ns(part)
        self.tell(Changed("lot", "kai (1000)", old, new, "", at_ns), at_ns)

    def end(self, parts: int) -> None:
        at_ns = trigger_ns(parts + 1)
        self.tell(Ended(at_ns, parts, parts, 0), at_ns)


@pytest.fixture
def line(tmp_path: Path):
    """A line with books of its own, closed at the end."""
    made = Line(tmp_path / "line.db")
    yield made
    made.books.close()


@pytest.fixture
def make_line(tmp_path: Path):
    """More lines, by the name of their database; their books are the test's to close."""
    return lambda name, **options: Line(tmp_path / name, **options)


@pytest.fixture(scope="session")
def make_anywhere(tmp_path_factory: pytest.TempPathFactory):
    """Lines in folders of their own, for tests that need many."""
    return lambda **options: Line(tmp_path_factory.mktemp("line") / "line.db", **options)


@pytest.fixture(scope="session")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one of everything, closed: removals, lost parts, notes, changes, faults."""
    made = Line(tmp_path_factory.mktemp("eventful") / "line.db", every=10)
    made.begin(11)
    made.parts(1, 4)
    made.begin(12, pass_below=0.3)  # 11 was lost
    made.parts(1, 4)
    made.open(5)
    made.books.retain(keep_parts=3, reason="a test")
    made.lot("L1", "L2", 5)
    made.note("confirm", 4, "accept")
    made.books.evidence(12, 4, "4.png")
    made.note("done", 4, "ok")
    made.note("done", 5, "ok")  # before it is closed
    made.close(5, fault=Fault.NO_IMAGE)
    made.open(6)
    made.open(7, "defect", "scratch")
    made.close(6, 0.875, picture="kept")
    made.note("late_answer", 6, "came after decide_by")
    made.begin(13, settings={"budget_ms": "60", "policy.default": "reject"})  # part 7 is lost
    made.parts(1, 2)
    made.books.checkpoint()
    made.open(3)
    made.books.commit(made.told)
    made.books.close()
    return made.path
