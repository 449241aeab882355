"""What the deadline loop asks of the machine, and what it got: its own processor, SCHED_FIFO,
memory that stays in memory, and no garbage collector in the middle of a part.

None of it is needed for a right answer, only for one in time: what is not permitted is reported
and the station runs without it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from edge.core.config import RealtimeOptions
from edge.core.errors import ConfigError
from edge.core.process import set_slice

SWITCH_INTERVAL_S = 0.0005  # Python's 5 ms would let the decoding thread hold up a verdict
# Of gc.get_count(), as Python's own thresholds: young objects, and collections of the younger.
YOUNG, OLDER = 700, 10
OVERDUE = 10_000  # so many young objects are collected even while a part waits: 0.2 ms
_MCL_CURRENT, _MCL_FUTURE, _CAP_IPC_LOCK = 1, 2, 14


class Effect(NamedTuple):
    """One thing asked of the machine, and what the machine made of it."""

    name: str
    asked: str
    got: str
    ok: bool


def check(options: RealtimeOptions) -> None:
    """ConfigError where a processor is asked for that this process cannot have."""
    allowed = os.sched_getaffinity(0)
    loop = () if isinstance(options.cpus, str) else options.cpus
    for key, cpus in (("cpus", loop), ("worker_cpus", options.worker_cpus)):
        for cpu in cpus:
            if cpu not in allowed:
                raise ConfigError(f"realtime.{key}: no processor {cpu}; allowed: {_list(allowed)}")


class EngineCpus(NamedTuple):
    """Processors of a worker: its judging thread's, and one for each helper of its session.

    Empty for any: the kernel places them.
    """

    judging: tuple[int, ...] = ()
    helpers: tuple[int, ...] = ()


def engine_cpus(options: RealtimeOptions, threads: int) -> EngineCpus:
    """Where a worker with so many session threads runs; ask outside of `tuned`.

    Left to the kernel, a woken worker often lands on the processor of the loop that woke it and
    waits there until the loop sleeps: 0.57 ms from trigger to worker instead of 0.27 (medians).
    Helpers take the last processors of the worker's, then the loop's, which sleeps meanwhile.
    """
    if options.cpus == "any" and not options.worker_cpus:
        return EngineCpus()
    allowed = os.sched_getaffinity(0)
    loop = _loop_cpus(options) if options.cpus != "any" else set()
    own = sorted(set(options.worker_cpus) or allowed - loop)
    if not own:
        return EngineCpus()
    others = allowed - set(own)
    spare = [*reversed(own[1:]), *sorted(others - loop), *sorted(others & loop)]
    helpers = tuple(spare[: threads - 1]) if len(spare) >= threads - 1 else ()
    return EngineCpus(tuple(cpu for cpu in own if cpu not in helpers), helpers)


@contextmanager
def sliced(options: RealtimeOptions) -> Iterator[Effect]:
    """A short time slice for the calling thread and every thread and process started inside.

    With one, whoever wakes is let in at once instead of when another's slice of some
    milliseconds is over: overhead p99 1.8 ms instead of 3.6 beside a tenth of other work.
    """
    asked_ns = round(options.slice_ms * 1_000_000)
    if not asked_ns:
        yield Effect("slice_ms", "0", "off", True)
        return
    taken = set_slice(asked_ns)
    got = f"{options.slice_ms:g} ms" if taken else "not here: needs Linux 6.12"
    try:
        yield Effect("slice_ms", f"{options.slice_ms:g}", got, taken)
    finally:
        if taken:
            set_slice(0)


@contextmanager
def tuned(options: RealtimeOptions) -> Iterator[tuple[Effect, ...]]:
    """Tune the calling thread, the loop's, and its process; undone on the way out.

    The other threads of the process, started before, stay as they are.
    """
    with ExitStack() as undo:
        undo.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        cpus = _pinned(options, undo)
        fifo = _fifo(options.fifo, undo)
        # Before the lock: what the collector throws away need not be held in memory.
        collect = _collector(options.collect, undo)
        yield fifo, cpus, _locked(options.lock_memory, undo), collect


def tidy(idle: bool) -> bool:
    """Collect garbage if enough came together and no part waits; True when it took the time.

    For a loop without a collector, whose reference cycles would otherwise grow for ever. Medians
    on 2 cores: 0.1 us when there is nothing to do; 18 us for the youngest 700; 0.27 ms for the
    7700 of the middle generation; 0.03 us an object for everything since the start, one time in
    a hundred.
    """
    young, middle, old = gc.get_count()
    if young < (YOUNG if idle else OVERDUE) or gc.isenabled():
        return False
    generation = (2 if old > OLDER else 1 if middle > OLDER else 0) if idle else 0
    gc.collect(generation)
    return True


def _fifo(priority: int, undo: ExitStack) -> Effect:
    asked = str(priority)
    if not priority:
        return Effect("fifo", asked, "off", True)
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    # Not for the threads and processes the loop's thread may start: they would run ahead of all
    # others too, the loop among them.
    wanted = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, wanted, os.sched_param(priority))
    except PermissionError:
        hint = "not permitted: needs CAP_SYS_NICE or rtprio in limits"
        return Effect("fifo", asked, hint, False)
    except OSError as error:
        return Effect("fifo", asked, f"refused: {error.strerror}", False)
    undo.callback(_reschedule, policy, param)
    return Effect("fifo", asked, f"SCHED_FIFO {os.sched_getparam(0).sched_priority}", True)


def _reschedule(policy: int, param: os.sched_param) -> None:
    try:
        os.sched_setscheduler(0, policy, param)
    except PermissionError:  # only CAP_SYS_NICE may take the reset flag away again
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, param)


def _pinned(options: RealtimeOptions, undo: ExitStack) -> Effect:
    allowed = os.sched_getaffinity(0)
    if options.cpus == "any":
        return Effect("cpus", "any", _list(allowed), True)
    asked = options.cpus if isinstance(options.cpus, str) else _list(options.cpus)
    wanted = _loop_cpus(options)
    try:
        os.sched_setaffinity(0, wanted)
    except OSError as error:
        return Effect("cpus", asked, f"refused: {error.strerror}", False)
    undo.callback(os.sched_setaffinity, 0, allowed)
    got = os.sched_getaffinity(0)
    return Effect("cpus", asked, _list(got), got == wanted)


def _loop_cpus(options: RealtimeOptions) -> set[int]:
    if isinstance(options.cpus, tuple):
        return set(options.cpus)
    allowed = os.sched_getaffinity(0)
    return {max(allowed)} if options.cpus == "auto" else allowed


def _collector(wanted: bool, undo: ExitStack) -> Effect:
    """Start-up's objects are set aside for good, so that no later collection walks them."""
    gc.collect()
    gc.freeze()
    undo.callback(gc.unfreeze)
    if wanted:
        return Effect("collect", "true", "on" if gc.isenabled() else "off", gc.isenabled())
    if gc.isenabled():
        gc.disable()
        undo.callback(gc.enable)
    return Effect("collect", "false", "off, tidied in pauses", True)


def _locked(wanted: bool, undo: ExitStack) -> Effect:
    if not wanted:
        return Effect("lock_memory", "false", "off", True)
    if lack := _lack_of_memlock():
        return Effect("lock_memory", "true", lack, False)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        reason = os.strerror(ctypes.get_errno())
        return Effect("lock_memory", "true", f"refused: {reason}", False)
    undo.callback(libc.munlockall)
    return Effect(
        "lock_memory", "true", f"{int(_status('VmLck').split()[0]) >> 10} MiB locked", True
    )


def _lack_of_memlock() -> str:
    """Why not to try: past a limit, MCL_FUTURE lets an allocation fail in the middle of a part."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    privileged = int(_status("CapEff"), 16) >> _CAP_IPC_LOCK & 1
    needed = 2 * 1024 * int(_status("VmSize").split()[0])
    if privileged or limit == resource.RLIM_INFINITY or limit >= needed:
        return ""
    return (
        f"RLIMIT_MEMLOCK is {limit >> 20} MiB: needs {needed >> 20} MiB, "
        "twice the address space, or CAP_IPC_LOCK"
    )


def _status(key: str) -> str:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)[key].strip()


def _list(cpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))
