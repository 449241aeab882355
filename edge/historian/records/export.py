"""Parts for other programs: CSV for a spreadsheet, Parquet for everything else."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, get_args, get_type_hints

import msgspec

from edge.core.box import INSTALL_ARCHIVE
from edge.core.errors import RecordsError
from edge.historian.records.rows import COLUMNS, PartRow
from edge.historian.records.when import utc_text

_GROUP_ROWS = 65_536
# A cell that begins like this is a formula to a spreadsheet, and texts come from outside.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Iterable[PartRow], file: TextIO) -> int:
    """Write parts with a line of column names; how many. `utc` is the trigger as ISO 8601.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("utc", *COLUMNS))
    count = 0
    for row in rows:
        values = msgspec.structs.astuple(row)
        writer.writerow((utc_text(row.utc_ns), *map(_cell, values)))
        count += 1
    return count


def to_parquet(rows: Iterable[PartRow], path: Path | str) -> int:
    """Write parts to a new or replaced file, whole or not at all; how many.

    `utc` is the trigger as a timestamp. RecordsError without pyarrow, or where the disk refuses.
    """
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise RecordsError(f"Parquet needs pyarrow (extra `archive`): {INSTALL_ARCHIVE}") from None
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    schema = _schema(arrow)
    count, waiting = 0, iter(rows)
    try:
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            while group := list(islice(waiting, _GROUP_ROWS)):
                columns = list(zip(*map(msgspec.structs.astuple, group), strict=True))
                utc = [row.utc_ns for row in group]
                writer.write_table(arrow.table([utc, *columns], schema=schema))
                count += len(group)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RecordsError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return count


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _schema(arrow: Any) -> Any:
    types = {int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
    hints = get_type_hints(PartRow)
    fields = [arrow.field("utc", arrow.timestamp("ns", "UTC"))]
    for name in COLUMNS:
        plain = next(kind for kind in (*get_args(hints[name]), hints[name]) if kind in types)
        fields.append(arrow.field(name, types[plain]))
    return arrow.schema(fields)
