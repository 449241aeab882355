"""Which providers may judge with a package on this box, and which of them first.

A provider is admitted by what it did in a trial (models/tryout.py): the golden set judged as it
should be, and the 99th percentile of session.run, with its exact bound, within what the station
has for it. What was measured is kept (models/cache.py) and believed until a package, library,
driver, processor or card changes. A tail that was too long is believed only while another
provider is admitted: it may have been a bad minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edge.core.config import AUTO
from edge.core.errors import EngineError
from models import cache
from models.found import Found, survey
from models.package import Package
from models.providers import PROVIDERS, available, reason
from models.rated import FULL_RUNS, Rated
from models.tryout import Tell, tried

TIMEOUT_S = 900.0  # for one provider: an engine for an Orin took 9.5 minutes to build

Measure = Literal["always", "once", "never"]
Try = Callable[..., Rated]


class Choice(msgspec.Struct, frozen=True):
    """The admitted providers, the one to serve first, and why each other one is not among them.

    measured: those tried out just now. damaged: files of earlier answers that were not believed.
    """

    chain: tuple[Rated, ...]
    refused: dict[str, str] = {}
    measured: tuple[str, ...] = ()
    damaged: int = 0


def chosen(
    package: Package,
    asked: str | Sequence[str],
    threads: int,
    budget_ms: float,
    *,
    tell: Tell,
    measure: Measure = "once",
    folder: str = "",
    timeout_s: float = TIMEOUT_S,
    found: Found | None = None,
    tryout: Try = tried,
) -> Choice:
    """The providers a station may use, in order: asked for by name, or by their tails for "auto".

    budget_ms is what session.run may take. One name as a plain string is not timed unless
    measure is "always", but what it builds is built; the worker that starts on it judges the
    golden set. folder: of earlier answers and engines, "": the user's. EngineError, with every
    reason, where no provider is left.
    """
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    for name in names:
        if name not in (AUTO, *PROVIDERS):
            allowed = " | ".join((*PROVIDERS, AUTO))
            raise EngineError(f"provider {name}: unknown; allowed: {allowed}")
    if measure != "always" and isinstance(asked, str) and asked in PROVIDERS:
        if not PROVIDERS[asked].builds:
            precision = package.manifest.precision
            return Choice((Rated(provider=asked, precision=precision, threads=threads),))
        measure = "never"  # built, and not timed
    bench = _Bench(package, threads, budget_ms, tell, folder, timeout_s, found or survey(), tryout)
    if AUTO in names:
        return bench.quickest(tuple(PROVIDERS), measure)
    return bench.in_order(names, measure)


def prepared(
    package: Package,
    provider: str,
    threads: int,
    *,
    tell: Tell,
    folder: str = "",
    timeout_s: float = TIMEOUT_S,
    found: Found | None = None,
    again: bool = False,
    tryout: Try = tried,
) -> Rated:
    """Build what a provider builds for a package, and judge its golden set, without timing.

    again: even if that was done before. EngineError, naming the reason, where it cannot serve.
    """
    seen = found or survey()
    bench = _Bench(package, threads, None, tell, folder, timeout_s, seen, tryout)
    choice = bench.in_order((provider,), "always" if again else "never", timing=False)
    return choice.chain[0]


def engines(
    package: Package, provider: str, threads: int, *, folder: str = "", found: Found | None = None
) -> Path | None:
    """Where a worker finds what was built for it: Setup.cache; None where nothing is built."""
    if not PROVIDERS[provider].builds:
        return None
    key = cache.key(package, provider, threads, found or survey())
    return cache.built(cache.folder(folder), key)


class _Bench:
    """One package tried out on this box, with the answers kept from earlier."""

    def __init__(
        self,
        package: Package,
        threads: int,
        budget_ms: float | None,
        tell: Tell,
        folder: str,
        timeout_s: float,
        found: Found,
        tryout: Try,
    ) -> None:
        self._package, self._threads, self._budget_ms = package, threads, budget_ms
        self._tell, self._timeout_s = tell, timeout_s
        self._root, self._found, self._tryout = cache.folder(folder), found, tryout
        self._measured: list[str] = []
        self._damaged = 0

    def quickest(self, names: Sequence[str], measure: Measure) -> Choice:
        """Those admitted of all there are, the one with the shortest tail first."""
        choice = self._admitted(names, measure, how="thorough")
        ordered = sorted(choice.chain, key=lambda rated: rated.p99_ms or 0.0)
        return msgspec.structs.replace(choice, chain=tuple(ordered))

    def in_order(self, names: Sequence[str], measure: Measure, *, timing: bool = True) -> Choice:
        """Those admitted of the ones asked for, in their order."""
        timing = timing and measure != "never"
        return self._admitted(names, measure, how="brief" if timing else "built")

    def _admitted(self, names: Sequence[str], measure: Measure, *, how: str) -> Choice:
        found: dict[str, Rated] = {}
        refused = {name: why for name in names if (why := reason(name, self._found))}
        recalled = []
        for name in names:
            if name in refused:
                continue
            earlier = None if measure == "always" else self._recall(name, how)
            if earlier is not None:
                recalled.append(name)
            found[name] = earlier or self._try(name, how)
        choice = self._choice(found, refused, how)
        again = [name for name in recalled if not found[name].refusal]
        if not choice.chain and again:
            found |= {name: self._try(name, how) for name in again}
            choice = self._choice(found, refused, how)
        if not choice.chain:
            raise EngineError(self._none_left(choice.refused))
        return choice

    def _choice(self, found: dict[str, Rated], refused: dict[str, str], how: str) -> Choice:
        budget_ms = None if how == "built" else self._budget_ms
        against = {
            name: rated.refusal or ("" if budget_ms is None else rated.too_slow(budget_ms))
            for name, rated in found.items()
        }
        return Choice(
            tuple(rated for name, rated in found.items() if not against[name]),
            refused | {name: why for name, why in against.items() if why},
            tuple(self._measured),
            self._damaged,
        )

    def _try(self, name: str, how: str) -> Rated:
        key = cache.key(self._package, name, self._threads, self._found)
        self._measured.append(name)
        rated = self._tryout(
            self._package,
            name,
            self._threads,
            runs=0 if how == "built" else FULL_RUNS,
            budget_ms=self._budget_ms,
            thorough=how == "thorough",
            cache=cache.built(self._root, key),
            timeout_s=self._timeout_s,
            tell=self._tell,
        )
        if rated.refusal and rated.max_score_delta is None:
            return rated  # not for what it judged: it may have been killed, or met its time-out
        if trouble := cache.keep(self._root, key | {"trial": how}, rated):
            self._tell(f"what was measured is not kept: {trouble}")
        return rated

    def _recall(self, name: str, how: str) -> Rated | None:
        key = cache.key(self._package, name, self._threads, self._found)
        kept = cache.recall(self._root, key | {"trial": how}, Rated)
        if isinstance(kept, cache.Damaged):
            self._damaged += 1
            self._tell(f"{kept.path}: {kept.reason}; measured again")
            return None
        return kept if kept and self._still_says(kept, key, how) else None

    def _still_says(self, kept: Rated, key: cache.Key, how: str) -> bool:
        """Whether an earlier answer is one to today's question."""
        if how == "built":
            engines = cache.built(self._root, key)
            return kept.refusal != "" or engines is None or any(engines.iterdir())
        return bool(kept.refusal) or self._budget_ms is None or kept.settles(self._budget_ms)

    def _none_left(self, refused: dict[str, str]) -> str:
        called = self._package.manifest.name
        if len(refused) == 1:
            ((name, why),) = refused.items()
            here = " | ".join(available(self._found)) or "none"
            absent = f"; available: {here}" if reason(name, self._found) else ""
            return f"provider {name}: {why}{absent}"
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        return f"no provider may judge with {called}: {reasons}"
