"""Counting parts: SQLite groups them once, into a few hundred cells; the rest are sums of cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edge.historian.records.rows import FOUND_TYPE
from edge.historian.report.bounds import rate
from edge.historian.report.shift import Counts, DefectType, Known, Percentiles, Period
from edge.historian.report.source import PICTURE_OVERRUN, Source

UNKNOWN_TYPE = "unknown type"


class Cell(NamedTuple):
    """Parts that are alike in everything a table of the page tells apart."""

    period: int
    kind: str
    verdict: str
    reason: str  # of a default: its fault, or one of words.FAULTS beside those
    known: str
    defect_type: str
    picture: str
    parts: int
    overruns: int
    picture_overruns: int
    commands: int
    acks: int
    otherwise: int
    failed: int
    left_otherwise: int
    late_verdicts: int


# As labelled; of a part that failed and has no label, what its worst region was taken for.
_TYPE = f"coalesce(nullif(defect_type, ''), {FOUND_TYPE}, '')"


def cells(source: Source) -> list[Cell]:
    found = source.rows(f"""
        SELECT period, kind, coalesce(verdict, ''), reason, known, {_TYPE}, coalesce(picture, ''),
            count(*), count(*) FILTER (WHERE overrun),
            count(*) FILTER (WHERE {PICTURE_OVERRUN}),
            count(*) FILTER (WHERE command_id > 0), count(*) FILTER (WHERE acked_ns > 0),
            count(*) FILTER (WHERE applied <> action),
            count(*) FILTER (WHERE done = 0), count(*) FILTER (WHERE confirmed <> applied),
            count(*) FILTER (WHERE late_score IS NOT NULL)
        FROM scope GROUP BY 1, 2, 3, 4, 5, 6, 7""")
    return [Cell(*row) for row in found]


def total(those: Iterable[Cell], by: Callable[[Cell], str]) -> dict[str, int]:
    """Parts by a property of theirs, the most frequent first."""
    found: Counter[str] = Counter()
    for cell in those:
        found[by(cell)] += cell.parts
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def counts(those: Iterable[Cell]) -> Counts:
    those = list(those)
    return Counts(
        parts=sum(cell.parts for cell in those),
        overruns=sum(cell.overruns for cell in those),
        picture_overruns=sum(cell.picture_overruns for cell in those),
        deadline_misses=sum(cell.parts for cell in those if not cell.verdict),
        **total(those, lambda cell: cell.kind),
    )


def faults(those: Iterable[Cell]) -> dict[str, int]:
    """Why parts defaulted, or were lost."""
    return total((c for c in those if c.kind in ("defaulted", "lost")), lambda cell: cell.reason)


def periods(
    those: Iterable[Cell],
    latency_ms: dict[int, Percentiles],
    start_ns: int,
    step_ns: int,
) -> tuple[Period, ...]:
    """Every step from the first part to the last, those without parts too."""
    by_period: defaultdict[int, list[Cell]] = defaultdict(list)
    for cell in those:
        by_period[cell.period].append(cell)
    return tuple(
        Period(
            start_utc_ns=start_ns + number * step_ns,
            counts=counts(by_period[number]),
            latency_ms=latency_ms.get(number),
            faults=faults(by_period[number]),
        )
        for number in range(max(by_period, default=-1) + 1)
    )


def outcome(cell: Cell) -> str:
    """accepted | fail | held | defaulted, as edge/replay.py has it.

    Except that a PASS which the station file does not map to ACCEPT is held here: it is no escape.
    """
    if cell.kind in ("defaulted", "lost"):
        return "defaulted"
    if cell.kind == "accepted":
        return "accepted"
    return "fail" if cell.verdict == "fail" else "held"


def known(those: Iterable[Cell]) -> Known | None:
    """How parts of known truth fared; None without any."""
    found: Counter[tuple[str, str]] = Counter()
    for cell in those:
        found[cell.known, outcome(cell)] += cell.parts
    good = sum(parts for (truth, _), parts in found.items() if truth == "good")
    defect = sum(parts for (truth, _), parts in found.items() if truth == "defect")
    if not good and not defect:
        return None
    over = found["good", "fail"] + found["good", "held"]
    return Known(
        good=good,
        defect=defect,
        passed=found["good", "accepted"],
        overkill=found["good", "fail"],
        held_good=found["good", "held"],
        defaulted_good=found["good", "defaulted"],
        caught=found["defect", "fail"],
        escapes=found["defect", "accepted"],
        held_defect=found["defect", "held"],
        defaulted_defect=found["defect", "defaulted"],
        detection=rate(found["defect", "fail"], defect),
        escape_rate=rate(found["defect", "accepted"], defect),
        overkill_rate=rate(over, good),
    )


def types(those: Iterable[Cell]) -> list[DefectType]:
    """Defective parts by type, the most frequent first.

    Of parts whose truth nobody knows, those that failed count as defective, of the type that the
    package takes their worst region for; unknown where it knows no types.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for cell in those:
        became = outcome(cell)
        if cell.known == "defect" or (cell.known == "unknown" and became == "fail"):
            found[cell.defect_type or UNKNOWN_TYPE][became] += cell.parts
    rows = [
        DefectType(
            name=name,
            parts=fared.total(),
            caught=fared["fail"],
            escapes=fared["accepted"],
            held=fared["held"],
            defaulted=fared["defaulted"],
        )
        for name, fared in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.parts, row.name))
