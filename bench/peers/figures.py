"""Turns into rows: every peer's parts of all rounds together, beside the bare session's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from rich.table import Table

from bench.latency.result import Host
from bench.peers.turn import Turn


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in one way of using it; `reason` says why there are no figures.

    ratio_to_bare is of the medians. score_difference is the largest one to this product's own
    session, over the frames whose scores both showed.
    """

    name: str
    variant: str
    reason: str = ""
    timed: str = ""
    versions: dict[str, str] = {}
    parts: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    round_p50_ms: list[float] = []  # of each round: how far the machine drifted
    parts_per_s: float | None = None
    ratio_to_bare: float | None = None
    score_difference: float | None = None
    scores_compared: int = 0
    remark: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run: the schema of --json."""

    model: str
    model_sha256: str
    frames: int
    frames_from: str
    parts: int
    rounds: int
    started: str  # UTC, ISO 8601
    host: Host
    rows: list[Row]


class Taken(NamedTuple):
    """All turns of one peer, or why there are none."""

    turns: list[Turn]
    reason: str = ""


def rows(taken: Mapping[tuple[str, str], Taken], bare: tuple[str, str]) -> list[Row]:
    """A row for every peer, in the order given; `bare` names the one that is the limit."""
    limit = taken.get(bare, Taken([]))
    scores = limit.turns[0].scores if limit.turns and not limit.reason else []
    found = [_row(name, variant, one, scores) for (name, variant), one in taken.items()]
    medians = [row.p50_ms for row in found if (row.name, row.variant) == bare]
    bare_ms = medians[0] if medians else None
    return [
        msgspec.structs.replace(row, ratio_to_bare=row.p50_ms / bare_ms)
        if row.p50_ms and bare_ms
        else row
        for row in found
    ]


def _row(name: str, variant: str, taken: Taken, scores: Sequence[float]) -> Row:
    if taken.reason or not taken.turns:
        return Row(name=name, variant=variant, reason=taken.reason or "took no turn")
    turns = taken.turns
    samples = np.concatenate([turn.samples_ms for turn in turns])
    p50, p90, p99, most = (float(value) for value in np.percentile(samples, (50, 90, 99, 100)))
    seconds = sum(len(turn.samples_ms) / turn.parts_per_s for turn in turns)
    compared = min(len(turns[0].scores), len(scores))
    differences = np.subtract(turns[0].scores[:compared], scores[:compared])
    return Row(
        name=name,
        variant=variant,
        timed=turns[0].timed,
        versions=turns[0].versions,
        parts=len(samples),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        max_ms=most,
        round_p50_ms=[float(np.median(turn.samples_ms)) for turn in turns],
        parts_per_s=len(samples) / seconds,
        score_difference=float(np.abs(differences).max()) if compared else None,
        scores_compared=compared,
        remark=turns[-1].remark,
    )


def table(comparison: Comparison) -> Table:
    """The rows for a person."""
    host = comparison.host
    drawn = Table(
        *("peer", "version", "what is timed"),
        title=f"{comparison.model}: {comparison.parts} parts each in {comparison.rounds} rounds, "
        f"{comparison.frames} frames from {comparison.frames_from}; {host.cpu}, {host.cores} cores",
    )
    for head in ("p50 ms", "p99 ms", "parts/s", "x bare", "scores off by"):
        drawn.add_column(head, justify="right")
    for row in comparison.rows:
        peer = f"{row.name} {row.variant}"
        if row.reason:
            drawn.add_row(peer, "", f"not measured: {row.reason}", *["-"] * 5)
            continue
        versions = " ".join(f"{name} {version}" for name, version in row.versions.items())
        shown = (row.p50_ms, row.p99_ms, row.parts_per_s, row.ratio_to_bare)
        cells = ["-" if value is None else f"{value:.2f}" for value in shown]
        off = "-" if row.score_difference is None else f"{row.score_difference:.2g}"
        drawn.add_row(peer, versions, row.timed, *cells, off)
    return drawn


def remarks(found: Sequence[Row]) -> list[str]:
    """A line for each peer that has something to say about its run."""
    return [f"{row.name} {row.variant}: {row.remark}" for row in found if row.remark]
