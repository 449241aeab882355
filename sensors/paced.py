"""Rows that come faster or slower than they were recorded."""

from __future__ import annotations

from sensors.scheduled import Label, Reader, Rows


class Paced:
    """The same rows, arriving `factor` times as fast."""

    def __init__(self, rows: Rows, factor: float) -> None:
        self._rows, self._factor = rows, factor

    @property
    def parts(self) -> int | None:
        return self._rows.parts

    def arrival_ns(self, row: int) -> int:
        return round(self._rows.arrival_ns(row) / self._factor)

    def label(self, part: int) -> Label | None:
        return self._rows.label(part)

    def defect_type(self, part: int) -> str:
        return self._rows.defect_type(part)

    def encoder(self, row: int) -> int | None:
        return self._rows.encoder(row)

    def reader(self) -> Reader:
        return self._rows.reader()
