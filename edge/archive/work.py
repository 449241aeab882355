"""One item's work, wherever it is done: is it finished already, and if not, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from edge.archive import table
from edge.archive.identity import Settings, identity, processor
from edge.archive.inspector import Inspector
from edge.archive.items import Item
from edge.core.errors import EdgeError, FootageError
from sensors.footage import Footage, open_footage
from sensors.scheduled import Rows


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an item: judged now (data is its Parquet file), found finished, or failed."""

    item: str
    state: Literal["done", "reused", "failed"]
    parts: int = 0
    reason: str = ""
    data: bytes = b""


def work(item: Item, known: str, settings: Settings, inspector: Callable[[], Inspector]) -> Outcome:
    """Judge an item, unless the results that are known already (their digest) are still true.

    inspector: gives the warm engine when it is needed; its EdgeError is everybody's and comes
    through. Anything wrong with the item itself is its outcome.
    """
    try:
        now = identity(item, settings)
        if now.digest() == known:
            return Outcome(item=item.name, state="reused")
    except OSError as why:
        return Outcome(item=item.name, state="failed", reason=str(why))
    engine = inspector()
    try:
        rows, note = _rows(item, engine)
        records = list(engine.inspect(rows, first=item.first))
        truths = [rows.label(record.part) for record in records]
        data = table.encode(now, records, truths, processor=processor(), note=note)
    except EdgeError as why:
        return Outcome(item=item.name, state="failed", reason=str(why))
    except Exception as why:  # the item's boundary: one bad file must not cost the others
        return Outcome(item=item.name, state="failed", reason=f"{type(why).__name__}: {why}")
    return Outcome(item=item.name, state="done", parts=len(records), data=data)


def _rows(item: Item, engine: Inspector) -> tuple[Rows, str]:
    """The item's parts, as a camera takes them, and what to know of them.

    FootageError where they are not to be had.
    """
    # Else every part of a table would be a NO_IMAGE, and pass for judged.
    if not item.path.exists():
        raise FootageError(f"{item.path}: not on this machine; every worker must see the archive")
    if item.rows:
        return Footage(item.path, item.rows, engine.views, rate_hz=1.0), ""
    opened = open_footage(item.path, views=engine.views)
    if isinstance(opened, Footage):
        return opened, ""
    if not opened.rows:
        raise FootageError(f"{item.path}: holds no parts")
    notes = []
    if not opened.whole:
        notes.append(f"cut short: {opened.lost_bytes} bytes at its end are lost")
    if not opened.exact:
        notes.append("its pictures are JPEG, not what the station saw to the bit")
    return opened, "; ".join(notes)
