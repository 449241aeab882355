"""`python -m bench [GROUP ...]`: measure what bench/budgets.toml promises, print it, judge it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import align, big_frames, changing, faults, keeping, measures
from bench.latency import promises
from bench.measures import SkippedError
from edge.core.errors import EdgeError

GROUPS = (
    measures.GROUPS
    | faults.GROUPS
    | promises.GROUPS
    | keeping.GROUPS
    | changing.GROUPS
    | big_frames.GROUPS
    | align.GROUPS
)
BUDGETS = Path(__file__).with_name("budgets.toml")


def main(names: list[str]) -> int:
    """Exit code 0 when every budget held, 1 when one broke, 2 for an unknown group."""
    budgets = tomllib.loads(BUDGETS.read_text(encoding="utf-8"))
    if unknown := [name for name in names if name not in GROUPS]:
        print(f"bench: {unknown[0]}: unknown group; allowed: {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    table = Table("group", "figure", "measured", "budget", "")
    broken = 0
    for group in names or list(GROUPS):
        try:
            figures = GROUPS[group]()
        except SkippedError as why:
            table.add_row(group, "-", f"skipped: {why}", "", "")
            continue
        except EdgeError as error:
            print(f"bench: {group}: {error}", file=sys.stderr)
            return 2
        for figure, limits in budgets[group].items():
            value = figures.pop(figure)
            held = limits.get("min", value) <= value <= limits.get("max", value)
            broken += not held
            budget = " ".join(f"{kind} {limit:g}" for kind, limit in limits.items())
            table.add_row(group, figure, f"{value:.6g}", budget, "held" if held else "BROKEN")
        for figure, value in figures.items():
            table.add_row(group, figure, f"{value:.6g}", "", "")
    Console(width=110).print(table)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
