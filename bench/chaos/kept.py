"""What the historian of a run has kept, against the station's own log of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from edge.core.errors import FootageError
from edge.core.types import PartRecord
from edge.historian.records.query import query
from edge.historian.records.rows import PartRow
from edge.historian.records.verify import verify
from sensors.mcap import open_recording

DATABASE, FOOTAGE, EVENTS = "records.db", "footage", "events.jsonl"


class Kept(TypedDict):
    """Fields of a chaos report."""

    records_missing: int
    records_problems: int
    pictures_kept: int
    pictures_lost: int
    pictures_in_footage: int
    historian_restarts: int


def judge(folder: Path, records: list[PartRecord]) -> Kept:
    """Compare every row with what the station wrote down by itself."""
    rows = {row.part: row for row in query(folder / DATABASE)}
    same = sum(record.part in rows and _is_same(rows[record.part], record) for record in records)
    pictures = [row.picture for row in rows.values()]
    told = (folder / EVENTS).read_text()
    return Kept(
        records_missing=len(records) - same + abs(len(rows) - len(records)),
        records_problems=len(verify(folder / DATABASE).problems),
        pictures_kept=pictures.count("kept"),
        pictures_lost=pictures.count("lost"),
        pictures_in_footage=sum(map(_pictures, (folder / FOOTAGE).glob("*.mcap"))),
        historian_restarts=told.count("another one is started"),
    )


def _is_same(row: PartRow, record: PartRecord) -> bool:
    decision = record.decision
    return (row.verdict, row.action, row.cause, row.fault, row.score, row.applied) == (
        decision.verdict,
        decision.action,
        decision.cause,
        decision.fault,
        decision.score,
        record.applied,
    )


def _pictures(path: Path) -> int:
    """How many pictures can be looked at again; 0 of a file killed in its first chunk."""
    try:
        recording = open_recording(path)
    except FootageError:
        return 0
    return sum(row.has_picture for row in recording.rows)
