"""Results as Parquet: one file an item, one row a part, and of what they are in its metadata."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge.archive.identity import Identity
from edge.core.box import INSTALL_ARCHIVE
from edge.core.errors import ConfigError
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Region,
    Verdict,
)
from edge.stats import DecisionDigest, session_ms

ABOUT_KEY = b"edge.item"
# Column: (Parquet type, whether a part may lack it). part counts from 1 in the item, number is
# the footage's own count; regions are JSON; session_ms is 0 where the engine did not run.
COLUMNS = {
    "item": ("string", False),
    "part": ("int64", False),
    "number": ("int64", False),
    "truth": ("string", True),
    "verdict": ("string", True),
    "action": ("string", False),
    "cause": ("string", False),
    "fault": ("string", True),
    "score": ("float32", True),
    "regions": ("string", False),
    "session_ms": ("float32", False),
}
_BATCH = 8192  # parts in memory at a time when results are read
_NEVER = Deadline(0, 0, 0)
_REGIONS = msgspec.json.Decoder(tuple[Region, ...])


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What an item's file says of itself, as JSON under `edge.item` of the Parquet metadata.

    digest is the identity's. decisions_sha256 is of these parts alone, by their numbers in the
    footage. processor names the instruction sets of the machine that judged them. note: what to
    know of the footage, such as a recording that was cut short.
    """

    digest: str
    identity: Identity
    parts: int
    decisions_sha256: str
    processor: str
    note: str = ""


def pyarrow(module: str) -> Any:
    """A module of pyarrow; ConfigError without it. It has no types, and is no part of a station."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"archives need pyarrow (extra `archive`): {INSTALL_ARCHIVE}") from None


def encode(
    identity: Identity,
    records: Sequence[PartRecord],
    truths: Sequence[str | None],
    *,
    processor: str,
    note: str = "",
) -> bytes:
    """An item's results as the bytes of a Parquet file."""
    arrow, parquet = pyarrow("pyarrow"), pyarrow("pyarrow.parquet")
    digest = DecisionDigest()
    for record in records:
        digest.add(record)
    about = About(
        digest=identity.digest(),
        identity=identity,
        parts=len(records),
        decisions_sha256=digest.hexdigest(),
        processor=processor,
        note=note,
    )
    rows = [
        _row(identity.item, record, truth) for record, truth in zip(records, truths, strict=True)
    ]
    schema = arrow.schema(
        [
            arrow.field(name, getattr(arrow, kind)(), nullable=nullable)
            for name, (kind, nullable) in COLUMNS.items()
        ],
        metadata={ABOUT_KEY: msgspec.json.encode(about)},
    )
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS]
    file = io.BytesIO()
    parquet.write_table(arrow.table(columns, schema=schema), file, compression="zstd")
    return file.getvalue()


def _row(item: str, record: PartRecord, truth: str | None) -> tuple[object, ...]:
    decision = record.decision
    return (
        item,
        record.part,
        record.number,
        truth,
        decision.verdict,
        decision.action,
        decision.cause,
        decision.fault,
        decision.score,
        msgspec.json.encode(decision.regions).decode(),
        session_ms(record),
    )


def about(file: Path) -> About | None:
    """What a file says of itself; None for one that is absent, damaged, or of another format."""
    arrow, parquet = pyarrow("pyarrow"), pyarrow("pyarrow.parquet")
    try:
        return msgspec.json.decode(parquet.read_metadata(file).metadata[ABOUT_KEY], type=About)
    except (OSError, KeyError, TypeError, arrow.ArrowException, msgspec.DecodeError):
        return None


def parts(file: Path) -> Iterator[tuple[PartRecord, str | None]]:
    """Every part of a file, in order, with its truth. OSError or ArrowException if damaged."""
    with pyarrow("pyarrow.parquet").ParquetFile(file) as opened:
        for batch in opened.iter_batches(_BATCH, columns=list(COLUMNS)[1:-1]):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield _record(*row)


def _record(
    part: int,
    number: int,
    truth: str | None,
    verdict: str | None,
    action: str,
    cause: str,
    fault: str | None,
    score: float | None,
    regions: str,
) -> tuple[PartRecord, str | None]:
    decision = Decision(
        part=part,
        action=Action(action),
        cause=Cause(cause),
        verdict=None if verdict is None else Verdict(verdict),
        fault=None if fault is None else Fault(fault),
        score=score,
        regions=() if regions == "[]" else _REGIONS.decode(regions),
    )
    return PartRecord(part, number, _NEVER, decision, applied=decision.action), truth
