"""Labelled footage, judged picture by picture as a station judges it: fit, envelope, limits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from edge.archive.identity import Settings
from edge.archive.inspector import Inspector
from edge.core.errors import FootageError
from edge.core.types import PartRecord, Record
from edge.page.words import count
from edge.replay import outcome
from models.package import Package
from sensors.footage import Footage, FootageRow, open_footage

Tell = Callable[[int, int], None]


class Known(msgspec.Struct, frozen=True):
    """Footage whose rows all have a label, each with its picture file's digest.

    sha256: lower case hex; "" for a file that cannot be read. repeated: rows left out since the
    very same files came before under the same label.
    """

    footage: Footage
    sha256: tuple[str, ...]
    unlabelled: int
    repeated: int


class Judged(Record, frozen=True):
    """What became of one row. fate: accepted | fail | held | defaulted, as edge.replay.outcome.

    fault and reason say why there is no score.
    """

    row: int
    name: str
    defect: bool
    type: str
    group: str
    fate: str
    score: float | None
    fault: str = ""
    reason: str = ""


def open_known(path: Path, package: Package, split: str) -> Known:
    """The labelled rows of a data set for the views of a package; FootageError in one line."""
    footage = open_footage(path, views=package.manifest.views, split=split)
    if not isinstance(footage, Footage) or footage.video:
        raise FootageError(f"{path}: a report needs picture files with labels, not a recording")
    labelled = [row for row in footage.rows if row.label]
    if not labelled:
        raise FootageError(
            f"{path}: no picture has a label: a manifest.csv or footage.csv with a column label "
            "(good, defect), or folders good/ and defect/ are needed"
        )
    seen: dict[tuple[str, ...], FootageRow] = {}
    repeated = 0
    for row in labelled:
        digests = [_sha256(file) for file in row.paths if file]
        # A file that is not there repeats nothing.
        places = digests if all(digests) else [str(len(seen))]
        key = (row.label or "", digests[0] if digests else "", *places)
        repeated += key in seen
        seen.setdefault(key, row)
    return Known(
        footage=Footage(path, list(seen.values()), footage.views, rate_hz=footage.rate_hz),
        sha256=tuple(key[1] for key in seen),
        unlabelled=len(footage.rows) - len(labelled),
        repeated=repeated,
    )


def _sha256(file: Path) -> str:
    with suppress(OSError):
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return ""


@contextmanager
def inspector(package: Package, provider: str, threads: int) -> Iterator[Inspector]:
    """A station's decision path, warm; ended with the context."""
    settings = Settings(content_sha256=package.content_sha256, provider=provider, threads=threads)
    made = Inspector(package.model_bytes(), settings)
    try:
        yield made
    finally:
        made.close()


def judged(known: Known, by: Inspector, tell: Tell = lambda done, of: None) -> list[Judged]:
    """Every row in its order. FootageError where no picture at all could be judged."""
    rows, found = known.footage.rows, []
    for place, record in enumerate(by.inspect(known.footage)):
        found.append(_judged(place, rows[place], known.footage.source, record, by.detail))
        tell(place + 1, len(rows))
    if all(one.score is None for one in found):
        raise FootageError(
            f"{known.footage.source}: none of {count(len(found), 'picture')} could be judged; the "
            f"first: {found[0].fault}: {found[0].reason}"
        )
    return found


def only(known: Known, rows: list[int]) -> Footage:
    """Some of the rows, in the order given, as footage of its own."""
    footage = known.footage
    chosen = [footage.rows[row] for row in rows]
    return Footage(footage.source, chosen, footage.views, rate_hz=footage.rate_hz)


def _judged(place: int, row: FootageRow, source: Path, record: PartRecord, detail: str) -> Judged:
    decision = record.decision
    return Judged(
        row=place,
        name=_name(row, source),
        defect=row.label == "defect",
        type=row.defect_type,
        group=row.group,
        fate=outcome(record),
        score=decision.score,
        fault=str(decision.fault or ""),
        reason=detail if decision.fault else "",
    )


def _name(row: FootageRow, source: Path) -> str:
    """The first picture's file below the footage."""
    root = source if source.is_dir() else source.parent
    file = next((path for path in row.paths if path), None)
    return os.path.relpath(file, root) if file else ""


def data_sha256(digests: tuple[str, ...]) -> str:
    """SHA-256 over the sorted 32-byte digests of pictures, each once; hex in, hex out."""
    raw = sorted(bytes.fromhex(one) for one in set(digests) if one)
    return hashlib.sha256(b"".join(raw)).hexdigest()


def learned_from(known: Known, package: Package) -> int:
    """How many of the pictures the package's weights or thresholds have seen."""
    seen = package.manifest.pictures.digests()
    return sum(bytes.fromhex(one) in seen for one in known.sha256 if one)
