"""Which package a station begins with, and how others come into it while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edge.changeover import Changeover, RolledBack, Ways, rolled_back
from edge.core.clock import NS_PER_MS
from edge.core.config import AUTO, EngineOptions, Station
from edge.core.errors import EdgeError
from edge.core.pool import FramePool
from edge.core.types import Answer, Decision
from edge.crews import check_fits, crews_of
from models import certificate
from models import package as packages
from models.choose import chosen
from models.crew import Crew
from models.engine import WorkerEngine
from models.found import survey
from models.package import Package
from models.probation import Counts
from models.providers import REFERENCE, available
from models.resolve import check_pin, resolve
from models.signature import admit
from models.station_state import Step
from models.store import Store, at_address
from models.tiles import SIDE_BY_SIDE, Lanes, lanes_of, rounds, shown
from models.tryout import gently

# From a part's trigger to its command without session.run: 1 ms on two quiet cores, p99 (bench).
AROUND_SESSION_MS = 2.0


def first_package(station: Station, keys: Path) -> tuple[Package, str]:
    """The package a station begins with, as it shows itself there, and why this one.

    keys: the folder of the station file. PackageError where there is none, or it may not serve.
    """
    found, why = resolve(station, Store.at(station.engine.store))
    admit(found, station.engine, keys)
    certificate.admit(found, station.engine)
    return shown(found, station.engine.tiles), why


def begun(station: Station, package: Package) -> str:
    """The station serves with its first package: the store holds on to it. Nothing to tell."""
    engine = station.engine
    Store.at(engine.store).started(station.name, package, model=engine.model)
    return ""


class Providers(NamedTuple):
    """Who may judge, in order of preference, and why others that were asked for may not."""

    names: tuple[str, ...]
    left_out: dict[str, str]


def admitted(station: Station, model: Package, tell: Callable[[str], None]) -> Providers:
    """The providers that a station begins with; the first start with a package may measure.

    EngineError, with every reason, where none is left.
    """
    engine = station.engine
    budget_ms = station.deadline(0).decide_by_ns / NS_PER_MS - AROUND_SESSION_MS
    threads, seen = engine.threads, None
    if engine.tiles:  # a trial is of one tile, on one of the sessions that share them
        names = engine.providers
        if AUTO in names or len(names) > 1:
            seen = survey()
            asked = available(seen) if AUTO in names else names
            names = tuple(name for name in asked if name in available(seen))
        lanes = _lanes(engine, names)
        tile = packages.load(model.path, content_sha256=model.content_sha256).manifest
        budget_ms, threads = budget_ms / rounds(tile, engine.tiles, lanes), lanes.threads
    choice = chosen(
        model,
        engine.provider,
        threads,
        budget_ms,
        tell=tell,
        measure=engine.measure,
        folder=engine.cache,
        found=seen,
    )
    for rated in choice.chain:
        if rated.p99_ms is not None:
            tell(f"{rated.provider}: p99 {rated.p99_ms:.2f} ms of session.run")
    # What "auto" left out was its own choice, and is missed by nobody.
    left_out = {} if AUTO in engine.providers else choice.refused
    return Providers(tuple(rated.provider for rated in choice.chain), left_out)


def _lanes(engine: EngineOptions, names: Sequence[str]) -> Lanes:
    """How tiles are shared in the trials of a chain, of which all have the same threads.

    Side by side where everybody does that; else as by those who do not: one session, with the least
    time for a tile. So what a trial builds is what its worker looks for, by
    edge.crews.session_threads: of one installation either no provider that builds runs side by
    side, or all do.
    """
    alone = next((name for name in names if name not in SIDE_BY_SIDE), "")
    return lanes_of(alone or REFERENCE, engine.threads)


class Way(NamedTuple):
    """How a package comes into this station. providers: who judges here."""

    station: Station
    keys: Path
    pool: FramePool
    worker: tuple[str, ...]
    providers: Providers

    def crews(self, model: Package, shadow: bool) -> tuple[tuple[Crew, ...], Mapping[str, str]]:
        """The crews of a package on the providers of this station.

        What they build is built, at the lowest priority; nothing is timed beside a line, where it
        would say how busy the line is. The golden set's times are the workers' own.
        """
        engine, names = self.station.engine, self.providers.names
        choice = chosen(
            model,
            names[0] if len(names) == 1 else names,  # one needs no trial, unless it builds
            _lanes(engine, names).threads if engine.tiles else engine.threads,
            0.0,
            tell=lambda line: None,
            measure="never",
            folder=engine.cache,
            tryout=gently,
        )
        able = [rated.provider for rated in choice.chain][: 1 if shadow else None]
        crews = crews_of(model, able, self.station, self.pool, worker=self.worker, shadow=shadow)
        return crews, self.providers.left_out | choice.refused


def changeover(
    way: Way,
    model: Package,
    engine: WorkerEngine,
    *,
    decide: Callable[[Answer], Decision],
    changed: Callable[[str, str, str, str, str], None],
    event: Callable[[str, int, str], None],
    is_held: Callable[[], bool],
) -> Changeover:
    """What takes other packages into the station that has been started with this one.

    The rest as in edge.changeover.Ways.
    """
    options = way.station.engine
    store = Store.at(options.store)

    def find(address: str) -> Package:
        package = shown(at_address(address), options.tiles)
        check_pin(options, package)
        admit(package, options, way.keys)
        certificate.admit(package, options)
        check_fits(package, model)
        return package

    def write(
        step: Step, who: str, old: Package, new: Package | None, reason: str, counts: Counts | None
    ) -> str:
        store.record(
            way.station.name, step, who=who, model=options.model,
            old=old, new=new, reason=reason, probation=counts,
        )  # fmt: skip
        if options.model.endswith(".onnx") and step not in ("shadow", "keep"):
            return f"the next start is with {options.model} again (engine.model)"
        return ""

    try:
        previous, probation, left = _before(store, way.station, model)
    except EdgeError as error:  # the package that serves is not in question
        event("store", 0, f"no way back: {error}")
        previous = probation = left = None
    return Changeover(
        engine,
        model,
        options.probation,
        Ways(
            find=find,
            crews=way.crews,
            write=write,
            decide=decide,
            changed=changed,
            event=event,
            is_held=is_held,
        ),
        previous=previous,
        probation=probation,
        rolled_back=left,
    )


def _before(
    store: Store, station: Station, model: Package
) -> tuple[Package | None, Counts | None, RolledBack | None]:
    """Where a rollback leads that is asked of this start, a probation that goes on, and what the
    station was rolled back from.
    """
    state = store.state(station.name)
    active = state.active if state and state.model == station.engine.model else None
    if state is None or active is None or active.content_sha256 != model.content_sha256:
        return None, None, None
    previous = state.previous
    found = store.holding(previous.content_sha256, previous.file_sha256) if previous else None
    return found and shown(found, station.engine.tiles), state.probation, rolled_back(state)
