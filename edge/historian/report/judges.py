"""How the parts of each package and provider fared, where more than one judged parts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from edge.historian.report import spread
from edge.historian.report.shift import Counts, Percentiles, Ran
from edge.historian.report.source import PICTURE_OVERRUN, Source, listed

Judge = tuple[str, str, tuple[float, ...]]  # digest, provider, limits
_JUDGE = "coalesce(content_sha256, ''), coalesce(provider, ''), pass_below, fail_from"


def fared(source: Source, ran: Sequence[Ran], virtual: Iterable[int]) -> list[Ran]:
    """Each with its counts and latencies, in their order; of one alone the page says them anyway.

    virtual: sessions whose latencies mean nothing.
    """
    if len(ran) < 2:
        return list(ran)
    counts, latency_ms = _counts(source), _latency(source, virtual)
    found = []
    for one in ran:
        judge = (one.content_sha256, one.provider, one.limits)
        found.append(
            msgspec.structs.replace(one, counts=counts.get(judge), latency_ms=latency_ms.get(judge))
        )
    return found


def limits_of(*limits: float | None) -> tuple[float, ...]:
    """The limits that a row has."""
    return tuple(limit for limit in limits if limit is not None)


def _counts(source: Source) -> dict[Judge, Counts]:
    found: defaultdict[Judge, Counter[str]] = defaultdict(Counter)
    for digest, provider, below, fail, kind, parts, *counted in source.rows(
        f"""SELECT {_JUDGE}, kind, count(*), count(*) FILTER (WHERE overrun),
            count(*) FILTER (WHERE {PICTURE_OVERRUN}), count(*) FILTER (WHERE verdict IS NULL)
            FROM scope GROUP BY 1, 2, 3, 4, 5"""
    ):
        cell = found[digest, provider, limits_of(below, fail)]
        names = ("overruns", "picture_overruns", "deadline_misses")
        cell += Counter(parts=parts, **dict(zip(names, counted, strict=True)))
        cell[kind] += parts
    return {judge: Counts(**fares) for judge, fares in found.items()}


def _latency(source: Source, virtual: Iterable[int]) -> dict[Judge, Percentiles]:
    found: defaultdict[Judge, dict[int, int]] = defaultdict(dict)
    for digest, provider, below, fail, place, parts in source.rows(
        f"SELECT {_JUDGE}, {spread.PLACE}, count(*) FROM scope WHERE {spread.TIMED} "
        "GROUP BY 1, 2, 3, 4, 5",
        virtual=listed(virtual),
    ):
        found[digest, provider, limits_of(below, fail)][place] = parts
    return {judge: spread.percentiles(places) for judge, places in found.items()}
