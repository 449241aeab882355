"""Who may judge on this station: a package on its providers, and how their workers start."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from edge import realtime
from edge.core.clock import NS_PER_S
from edge.core.config import EngineOptions, Station
from edge.core.errors import PackageError
from edge.core.pool import FramePool
from edge.core.process import python_module
from edge.core.types import Serving
from models import providers
from models.choose import engines
from models.crew import Command, Crew
from models.exchange import WorkerPlan
from models.found import Found, survey
from models.package import Package
from models.tiles import lanes_of

WORKER = ("models.worker",)


def crews_of(
    model: Package,
    chain: Sequence[str],
    station: Station,
    pool: FramePool,
    *,
    worker: tuple[str, ...] = WORKER,
    shadow: bool = False,
) -> tuple[Crew, ...]:
    """A package's crews, one a provider of the chain.

    worker: the module that is the engine's process. shadow: for a candidate that is only compared.
    """
    # What is on this box takes 0.4 s to find out, and matters only to those that build something.
    builds = any(providers.PROVIDERS[provider].builds for provider in chain)
    found = survey() if builds else None
    return tuple(
        Crew(
            _serving(model, provider, station.engine.threads),
            _command(model, provider, station, pool, worker, shadow, found),
            0 if shadow else _keep_warm_ns(provider, station),
            model.model_bytes,
        )
        for provider in chain
    )


def session_threads(engine: EngineOptions, provider: str) -> int:
    """Threads of one session of a worker, which is what its provider builds for: of one lane where
    frames are judged in tiles.
    """
    return lanes_of(provider, engine.threads).threads if engine.tiles else engine.threads


def check_fits(model: Package, into: Package) -> None:
    """Whether a package can take the place of another while parts come; PackageError if not.

    The slots hold the views, so these have to be the same, to the last admitted size.
    """
    new, old = model.manifest, into.manifest
    same_map = new.outputs.map_shape == old.outputs.map_shape
    if new.views != old.views or not same_map or new.outputs.cell_px != old.outputs.cell_px:
        raise PackageError(
            f"{new.name} {new.version}: its views or its map are not those of {old.name} "
            f"{old.version}; give it to the station file and start the station again"
        )


def _serving(model: Package, provider: str, threads: int) -> Serving:
    manifest = model.manifest
    return Serving(
        package=manifest.name,
        version=manifest.version,
        content_sha256=model.content_sha256,
        provider=provider,
        threads=threads,
        precision=manifest.precision,
        pass_below=manifest.thresholds.pass_below,
        fail_from=manifest.thresholds.fail_from,
        map_threshold=manifest.outputs.map_threshold if manifest.outputs.map else None,
        type_names=manifest.outputs.type_names,
    )


def _keep_warm_ns(provider: str, station: Station) -> int:
    asked = station.engine.keep_warm_s
    seconds = providers.PROVIDERS[provider].keep_warm_s if asked is None else asked
    return round((seconds or 0.0) * NS_PER_S)


def _command(
    model: Package,
    provider: str,
    station: Station,
    pool: FramePool,
    worker: tuple[str, ...],
    shadow: bool,
    found: Found | None,
) -> Command:
    engine = station.engine
    threads = session_threads(engine, provider)
    cache = engines(model, provider, threads, folder=engine.cache, found=found)

    def command(socket_fd: int, gently: bool) -> list[str]:
        cpus = realtime.engine_cpus(station.realtime, engine.threads)
        plan = WorkerPlan(
            package=str(model.path),
            file_sha256=model.file_sha256,
            provider=provider,
            threads=engine.threads,
            slots=pool.slots,
            pool_fd=pool.fd,
            socket_fd=socket_fd,
            parent_pid=os.getpid(),
            looks=not shadow and len(os.sched_getaffinity(0)) > 1,
            cpus=cpus.judging,
            helper_cpus=cpus.helpers,
            cache=str(cache or ""),
            gently=gently,
            shadow=shadow,
            tiles=engine.tiles,
        )
        modules = ("models.gentle", *worker) if gently else worker
        return python_module(*modules, msgspec.json.encode(plan).decode())

    return command
