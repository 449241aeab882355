"""The HTML around what a page says: the file itself, cells side by side, a table's frame.

A page needs nothing else: no network and no script, and its policy keeps a browser to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    title: str, style: str, body: Iterable[str], *, pictures: bool = False, reload_s: int = 0
) -> str:
    """A whole file. title: text; body: HTML, joined by line ends.

    pictures: it may show those that are in itself. reload_s: a browser asks again after.
    """
    policy = f"{_POLICY}; img-src data:" if pictures else _POLICY
    again = f'<meta http-equiv="refresh" content="{int(reload_s)}">' if reload_s > 0 else ""
    head = f"{again}<title>{escape(title)}</title><style>{style}</style></head>"
    inner = "\n".join(body)
    return f"{_HEAD.format(policy=policy)}{head}<body><main>\n{inner}\n</main></body></html>\n"


def wide(cell: str) -> str:
    """It takes the whole width."""
    return f'<div class="wide">{cell}</div>'


def grid(cells: Iterable[str]) -> str:
    """Side by side, as many as have room."""
    return f'<div class="grid">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'


def table(heads: Sequence[str], lines: Iterable[str], kind: str) -> str:
    """A table around its rows, which are HTML; without a head where all of its heads are empty."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    top = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return (
        f'<div class="scroll"><table class="{kind}">{top}'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
