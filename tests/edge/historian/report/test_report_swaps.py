"""A shift in which packages and providers changed while parts came."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.history import Changed, Closed, Opened, Session
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Serving,
    Verdict,
)
from edge.historian.records.books import Books
from edge.historian.records.query import show
from edge.historian.report import part as part_page
from edge.historian.report.gather import gather
from edge.historian.report.page import page
from edge.historian.report.shift import Shift

UTC_NS = 1_763_791_200 * NS_PER_S
OLD = Serving("connector", "1", "3f" * 32, "openvino", 2, "int8", 0.4, 0.6)
FALLBACK = msgspec.structs.replace(OLD, provider="cpu")
NEW = Serving("connector", "2", "a1" * 32, "cpu", 2, "int8", 0.3, 0.5)
SESSION = Session(
    session=0xA1,
    station="cell 4",
    started_ns=0,
    started_utc_ns=UTC_NS,
    who="kai (1000)",
    package=OLD.package,
    version=OLD.version,
    content_sha256=OLD.content_sha256,
    file_sha256="9e" * 32,
    views=(),
    provider=OLD.provider,
    threads=OLD.threads,
    precision=OLD.precision,
    pass_below=OLD.pass_below,
    fail_from=OLD.fail_from,
    cpu="a processor",
)


def tell(books: Books, part: int, serving: Serving, latency_ms: float, score: float | None) -> None:
    at_ns = part * NS_PER_S
    due = Deadline(at_ns, at_ns + 45 * NS_PER_MS, at_ns + 50 * NS_PER_MS)
    books.take(Opened(part, part, None, due), UTC_NS + at_ns)
    if score is None:
        decision = Decision(part, Action.REJECT, Cause.FAULT, fault=Fault.ENGINE_DOWN)
    else:
        bad = score >= serving.fail_from
        action, verdict = (Action.REJECT, Verdict.FAIL) if bad else (Action.ACCEPT, Verdict.PASS)
        decision = Decision(part, action, Cause.VERDICT, verdict, score=score)
    received_ns = at_ns + round(latency_ms * NS_PER_MS)
    record = PartRecord(
        part,
        part,
        due,
        decision,
        sent_ns=received_ns,
        decided_ns=received_ns,
        command_id=part,
        received_ns=received_ns,
        acked_ns=received_ns,
        applied=decision.action,
        serving=serving,
    )
    books.take(Closed(record), UTC_NS + at_ns)


def change(books: Books, part: int, what: str, who: str, old: str, new: str, why: str) -> None:
    at_ns = part * NS_PER_S
    books.take(Changed(what, who, old, new, why, at_ns), UTC_NS + at_ns)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """4 parts by the old package, 6 by its fallback, 3 by the new one, 1 by the fallback."""
    path = tmp_path / "shop.db"
    books = Books(path)
    books.begin(SESSION)
    for part in range(1, 5):
        tell(books, part, OLD, 5, 0.1)
    change(books, 5, "provider", "station", "openvino", "cpu", "killed; cpu takes over")
    tell(books, 5, FALLBACK, 46, None)
    for part in range(6, 11):
        tell(books, part, FALLBACK, 9 + part / 10, 0.7 if part == 8 else 0.2)
    change(books, 11, "package", "mira (1001)", "connector 1 (3f3f)", "connector 2 (a1a1)", "new")
    for part in range(11, 14):
        tell(books, part, NEW, 8, 0.55)
    tell(books, 14, FALLBACK, 9, 0.1)
    books.commit()
    books.close()
    return path


def test_parts_are_counted_by_what_judged_them(shop: Path) -> None:
    shift = gather(shop)
    found = [
        (one.content_sha256[:2], one.provider, one.limits, one.parts, one.counts, one.latency_ms)
        for one in shift.ran
    ]
    assert [row[:4] for row in found] == [
        ("3f", "cpu", (0.4, 0.6), 7),
        ("3f", "openvino", (0.4, 0.6), 4),
        ("a1", "cpu", (0.3, 0.5), 3),
    ]
    (_, fallback, spread), (_, old, _), (_, new, quick) = (
        (row[0], row[4], row[5]) for row in found
    )
    assert fallback
    assert (fallback.accepted, fallback.rejected, fallback.defaulted) == (5, 1, 1)
    assert (fallback.overruns, fallback.deadline_misses) == (1, 1)
    assert old
    assert (old.parts, old.accepted) == (4, 4)
    assert new
    assert (new.rejected, new.accepted) == (3, 0)
    assert spread
    assert (spread.parts, spread.max) == (6, 10.0)
    assert quick
    assert quick.p50 == 8.0
    assert msgspec.json.decode(msgspec.json.encode(shift), type=Shift) == shift


def test_the_page_shows_them_and_the_swaps(shop: Path) -> None:
    text = page(gather(shop), shop.parent)
    assert "What judged the parts" in text
    assert f"connector {'3f' * 6}, provider openvino" in text
    assert "1 change of the provider while parts were running" in text
    assert "killed; cpu takes over" in text
    assert "connector 1 (3f3f)" in text
    assert "mira (1001)" in text


def test_a_shift_of_one_judge_has_no_such_table(shop: Path) -> None:
    shift = gather(shop, until_ns=UTC_NS + 4 * NS_PER_S)
    assert [one.counts for one in shift.ran] == [None]
    assert "What judged the parts" not in page(shift, shop.parent)


@pytest.mark.parametrize(
    ("package", "parts"),
    [("connector", 14), ("a1a1a1a1", 3), ("3f" * 32, 11), ("plug", 0)],
)
def test_a_report_of_one_package(shop: Path, package: str, parts: int) -> None:
    shift = gather(shop, package=package)
    assert (shift.total.parts, shift.package) == (parts, package)
    # The parts of another package in between are no lost triggers.
    assert shift.conservation.missing_numbers == 0
    assert len(shift.changes) == (2 if parts else 0)
    assert f"judged by package {package}" in page(shift, shop.parent)


def test_a_parts_page_names_what_judged_it(shop: Path) -> None:
    text = part_page.page(shop, show(shop, 12))
    assert f"connector 2 {'a1' * 32}" in text
    assert "cpu, 2 threads, int8" in text
    assert "PASS below 0.3, FAIL from 0.5" in text
    first = part_page.page(shop, show(shop, 1))
    assert f"connector 1 {'3f' * 32}" in first
    assert "openvino, 2 threads, int8" in first
