"""A package and its FP32 twin on everything this box offers: a row for each combination.

Each combination is a trial as a station makes it before it starts (models/tryout.py): a process
of its own, the golden set judged on the session that is timed. All are started first and then
take turns, so that a slow second of the box falls on all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.table import Table

from edge.core.errors import ConfigError
from models import cache, package
from models.found import Found, survey
from models.package import Package
from models.providers import available, require
from models.rated import Rated
from models.tryout import Tell, Trial

TURNS = 5
RUNS = 1000
MOST_S = 60.0  # of timing, of one combination
TIMEOUT_S = 900.0  # of one step: an engine can take minutes to build


class Chosen(msgspec.Struct, frozen=True):
    """What the package runs quickest on: the shortest p99 of those that judge as they should."""

    provider: str
    precision: str
    threads: int


class Matrix(msgspec.Struct, frozen=True):
    """Rows in the order of precision, provider, threads; chosen is of the package itself, and
    None where no row may serve.
    """

    package: str
    content_sha256: str
    rows: list[Rated]
    chosen: Chosen | None


def matrix(
    model: Package,
    *,
    providers: Sequence[str] | None = None,
    threads: Sequence[int] = (1, 2),
    runs: int = RUNS,
    folder: str = "",
    tell: Tell,
    found: Found | None = None,
) -> Matrix:
    """The package and its twin on every provider (None: all there are) and number of threads.

    folder: for engines, "" the user's cache. ConfigError for a number of threads below 1,
    EngineError for a provider that cannot run here. A combination that fails is a row with its
    refusal.
    """
    seen = found or survey()
    names = available(seen) if providers is None else list(dict.fromkeys(providers))
    for name in names:
        require(name, seen)
    if not threads or min(threads) < 1:
        raise ConfigError(f"threads {', '.join(map(str, threads)) or 'none'}: 1 or more")
    root, rows = cache.folder(folder), []
    with ExitStack() as running:
        trials = [
            running.enter_context(
                Trial(
                    one, name, count, runs=runs, most_s=MOST_S, turns=TURNS,
                    cache=cache.built(root, cache.key(one, name, count, seen)),
                )
            )
            for one in family(model)
            for name in names
            for count in dict.fromkeys(threads)
        ]  # fmt: skip
        rows = take_turns(trials, tell)
    return Matrix(model.manifest.name, model.content_sha256, rows, best(model, rows))


def family(model: Package) -> list[Package]:
    """The package, followed by its FP32 twin where one lies beside it."""
    path = model.path.parent / "twins" / f"{model.manifest.name}-fp32.onnx"
    return [model, package.load(path)] if path.is_file() else [model]


def take_turns(trials: Sequence[Trial], tell: Tell) -> list[Rated]:
    """Let each trial load, and then each in turn time its share of the runs."""
    ended = [trial.until_it_waits(TIMEOUT_S, tell) for trial in trials]
    for turn in range(TURNS):
        for place, trial in enumerate(trials):
            if ended[place] is None:
                trial.go()
                ended[place] = trial.until_it_waits(TIMEOUT_S, tell)
        tell(f"turn {turn + 1} of {TURNS}")
    return [rated for rated in ended if rated is not None]


def best(model: Package, rows: Sequence[Rated]) -> Chosen | None:
    """The row of the package itself with the shortest tail, of those that may serve."""
    own = [row for row in rows if row.precision == model.manifest.precision and not row.refusal]
    timed = [(row.p99_ms, row) for row in own if row.p99_ms is not None]
    if not timed:
        return None
    row = min(timed, key=lambda pair: pair[0])[1]
    return Chosen(row.provider, row.precision, row.threads)


def save(path: Path, found: Matrix) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def describe(found: Matrix) -> Table:
    """The rows as a table, the chosen one marked; why a row may not serve is its caption."""
    refused = [f"{row.precision} on {row.provider}: {row.refusal}" for row in found.rows]
    table = Table(
        title=f"{found.package}: session.run alone",
        caption="\n".join(one for one in refused if not one.endswith(": ")) or None,
        box=None,
        pad_edge=False,
    )
    for name in ("precision", "provider"):
        table.add_column(name, no_wrap=True)
    for name in ("threads", "p50 ms", "p99 ms", "p99 below", "delta", "flips"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in found.rows:
        mine = Chosen(row.provider, row.precision, row.threads)
        table.add_row(
            *(row.precision, row.provider, str(row.threads)),
            *(_number(value, ".3f") for value in (row.p50_ms, row.p99_ms, row.p99_upper_ms)),
            *(_number(row.max_score_delta, ".4f"), _number(row.flips, "d")),
            "chosen" if mine == found.chosen else "",
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
