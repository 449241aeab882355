"""A part of the records as a folder that can be handed over: rows, events, pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.core.errors import RecordsError
from edge.historian.evidence import folder_of
from edge.historian.records import export, store
from edge.historian.records.query import Asked, as_event, query
from edge.historian.records.rows import PartRow
from edge.historian.records.verify import verify

_EVENTS = "SELECT event, session, part, kind, at_ns, utc_ns, body, hash FROM events ORDER BY event"


class HandedOver(NamedTuple):
    """How much is in the folder."""

    parts: int
    events: int
    pictures: int


def hand_over(
    database: Path,
    out: Path,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    lot: str | None = None,
    package: str | None = None,
) -> HandedOver:
    """Write parts.csv, events.jsonl, verified.json and evidence/ into a new folder.

    events.jsonl holds every event of the chain, so that whoever gets the folder can follow the
    hashes; verified.json says what checking the whole database came to. RecordsError where the
    folder exists or the database cannot be read.
    """
    if out.exists():
        raise RecordsError(f"{out}: exists; nothing is overwritten")
    found = verify(database)
    out.mkdir(parents=True)
    asked = Asked(since_ns=since_ns, until_ns=until_ns, lot=lot, package=package)
    rows = list(query(database, **asked))
    with (out / "parts.csv").open("w", encoding="utf-8", newline="") as file:
        export.to_csv(rows, file)
    (out / "verified.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return HandedOver(len(rows), _events(database, out), _pictures(database, out, rows))


def _events(database: Path, out: Path) -> int:
    count = 0
    with store.reading(database) as connection, (out / "events.jsonl").open("wb") as file:
        for row in connection.execute(_EVENTS):
            file.write(msgspec.json.encode(as_event(row)) + b"\n")
            count += 1
    return count


def _pictures(database: Path, out: Path, rows: list[PartRow]) -> int:
    """Every file of a part's evidence; one that retention has deleted is left out."""
    here, there, count = folder_of(database), out / "evidence", 0
    there.mkdir()
    for row in rows:
        if row.evidence:
            for file in sorted(here.glob(f"{Path(row.evidence).stem}.*png")):
                shutil.copyfile(file, there / file.name)
                count += 1
    return count
