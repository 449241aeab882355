"""Parts that two packages judge differently, with their pictures: the gate for a new model."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

from edge.core.pool import View
from edge.historian.report.pictures import outlined, shrunk
from edge.historian.report.style import STYLE
from edge.page import frame
from edge.page.whole import write_whole

MOST = 200  # pictures on a page


class Flip(NamedTuple):
    """A part and what both made of it; score is None where there was no verdict."""

    part: int
    truth: str
    old: str
    new: str
    old_score: float | None
    new_score: float | None


def write(
    html: Path, names: tuple[str, str], flips: list[Flip], pictures: Iterable[View | None]
) -> None:
    """Write the page; pictures are those of the flips in their order, None for one that is lost."""
    title = " against ".join(names)
    lines = [f"<h1>{escape(title)}</h1>", f"<p>{len(flips)} parts change their verdict.</p>"]
    lines.append('<div class="pictures">')
    for flip, picture in zip(flips[:MOST], pictures, strict=False):
        said = f"part {flip.part}: {flip.old} ({_score(flip.old_score)}) to {flip.new} "
        said += f"({_score(flip.new_score)}), {flip.truth or 'unlabelled'}"
        shown = '<div class="absent">its picture is lost</div>'
        if picture is not None:
            size = picture.shape[1], picture.shape[0]
            shown = outlined(shrunk(picture), f"part {flip.part}", size, ())
        lines.append(f"<figure>{shown}<figcaption>{escape(said)}</figcaption></figure>")
    lines.append("</div>")
    if len(flips) > MOST:
        lines.append(f"<p>The first {MOST} are shown.</p>")
    write_whole(html, frame.page(title, STYLE, lines, pictures=True))


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"
