"""What a person sees of a scored archive."""

from __future__ import annotations

from rich.table import Table

from edge.archive.summary import Summary
from edge.panel import counts, fared


def summary(found: Summary) -> Table:
    """An archive in the words of a replay; every count is of its done and reused items."""
    view = Table(show_header=False, min_width=64)
    view.add_column(style="bold")
    view.add_column()
    items = f"{found.done} now, {found.reused} finished before, {len(found.failed)} failed"
    view.add_row("items", f"{found.items}: {items}")
    view.add_row("parts", f"{found.parts}, of which {found.judged} were judged now")
    view.add_row("actions", counts(found.actions))
    fared(view, found)
    view.add_row("faults", counts(found.faults) or "none")
    for item, note in found.notes.items():
        view.add_row(item, note)
    return view
