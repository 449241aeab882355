"""What this box can do for a station, what is missing, and how to get it, in plain words.

Nothing here is needed for a right answer: a station runs without all but the `cpu` provider.
Each line is found by asking for the thing, not by guessing from a version.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from glob import glob
from importlib.util import find_spec
from pathlib import Path

import msgspec
from rich.table import Table

from edge.core import box
from edge.core.config import RealtimeOptions
from edge.core.errors import EdgeError
from edge.realtime import Effect, sliced, tuned
from models import cache, native
from models.found import Found, survey
from models.providers import PROVIDERS, reason

FIFO = 10  # a priority to ask for; any would do
_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


class Can(msgspec.Struct, frozen=True):
    """Whether the box can do a thing; reason: how, or what is missing and how to get it."""

    available: bool
    reason: str


def examine(look: Callable[[], Found] = survey) -> dict[str, Can]:
    """Every capability by its name, the providers first; takes about a second."""
    return {**_providers(look), **dict(_processor()), **dict(_realtime()), **dict(_software())}


def describe(found: dict[str, Can]) -> Table:
    """The capabilities for a person, a line each."""
    table = Table("", "what", "how, or what is missing", box=None)
    for name, can in found.items():
        table.add_row("yes" if can.available else "no", name, can.reason)
    return table


def _providers(look: Callable[[], Found]) -> dict[str, Can]:
    try:
        found = look()
    except EdgeError as error:
        return {name: Can(False, str(error)) for name in PROVIDERS}
    lacks = {name: reason(name, found) for name in PROVIDERS}
    where = {name: found.card or "card unknown" for name, row in PROVIDERS.items() if row.uploads}
    return {
        name: Can(not why, why or f"{found.flavour}, {where.get(name, 'on the processor')}")
        for name, why in lacks.items()
    }


def _processor() -> Iterator[tuple[str, Can]]:
    found = [name for name in box.instruction_sets() if name in _INT8]
    yield (
        "vnni",
        Can(bool(found), f"{box.cpu()}: {', '.join(found)}")
        if found
        else Can(
            False,
            f"{box.cpu()} multiplies no bytes in one step: INT8 models run, slower, and those that "
            "need VNNI are refused; another processor, or the FP32 twin",
        ),
    )
    count = len(os.sched_getaffinity(0))
    yield (
        "two processors",
        Can(True, f"{count}: the loop and the model need not wait for each other")
        if count > 1
        else Can(False, "one: the loop waits while the model runs; give the station another"),
    )
    yield (
        "compiled helper",
        Can(True, "built: envelope and regions in one call each")
        if native.helper
        else Can(
            False,
            "not built: 0.4 ms more a part; install a C compiler and Python's headers (Debian: gcc "
            "python3-dev) and install again",
        ),
    )


def _realtime() -> Iterator[tuple[str, Can]]:
    with sliced(RealtimeOptions()) as slices:
        pass
    with tuned(RealtimeOptions(fifo=FIFO, lock_memory=True, cpus="any")) as effects:
        fifo, _, lock, _ = effects
    yield "real-time priority", _effect(fifo, "LimitRTPRIO=90 in the service, or `ulimit -r 90`")
    yield "locked memory", _effect(lock, "LimitMEMLOCK=infinity in the service, or `ulimit -l`")
    yield "short time slices", _effect(slices, "a kernel from 6.12 on")


def _effect(effect: Effect, remedy: str) -> Can:
    return Can(effect.ok, effect.got if effect.ok else f"{effect.got}; {remedy}")


def _software() -> Iterator[tuple[str, Can]]:
    yield "records", _installed(("cryptography",), f"SQLite {sqlite3.sqlite_version}", "again")
    yield "footage", _installed(("mcap", "zstandard", "lz4"), "MCAP files", "again")
    yield "cameras", _cameras()
    yield "archive", _installed(("ray", "pyarrow"), "on a Ray cluster", "with extra `archive`")
    yield "training", _installed(("torch", "onnx"), "packages", "with extra `train`, or venv-train")
    yield "cache", _cache(cache.folder())


def _installed(modules: tuple[str, ...], what: str, how: str) -> Can:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        return Can(False, f"{', '.join(missing)} not installed; install {how}")
    return Can(True, f"{what}, by {', '.join(modules)}")


def _cameras() -> Can:
    found = sorted(glob("/dev/video*"))
    if not found:
        return Can(
            False, "no /dev/video*: plug one in; streams and footage need none (docs/sensors.md)"
        )
    locked = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    if locked:
        return Can(False, f"{', '.join(locked)}: not permitted; put the user in the group video")
    return Can(True, ", ".join(found))


def _cache(folder: Path) -> Can:
    """Whether a file can be made there; what is made for the question is removed again."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        why = "measures and builds at every start; engine.cache names another folder"
        return Can(False, f"{folder}: {error.strerror}: a station {why}")
    finally:
        for one in made:
            with suppress(OSError):
                one.rmdir()
    return Can(True, str(folder))
