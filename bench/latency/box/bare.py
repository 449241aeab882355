"""session.run alone, in a process of its own, back to back: the limit a station is held against.

    python -m bench.latency.box.bare TASK      (that process; started by `measure`)

Which thread setting is the fastest depends on the box and the graph, so all are tried. They take
turns in short rounds, because a 2-core virtual machine drifts by a tenth within a second; the
fastest is then measured afresh, so that a lucky turn cannot flatter it.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from bench.latency.result import Bare
from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.errors import ConfigError, EdgeError, EngineError
from edge.core.pool import FramePool, View
from edge.core.process import die_with_parent, python_module
from models import package
from models.keeper import HUGE_PAGES
from models.package import Package
from models.providers import PROVIDERS, require

if TYPE_CHECKING:  # a loop's process, which asks for these figures, stays without the library
    import onnxruntime as ort

SCAN_SHARE = 0.5  # of the time, for trying the settings
ROUNDS = 5
WARM_UP_RUNS = 2  # of every turn: the session before it left its own weights in the caches
LEAST_RUNS = 3  # of a turn
LEAST_FINAL_RUNS = 20
# How long a helper looks for work after a run before it sleeps: longer than the pause between two
# runs here, and over before the next setting's turn. Without a limit it burnt 34 ms of a second.
SPIN_US = 1000

Spin = Literal["off", "run", "on"]
Pictures = Sequence[Mapping[str, View]]


class Setting(NamedTuple):
    """One way to use threads. spin: helpers sleep for work, look for it in a run, or always.

    pinned: the calling thread and each helper have a processor of their own.
    """

    threads: int
    spin: Spin = "off"
    pinned: bool = False

    def __str__(self) -> str:
        count = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        spin = {"off": "", "run": ", spinning in a run", "on": ", spinning"}[self.spin]
        return f"{count}{spin}{', pinned' if self.pinned else ''}"

    def entries(self, cpus: Sequence[int]) -> dict[str, str]:
        """ONNX Runtime's session entries; cpus: the first is the calling thread's."""
        found = {
            "session.intra_op.allow_spinning": "0" if self.spin == "off" else "1",
            "session.force_spinning_stop": "1" if self.spin == "run" else "0",
        }
        if self.spin == "on":
            found["session.intra_op.spin_duration_us"] = str(SPIN_US)
        if self.pinned:
            helpers = cpus[1 : self.threads]
            # Processors are counted from 1 there; the calling thread is not one of the pool's.
            found["session.intra_op_thread_affinities"] = ";".join(str(cpu + 1) for cpu in helpers)
        return found


class _Task(msgspec.Struct, frozen=True):
    """All that the process is told, as one JSON argument."""

    package: str
    file_sha256: str
    provider: str
    slots: int
    pool_fd: int
    parent_pid: int
    seconds: float


def settings(provider: str, cores: int) -> list[Setting]:
    """The settings to try: 1, 2, 4 ... and all cores, by spinning and pinning.

    A provider with threads of its own is given as many and waits for work as it likes; one that
    uploads to a device needs no more than the calling one.
    """
    row = PROVIDERS[provider]
    if row.uploads:
        return [Setting(1)]
    powers = [2**n for n in range(1, cores.bit_length()) if 2**n < cores]
    several = [*powers, cores] if cores > 1 else []
    if row.own_threads:
        return [Setting(1), *map(Setting, several)]
    spins: tuple[Spin, ...] = ("off", "run", "on")
    helped = [Setting(n, spin, pin) for n in several for spin in spins for pin in (False, True)]
    return [Setting(1), *helped]


def measure(model: Package, provider: str, pictures: Pictures, *, seconds: float = 4.0) -> Bare:
    """The fastest thread setting's session.run over the pictures in turn, measured in a child.

    seconds: for all of it but the child's start; slow models take longer, for their least number
    of runs. The child may use the processors of the calling thread, so ask before it is pinned.
    ConfigError for pictures that are not the model's views, EngineError where the child fails.
    """
    pool = filled_pool(model, pictures)
    try:
        task = _Task(
            package=str(model.path),
            file_sha256=model.file_sha256,
            provider=provider,
            slots=pool.slots,
            pool_fd=pool.fd,
            parent_pid=os.getpid(),
            seconds=seconds,
        )
        done = subprocess.run(
            python_module("bench.latency.box.bare", msgspec.json.encode(task).decode()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(pool.fd,),
            process_group=0,
            env=HUGE_PAGES | os.environ,  # as a station's worker
            check=False,
        )
    finally:
        pool.close()
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise EngineError(f"bare session of {model.manifest.name}: {said[-1]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Bare)  # libraries print too


def filled_pool(model: Package, pictures: Pictures) -> FramePool:
    """A pool with one slot for each part's views, as a station's worker sees them."""
    views = model.manifest.views
    if not pictures:
        raise ConfigError(f"{model.manifest.name}: no pictures to run it on")
    pool = FramePool.create(views, len(pictures))
    for slot, arrays in enumerate(pictures):
        for view in views:
            given = arrays.get(view.name)
            if given is None or given.shape != view.shape or given.dtype != view.dtype:
                pool.close()
                got = "missing" if given is None else f"{given.dtype} {given.shape}"
                raise ConfigError(
                    f"part {slot + 1}: view {view.name}: {got}; "
                    f"{model.manifest.name} takes {view.dtype} {view.shape}"
                )
            np.copyto(pool.arrays(slot)[view.name], given)
    return pool


class Alone:
    """One session with one thread setting, bound to every slot as a station's is."""

    def __init__(
        self, model: Package, pool: FramePool, provider: str, setting: Setting, cpus: Sequence[int]
    ) -> None:
        from models.providers import Setup
        from models.session import BoundSession

        self._session = BoundSession(
            model.model_bytes(),
            model.manifest.views,
            pool,
            provider,
            setting.threads,
            setup=Setup(setting.threads, model.manifest.precision),
            options=options(setting, cpus),
        )
        self.setting, self._slots = setting, pool.slots
        self._cpus = set(cpus[:1] if setting.pinned else cpus)
        self.outputs = self._session.outputs
        self._turn = 0

    def take_turn(self, taken_ns: array[int], for_ns: int, least: int) -> None:
        """Run over the next pictures for so long, after a warm-up that is not kept."""
        os.sched_setaffinity(0, self._cpus)
        run, slots, turn = self._session.run, self._slots, self._turn
        for _ in range(WARM_UP_RUNS):
            run(turn % slots)
        until_ns, runs = now_ns() + for_ns, 0
        while runs < least or now_ns() < until_ns:
            slot = turn % slots
            began_ns = now_ns()
            run(slot)
            taken_ns.append(now_ns() - began_ns)
            turn, runs = turn + 1, runs + 1
        self._turn = turn


def options(setting: Setting, cpus: Sequence[int]) -> ort.SessionOptions:
    """A station's own options, and so its graph, with the setting's entries over them."""
    from models.session import session_options

    found = session_options(setting.threads)
    for key, value in setting.entries(cpus).items():
        found.add_session_config_entry(key, value)
    return found


def fastest(sessions: Sequence[Alone], seconds: float) -> Bare:
    """Let all take turns, then measure the one with the smallest median on its own."""
    scan_ns, gc_was_on = round(seconds * SCAN_SHARE * NS_PER_S), gc.isenabled()
    turn_ns = scan_ns // (ROUNDS * len(sessions))
    gc.collect()
    gc.disable()  # as in a station's worker
    series = [array("q") for _ in sessions]
    for _ in range(ROUNDS):
        for session, taken_ns in zip(sessions, series, strict=True):
            session.take_turn(taken_ns, turn_ns, LEAST_RUNS)
    medians = [float(np.median(taken_ns)) / NS_PER_MS for taken_ns in series]
    best = sessions[int(np.argmin(medians))]
    final: array[int] = array("q")
    best.take_turn(final, round(seconds * NS_PER_S) - scan_ns, LEAST_FINAL_RUNS)
    if gc_was_on:
        gc.enable()
    p50, p99 = np.percentile(final, (50.0, 99.0)) / NS_PER_MS
    return Bare(
        p50=round(float(p50), 4),
        p99=round(float(p99), 4),
        mean=round(float(np.mean(final)) / NS_PER_MS, 4),
        threads=best.setting.threads,
        spinning=best.setting.spin != "off",
        runs=len(final),
        scanned={str(one.setting): round(ms, 4) for one, ms in zip(sessions, medians, strict=True)},
    )


def main(argument: str) -> None:
    """Be that process: the result as JSON on stdout, or one line of reason on stderr."""
    import onnxruntime as ort

    from models.session import here

    task = msgspec.json.decode(argument, type=_Task)
    die_with_parent(task.parent_pid)
    ort.set_default_logger_severity(3)  # it warns of every entry that is given again
    cpus = sorted(os.sched_getaffinity(0))
    try:
        loaded = package.load(task.package)
        if loaded.file_sha256 != task.file_sha256:
            raise EdgeError(f"{task.package}: changed since it was read")
        pool = FramePool(task.pool_fd, loaded.manifest.views, task.slots)
        require(task.provider, here())
        sessions = [
            Alone(loaded, pool, task.provider, setting, cpus)
            for setting in settings(task.provider, len(cpus))
        ]
        result = fastest(sessions, task.seconds)
    except Exception as error:  # process boundary: the reason must reach the person who asked
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(result))


if __name__ == "__main__":
    main(sys.argv[1])
