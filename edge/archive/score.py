"""Score an archive of any size, in this process or on a Ray cluster, and go on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Literal

import msgspec

from edge.archive import cluster, table
from edge.archive.identity import Settings
from edge.archive.inspector import Inspector
from edge.archive.items import ROWS_PER_ITEM, Archive, Item, Refused, order
from edge.archive.results import Label, Results, held
from edge.archive.summary import Summary, count
from edge.archive.work import Outcome, work
from edge.core.clock import NS_PER_S, now_ns
from edge.core.errors import ConfigError, FootageError, RecordsError
from models import package

Outcomes = Callable[[Iterator[tuple[Item, str]]], Iterator[Outcome]]


class Finished(msgspec.Struct, frozen=True):
    """An item as it is finished, for who watches; parts of its results, reason why it failed."""

    item: str
    state: Literal["done", "reused", "failed"]
    parts: int
    reason: str = ""


def score(
    archive: Path,
    model: str,
    out: Path,
    *,
    ray: str | None = None,
    threads: int = 1,
    workers: int | None = None,
    provider: str = "cpu",
    split: str = "test",
    rows_per_item: int = ROWS_PER_ITEM,
    progress: Callable[[Finished], None] = lambda finished: None,
) -> Summary:
    """Judge every part of an archive and leave the results in `out`, one Parquet file an item.

    ray: None for this process alone, "local" for a cluster on this machine, or the address of
    one. workers: at most so many items at a time; all processors if None. threads: of each
    session. A finished item is not judged again while its files, the package, these settings
    and the libraries are the same. A footage that cannot be judged is in `failed` and stops
    nothing. An EdgeError names what a person must change: the archive, its emptiness, the
    folder, the package, the address, or a missing extra.
    """
    if rows_per_item < 1 or threads < 1 or (workers is not None and workers < 1):
        raise ConfigError("threads, workers and rows per item: 1 or more")
    table.pyarrow("pyarrow.parquet")
    loaded, archive, out = package.find(model), archive.resolve(), out.resolve()
    settings = Settings(content_sha256=loaded.content_sha256, provider=provider, threads=threads)
    label = Label(
        archive=str(archive),
        package=loaded.manifest.name,
        settings=settings,
        split=split,
        rows_per_item=rows_per_item,
    )
    if out == archive:
        raise RecordsError(f"{out}: is the archive itself; choose another folder for the results")
    found, again = (
        Archive(archive, loaded.manifest.views, split=split, rows_per_item=rows_per_item, leave=out)
        for _ in range(2)
    )
    items = found.items()
    if (first := next(items, None)) is None:
        raise FootageError(f"{archive}: no footage in it, only {found.ignored} other files")
    with held(out, label, again.items()) as results:
        run = _Run(results, progress)
        with _runner(ray, settings, loaded.model_bytes(), workers) as outcomes:
            began_ns = now_ns()
            run.finish(outcomes(run.asked(chain((first,), items))))
            seconds = (now_ns() - began_ns) / NS_PER_S
        summary = run.summary(loaded.manifest.name, settings, found.ignored, seconds)
        results.put_summary(summary)
    return summary


class _Run:
    """Which items there are and what became of them."""

    def __init__(self, results: Results, progress: Callable[[Finished], None]) -> None:
        self._results, self._progress = results, progress
        self._done: list[str] = []
        self._reused: list[str] = []
        self._failed: dict[str, str] = {}
        self._judged = 0

    def asked(self, found: Iterator[Item | Refused]) -> Iterator[tuple[Item, str]]:
        """The items to work on, each with the digest of its results that are there."""
        for item in found:
            match item:
                case Item():
                    yield item, self._results.known(item.name)
                case Refused(name=name, reason=reason):
                    self._take(Outcome(item=name, state="failed", reason=reason))

    def finish(self, outcomes: Iterator[Outcome]) -> None:
        for outcome in outcomes:
            self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        parts = outcome.parts
        match outcome.state:
            case "done":
                self._results.put(outcome.item, outcome.data)
                self._done.append(outcome.item)
                self._judged += outcome.parts
            case "reused":
                self._reused.append(outcome.item)
                parts = self._results.parts(outcome.item)
            case "failed":
                self._failed[outcome.item] = outcome.reason
        told = Finished(outcome.item, outcome.state, parts, outcome.reason)
        self._progress(told)

    def summary(self, name: str, settings: Settings, ignored: int, seconds: float) -> Summary:
        finished = sorted((*self._done, *self._reused), key=order)
        return Summary(
            package=name,
            content_sha256=settings.content_sha256,
            provider=settings.provider,
            threads=settings.threads,
            items=len(finished) + len(self._failed),
            done=len(self._done),
            reused=len(self._reused),
            failed=dict(sorted(self._failed.items(), key=lambda pair: order(pair[0]))),
            stale=self._results.stale(finished),
            ignored=ignored,
            judged=self._judged,
            seconds=round(seconds, 3),
            parts_per_s=round(self._judged / seconds, 2) if self._judged and seconds else None,
            **count(self._results.file(item) for item in finished),
        )


@contextmanager
def _runner(
    ray: str | None, settings: Settings, package_bytes: bytes, workers: int | None
) -> Iterator[Outcomes]:
    """Who does the work: this process, one item after another, or a cluster."""
    if ray is not None:
        # A cluster of our own has no more processors than that, so it can be given work ahead.
        most = None if ray == "local" else workers
        with cluster.connected(ray, workers=workers, threads=settings.threads) as connected:
            yield lambda items: cluster.outcomes(
                connected, items, settings, package_bytes, most=most
            )
        return
    made: list[Inspector] = []

    def inspector() -> Inspector:
        if not made:
            made.append(Inspector(package_bytes, settings))
        return made[0]

    try:
        yield lambda items: (work(item, known, settings, inspector) for item, known in items)
    finally:
        for one in made:
            one.close()
