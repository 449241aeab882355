"""Which parts a person should look at, and which pictures."""

from __future__ import annotations

from typing import Any

from edge.historian.records.rows import regions_of
from edge.historian.report.shift import Shown
from edge.historian.report.source import Source

MOST_PICTURES = 12
MOST_ESCAPED = 30
_COLUMNS = """session, part, utc_ns, coalesce(lot, ''), kind, coalesce(verdict, ''), score,
    coalesce(fault, ''), coalesce(truth, ''), coalesce(defect_type, ''), coalesce(evidence, ''),
    coalesce(regions, '[]')"""
_ESCAPED = "known = 'defect' AND kind = 'accepted'"
# Title of a group, which parts, and which of them first; a part is shown in its first group only.
GROUPS = (
    ("escapes: known defects that were accepted", _ESCAPED, "score"),
    ("accepted, highest scores among those with a picture", "kind = 'accepted'", "score DESC"),
    (
        "rejected, lowest scores among those with a picture",
        "kind IN ('rejected', 'reworked')",
        "score",
    ),
    ("defaults, the latest with a picture", "kind = 'defaulted'", "utc_ns DESC"),
)


def escaped(source: Source) -> list[Shown]:
    """Known defects that were accepted, oldest first, with their picture or without."""
    found = source.rows(
        f"SELECT {_COLUMNS} FROM scope WHERE {_ESCAPED} ORDER BY utc_ns LIMIT {MOST_ESCAPED}"
    )
    return [_shown(row, "") for row in found]


def shown(source: Source) -> list[Shown]:
    """Up to MOST_PICTURES parts that have evidence, by group.

    The groups take turns, so that one with few pictures leaves its places to the others.
    """
    ranked: list[list[Shown]] = []
    for why, which, order in GROUPS:
        found = source.rows(
            f"SELECT {_COLUMNS} FROM scope WHERE {which} AND evidence <> '' "
            f"ORDER BY {order}, utc_ns LIMIT {MOST_PICTURES}"
        )
        ranked.append([_shown(row, why) for row in found])
    chosen: dict[tuple[int, int], Shown] = {}
    for rank in range(MOST_PICTURES):
        for group in ranked:
            if rank < len(group) and len(chosen) < MOST_PICTURES:
                one = group[rank]
                chosen.setdefault((one.session, one.part), one)
    titles = [why for why, _, _ in GROUPS]
    return sorted(chosen.values(), key=lambda one: titles.index(one.why))


def _shown(row: Any, why: str) -> Shown:
    *plain, regions = row
    names = Shown.__struct_fields__[1:-1]
    return Shown(why=why, **dict(zip(names, plain, strict=True)), regions=regions_of(regions))
