"""Recording: recorded parts as the rows of a scheduled camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge.core.errors import FootageError
from edge.core.footage import RecordedPart
from edge.core.history import Session
from edge.core.types import ViewSpec
from sensors.mcap.contents import Contents, Places
from sensors.mcap.file import opened, summary_of
from sensors.mcap.pictures import PictureReader
from sensors.scheduled import Label

_LABELS: dict[str, Label] = {"good": "good", "defect": "defect"}


@dataclass(frozen=True)
class Recording:
    """Recorded parts in the order of their triggers, as a camera's `Rows`: row n is part n + 1.

    rows: what is known of each part, its number at the time, decision and instants among it.
    whole: whether the file has its footer; if not, lost_bytes at its end are of no use. exact:
    whether the pictures are what the station saw, bit for bit.
    """

    path: Path
    session: Session
    rows: Sequence[RecordedPart] = field(repr=False)
    places: Places = field(repr=False)
    exact: bool
    whole: bool
    lost_bytes: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def views(self) -> tuple[ViewSpec, ...]:
        """What the package of the time looked at."""
        return self.session.views

    @property
    def parts(self) -> int | None:
        return len(self.rows)

    def arrival_ns(self, row: int) -> int:
        """Nanoseconds from the first of these triggers."""
        first_ns = self.rows[0].opened.deadline.trigger_ns
        return self.rows[row].opened.deadline.trigger_ns - first_ns

    def label(self, part: int) -> Label | None:
        return _LABELS.get(self.rows[part - 1].opened.truth)

    def defect_type(self, part: int) -> str:
        return self.rows[part - 1].opened.defect_type

    def encoder(self, row: int) -> int | None:
        return self.rows[row].opened.encoder

    def reader(self) -> PictureReader:
        return PictureReader(self.path, self.session, self.rows, self.places)

    def check(self, views: tuple[ViewSpec, ...]) -> None:
        """That a package with these views can look at it; FootageError if not."""
        recorded, wanted = (", ".join(map(_told, some)) for some in (self.views, views))
        if recorded != wanted:
            raise FootageError(
                f"{self.path}: recorded for the views {recorded}; the package wants {wanted}"
            )

    def select(
        self, *, first: int | None = None, last: int | None = None, part: int | None = None
    ) -> Recording:
        """The parts with the recorded numbers first to last, or that one; FootageError if none."""
        if part is not None:
            first = last = part
        low = 0 if first is None else first
        rows = [
            row
            for row in self.rows
            if row.record.part >= low and (last is None or row.record.part <= last)
        ]
        if not rows:
            numbers = [row.record.part for row in self.rows]
            there = f"parts {min(numbers)} to {max(numbers)}" if numbers else "no part"
            until = "the last" if last is None else last
            raise FootageError(f"{self.path}: no part from {low} to {until}; it has {there}")
        return replace(self, rows=tuple(rows))


def _told(view: ViewSpec) -> str:
    size = "x".join(map(str, view.shape))
    align = f", align {view.align}" if view.align != "none" else ""
    return f"{view.name} ({view.kind}, {view.dtype} {size}{align})"


def open_recording(path: str | Path, *, warn: Callable[[str], None] | None = None) -> Recording:
    """Open and check recorded footage; FootageError, one line, where it cannot be used.

    warn: told where the file was cut short, and where its pictures are not exact.
    """
    path = Path(path)
    with opened(path) as source:
        contents = Contents(source, path)
        summary = summary_of(source)
        if summary is not None:
            contents.look_up(summary)
        lost_bytes = 0 if summary is not None else source.size - contents.scan()
    rows = sorted(contents.parts.values(), key=_in_order)
    recording = Recording(
        path=path,
        session=contents.session,
        rows=tuple(rows),
        places=contents.places,
        exact=contents.exact,
        whole=summary is not None or contents.ended,
        lost_bytes=lost_bytes,
    )
    if warn and not recording.whole:
        lost = f", {lost_bytes} bytes are lost" if lost_bytes else ""
        warn(
            f"{path}: no index: still being written, or cut short; "
            f"{len(rows)} parts are whole{lost}"
        )
    if warn and not recording.exact:
        warn(f"{path}: its pictures are JPEG, so that a replay is not exact")
    return recording


def _in_order(row: RecordedPart) -> tuple[int, int]:
    return row.opened.deadline.trigger_ns, row.record.part
