"""A table of text as HTML."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

from edge.page import frame

Row = Sequence[str]
SHORT = 19  # letters of a cell that is never broken into lines: a date with its time


def table(
    heads: Sequence[str],
    rows: Iterable[Row],
    kind: str,
    marks: dict[int, str] | None = None,
    *,
    code: Collection[int] = (),
) -> str:
    """kind: numbers or words. marks: a class by row. code: columns of digests and file names."""
    lines = []
    for place, row in enumerate(rows):
        css = f' class="{marks[place]}"' if marks and place in marks else ""
        cells = "".join(_cell(cell, column, column in code) for column, cell in enumerate(row))
        lines.append(f"<tr{css}>{cells}</tr>")
    return frame.table(heads, lines, kind)


def _cell(text: str, column: int, is_code: bool) -> str:
    said = f"<code>{escape(text)}</code>" if is_code else escape(text)
    if column == 0:
        return f'<th scope="row">{said}</th>'
    return f'<td class="short">{said}</td>' if len(text) <= SHORT else f"<td>{said}</td>"
