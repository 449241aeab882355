"""How scores and latencies are spread: SQLite counts narrow bins, from which the rest is made."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from edge.historian.report.shift import Histogram, Latency, Percentiles, Ran
from edge.historian.report.source import Source, listed

BINS = 60
BINS_A_MS = 100  # of latency: percentiles are exact to 0.01 ms
SERIES = ("good", "defect", "unknown")
# Of a part with a verdict on a real clock: its latency in hundredths of a millisecond.
PLACE = f"CAST(latency_ms * {BINS_A_MS} + 0.5 AS INTEGER)"
TIMED = """cause = 'verdict' AND latency_ms > 0
            AND session NOT IN (SELECT value FROM json_each(:virtual))"""
LONG = 4.0  # from which ratio of largest to smallest the bins grow with the value


def latency(
    source: Source, budget_ms: tuple[float, ...], virtual: Iterable[int]
) -> tuple[Latency | None, dict[int, Percentiles]]:
    """The whole and by period; of parts with a verdict, in sessions that were not `virtual`."""
    found = source.rows(
        f"SELECT period, {PLACE}, count(*) FROM scope WHERE {TIMED} GROUP BY 1, 2",
        virtual=listed(virtual),
    )
    if not found:
        return None, {}
    whole: defaultdict[int, int] = defaultdict(int)
    by_period: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for period, place, parts in found:
        whole[place] += parts
        by_period[period][place] = parts
    values = {place / BINS_A_MS: parts for place, parts in sorted(whole.items())}
    every = Latency(
        overall_ms=percentiles(whole),
        budget_ms=budget_ms,
        histogram=_rebinned(values, budget_ms),
    )
    return every, {period: percentiles(bins) for period, bins in by_period.items()}


def percentiles(bins: Mapping[int, int]) -> Percentiles:
    """By nearest rank, from counts by hundredths of a millisecond."""
    places = np.array(sorted(bins))
    reached = np.cumsum([bins[place] for place in places.tolist()])
    parts = int(reached[-1])
    ranks = [max(1, math.ceil(share * parts)) for share in (0.5, 0.9, 0.99, 1.0)]
    p50, p90, p99, most = (places[np.searchsorted(reached, ranks)] / BINS_A_MS).tolist()
    return Percentiles(parts=parts, p50=p50, p90=p90, p99=p99, max=most)


def _rebinned(values: Mapping[float, int], also: Iterable[float]) -> Histogram:
    """Counts by value in BINS bins that reach from the smallest to the largest, and to `also`."""
    half = 0.5 / BINS_A_MS
    low = max(min(values) - half, half)
    high = max(*values, *also, 1.02 * low) + half
    spaced = np.geomspace if high / low > LONG else np.linspace
    edges = spaced(low, high, BINS + 1)
    edges[0], edges[-1] = low, high  # geomspace may miss them by a rounding
    counts = np.histogram(list(values), edges, weights=list(values.values()))[0]
    return Histogram(
        edges=tuple(round(edge, 6) for edge in edges.tolist()),
        series={"verdict": tuple(int(count) for count in counts)},
    )


def scores(source: Source, ran: Iterable[Ran]) -> Histogram | None:
    """Scores by truth, over a range that has the limits in it; None without scores."""
    low, high = source.row("SELECT min(score), max(score) FROM scope")
    if low is None or not math.isfinite(high - low):
        return None
    limits = [limit for one in ran for limit in one.limits if math.isfinite(limit)]
    low, high = min([low, *limits]), max([high, *limits])
    high = high if high > low else low + 1.0
    width = (high - low) / BINS
    found = source.rows(
        f"""SELECT known, max(0, min({BINS - 1}, CAST((score - :low) / :width AS INTEGER))),
            count(*) FROM scope WHERE score IS NOT NULL GROUP BY 1, 2""",
        low=low,
        width=width,
    )
    series = {name: [0] * BINS for name in SERIES}
    for name, place, parts in found:
        series[name][place] = parts
    return Histogram(
        edges=tuple(low + number * width for number in range(BINS + 1)),
        series={name: tuple(bars) for name, bars in series.items() if any(bars)},
    )
