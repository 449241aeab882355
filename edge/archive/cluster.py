"""The work on a Ray cluster: its tasks, its retries, its waiting. No scheduling of our own.

Every worker machine has this product installed with the extra `archive`, in the version used
here, and sees the archive at the same path. The package goes with the work, and results come
back with it: nothing else needs to be shared.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from edge.archive.identity import Settings
from edge.archive.inspector import Inspector
from edge.archive.items import Item
from edge.archive.work import Outcome, work
from edge.core.box import INSTALL_ARCHIVE
from edge.core.errors import ConfigError, EdgeError, EngineError, WireError

OWN = ("local", "auto")  # of this machine: started here, or found running
TRIES = 3  # of an item whose worker dies
AHEAD = 2  # items under way for each one that can run, so that no worker waits for the next
REACH_S = 5.0
_OBJECT_STORE_BYTES = 128 * 2**20  # of a cluster of our own: packages and results are small


@contextmanager
def connected(address: str, *, workers: int | None, threads: int) -> Iterator[Any]:
    """Ray, connected: "local" starts a cluster on this machine, which ends with the block.

    A process that is connected already stays so. ConfigError without Ray, WireError where
    nobody answers at the address.
    """
    ray = _ray()
    _reach(address)
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": address}
    if address == "local":
        running = workers or max(1, len(os.sched_getaffinity(0)) // threads)
        options |= {
            "num_cpus": running * threads,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    try:
        with warnings.catch_warnings(), _own_sigterm():
            warnings.simplefilter("ignore")  # about its own future
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as why:  # a library's boundary: it raises whatever its parts raise
        # A refused token looks like any other failure there, and is the likeliest one.
        token = "" if address in OWN else "; has it a token? then RAY_AUTH_MODE=token here as well"
        raise WireError(f"--ray {address}: {_first_line(why)}{token}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's way of ending: Ray's prints a stack, and exits with code 15."""
    own = signal.getsignal(signal.SIGTERM)
    yield
    if callable(own) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, own)


def outcomes(
    ray: Any,
    items: Iterator[tuple[Item, str]],
    settings: Settings,
    package_bytes: bytes,
    *,
    most: int | None,
) -> Iterator[Outcome]:
    """Work on items (each with the digest of its known results) as workers come free, in any order.

    Under way are at most AHEAD times what the cluster can run at once, or `most`: items are taken
    from the archive as it goes. A worker that dies is replaced and its item tried again by Ray.
    EdgeError where no item could ever be worked on.
    """
    task = ray.remote(num_cpus=settings.threads, max_retries=TRIES - 1)(_task)
    package = [ray.put(package_bytes)]  # in a list it goes as a reference, fetched when needed
    under_way: dict[Any, str] = {}

    def more() -> bool:
        """Give out what there is room for; False once the archive is at its end."""
        while len(under_way) < _room(ray, settings.threads, most):
            item, known = next(items, (None, ""))
            if item is None:
                return False
            under_way[task.remote(item, known, settings, package)] = item.name
        return True

    left = more()
    while under_way:
        ready, _ = ray.wait(list(under_way), num_returns=1)
        names = [(done, under_way.pop(done)) for done in ready]
        left = left and more()  # first, so that no worker waits while results are written
        for done, name in names:
            yield _result(ray, done, name)


def _room(ray: Any, threads: int, most: int | None) -> int:
    """How many items may be under way; asked anew, since a cluster grows and shrinks."""
    if most:
        return most
    return AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)


def _result(ray: Any, done: Any, name: str) -> Outcome:
    failed = ray.exceptions
    try:
        outcome: Outcome = ray.get(done)
    except failed.RayTaskError as why:  # _task answers for its item, so this is the machine's
        cause = why.cause
        if isinstance(cause, EdgeError):
            raise type(cause)(str(cause)) from None
        raise EngineError(f"the cluster cannot run the work: {_first_line(cause)}") from None
    except failed.RayError as why:
        reason = f"its worker died {TRIES} times: {_first_line(why)}"
        return Outcome(item=name, state="failed", reason=reason)
    return outcome


def _task(item: Item, known: str, settings: Settings, package: list[Any]) -> Outcome:
    """One item, in a worker process that Ray keeps for the next one."""
    return work(item, known, settings, lambda: _warm(settings, package[0]))


@lru_cache(maxsize=1)
def _warm(settings: Settings, package: Any) -> Inspector:
    """This process's engine: made for its first item, 0.3 s, and there for the others."""
    return Inspector(_ray().get(package), settings)


def _ray() -> Any:
    """The library, quiet; it has no types, and is no part of a station."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a factory reports to nobody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("ray")
    except ImportError:
        raise ConfigError(f"--ray needs Ray (extra `archive`): {INSTALL_ARCHIVE}") from None


def _reach(address: str) -> None:
    """WireError where nothing listens: Ray itself was still trying after 2 minutes."""
    if address in OWN:
        return
    try:
        told = urlsplit(f"//{address}")
        host, port = told.hostname, told.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise WireError(f"--ray {address}: allowed: local | auto | HOST:PORT")
    try:
        socket.create_connection((host, port), REACH_S).close()
    except OSError as why:
        raise WireError(f"--ray {address}: nobody answers: {why.strerror or why}") from None


def _first_line(why: object) -> str:
    lines = str(why).strip().splitlines()
    return lines[0] if lines else type(why).__name__
