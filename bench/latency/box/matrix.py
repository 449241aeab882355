"""session.run of many packages on everything this box offers: a row for each combination."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from rich.table import Table

from bench.latency.box.bare import Pictures, filled_pool
from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.errors import ConfigError
from edge.core.pool import FramePool
from models import package
from models.package import Package
from models.providers import PROVIDERS, require
from models.session import BoundSession, available

ROUNDS = 5
WARM_UP_RUNS = 2  # of every turn
LEAST_RUNS = 3  # of a turn


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One combination. Times are of session.run alone, back to back, over all pictures in turn.

    score_delta: the largest difference of a picture's score to that of the first row that shows
    the same pictures, which is the package itself (its twins follow) on the first provider and
    the first number of threads.
    """

    package: str
    provider: str
    precision: str
    threads: int
    frame_px: str
    p50_ms: float
    p99_ms: float
    parts_per_s: float
    score_delta: float


class _Entry(NamedTuple):
    package: Package
    provider: str
    threads: int
    session: BoundSession
    cpus: set[int]  # of the calling thread
    taken_ns: array[int]


def matrix(
    models: Sequence[Package],
    *,
    pictures_of: Callable[[Package], Pictures],
    providers: Sequence[str] | None = None,
    threads: Sequence[int] = (1, 2),
    seconds: float = 2.0,
) -> list[Row]:
    """Every package and its FP32 twin on every provider (None: all there are) and thread count.

    The frame size is the package's own: a station binds fixed shapes only, so there are no other
    sizes to run one at, and packages of different sizes are rows of their own. A provider other
    than cpu has threads of its own and gets one row. All combinations of a package take turns for
    `seconds` each. ConfigError for a thread count below 1, EngineError for a provider that is not
    here.
    """
    here = available()
    if providers is None:
        providers = [name for name, row in PROVIDERS.items() if row.onnxruntime_name in here]
    for name in providers:
        require(name, here)
    if not threads or min(threads) < 1:
        raise ConfigError(f"threads {', '.join(map(str, threads)) or 'none'}: 1 or more")
    asked = [
        (name, count)
        for name in dict.fromkeys(providers)
        for count in (dict.fromkeys(threads) if name == "cpu" else (1,))
    ]
    rows: list[Row] = []
    for family in families(models):
        pool = filled_pool(family[0], pictures_of(family[0]))
        try:
            rows += _rows(family, pool, asked, seconds)
        finally:
            pool.close()
    return rows


def families(models: Sequence[Package]) -> list[list[Package]]:
    """Each package followed by its FP32 twin, where one lies beside it; nobody is there twice."""
    twins = {one.file_sha256: _twin(one) for one in models}
    seen = {twin.file_sha256 for twin in twins.values() if twin}
    found = []
    for one in models:
        if one.file_sha256 not in seen:
            seen.add(one.file_sha256)
            twin = twins[one.file_sha256]
            found.append([one, twin] if twin else [one])
    return found


def _twin(model: Package) -> Package | None:
    path = model.path.parent / "twins" / f"{model.manifest.name}-fp32.onnx"
    return package.load(path) if path.is_file() else None


def _rows(
    family: Sequence[Package], pool: FramePool, asked: Sequence[tuple[str, int]], seconds: float
) -> list[Row]:
    allowed = sorted(os.sched_getaffinity(0))
    entries = []
    for one in family:
        model, views = one.model_bytes(), one.manifest.views
        for provider, threads in asked:
            # As a station's worker: the caller and the helpers of the CPU each on their own.
            helpers = tuple(allowed[1:]) if provider == "cpu" and threads > 1 else ()
            session = BoundSession(model, views, pool, provider, threads, helpers)
            cpus = set(allowed[:1] if helpers else allowed)
            entries.append(_Entry(one, provider, threads, session, cpus, array("q")))
    turn_ns = round(seconds * NS_PER_S / ROUNDS)
    try:
        for _ in range(ROUNDS):  # in turns, so that a slow second of the box falls on all alike
            for entry in entries:
                _take_turn(entry, pool.slots, turn_ns)
    finally:
        os.sched_setaffinity(0, allowed)
    first = _scores(entries[0], pool.slots)
    return [_row(entry, _scores(entry, pool.slots), first) for entry in entries]


def _take_turn(entry: _Entry, slots: int, for_ns: int) -> None:
    os.sched_setaffinity(0, entry.cpus)
    run, taken_ns = entry.session.run, entry.taken_ns
    for slot in range(WARM_UP_RUNS):
        run(slot % slots)
    until_ns, runs = now_ns() + for_ns, 0
    while runs < LEAST_RUNS or now_ns() < until_ns:
        slot = len(taken_ns) % slots
        began_ns = now_ns()
        run(slot)
        taken_ns.append(now_ns() - began_ns)
        runs += 1


def _scores(entry: _Entry, slots: int) -> list[float]:
    output, found = entry.session.outputs[entry.package.manifest.outputs.score], []
    for slot in range(slots):
        entry.session.run(slot)
        found.append(float(output[0]))
    return found


def _row(entry: _Entry, scores: list[float], first: list[float]) -> Row:
    manifest, taken_ms = entry.package.manifest, np.asarray(entry.taken_ns) / NS_PER_MS
    p50, p99 = np.percentile(taken_ms, (50.0, 99.0))
    return Row(
        package=manifest.name,
        provider=entry.provider,
        precision=manifest.precision,
        threads=entry.threads,
        frame_px=" x ".join(map(str, manifest.picture().shape[1::-1])),
        p50_ms=round(float(p50), 4),
        p99_ms=round(float(p99), 4),
        parts_per_s=round(1000.0 / float(np.mean(taken_ms)), 2),
        score_delta=max(abs(a - b) for a, b in zip(scores, first, strict=True)),
    )


def save(path: Path, rows: Sequence[Row]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


def describe(rows: Sequence[Row]) -> Table:
    """The rows as a table, the packages apart."""
    table = Table("package", "precision", "provider", title="session.run alone")
    for name in ("threads", "frame px", "p50 ms", "p99 ms", "parts/s", "score delta"):
        table.add_column(name, justify="right")
    for place, row in enumerate(rows):
        table.add_row(
            *(row.package, row.precision, row.provider, str(row.threads), row.frame_px),
            *(f"{row.p50_ms:.3f}", f"{row.p99_ms:.3f}", f"{row.parts_per_s:.1f}"),
            f"{row.score_delta:.2g}",
            end_section=place + 1 < len(rows) and rows[place + 1].frame_px != row.frame_px,
        )
    return table
