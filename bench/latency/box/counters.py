"""What parts cost besides time: page faults, switches, processor time, memory, collector runs.

Everything is read from outside the parts: before the first and after the last of them.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from bench.latency.box.allocations import Allocations, Kept
from edge.core.clock import NS_PER_MS

__all__ = ["Allocations", "Collections", "Kept", "Meter"]

COUNTED = ("loop", "worker")  # whose faults and switches are the product's own
_KIB_PER_MIB = 1024


class _Seen(NamedTuple):
    """One look at a process: its counts since its start."""

    started: int  # tells it from a later process with the same number
    faults: int
    cpu_ns: int
    resident_mib: float
    switches: dict[int, tuple[int, int]]  # by thread: all, involuntary


class Meter:
    """Counts of named processes between `begin` and `end`, loop, worker and controller by name.

    What a process did after the last look at it is lost if it ends; `ended` names those.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._first: dict[str, _Seen] = {}
        self._last: dict[str, _Seen] = {}
        self.ended: tuple[str, ...] = ()

    def begin(self) -> None:
        """From here on."""
        self._look()  # once in vain: its own first page faults are not the parts'
        self._first = self._look()
        self._last = dict(self._first)

    def look(self) -> None:
        """Take the counts of now, in case a process ends before `end`; 0.4 ms for three."""
        now = self._look()
        same = {
            name: seen
            for name, seen in now.items()
            if name in self._first and seen.started == self._first[name].started
        }
        self._last |= same
        self.ended = tuple(sorted(set(self._pids) - set(same)))

    def end(self, parts: int) -> dict[str, Any]:
        """The fields of `Counters` that come from these processes; a part's share where named so.

        Faults and switches are those of loop and worker, all their threads, minor faults
        included. A thread that ended before `end` is in the processor time and the faults, and
        not in the switches.
        """
        self.look()
        parts = max(parts, 1)
        faults = total = involuntary = 0
        for name in COUNTED:
            if name in self._first:
                first, last = self._first[name], self._last[name]
                faults += last.faults - first.faults
                moved = _switched(first.switches, last.switches)
                total, involuntary = total + moved[0], involuntary + moved[1]
        return {
            "page_faults_a_part": faults / parts,
            "context_switches_a_part": total / parts,
            "involuntary_switches_a_part": involuntary / parts,
            "resident_mib_first": _resident(self._first, "loop"),
            "resident_mib_last": _resident(self._last, "loop"),
            "worker_resident_mib_first": _resident(self._first, "worker"),
            "worker_resident_mib_last": _resident(self._last, "worker"),
            "cpu_ms_a_part": {
                name: (self._last[name].cpu_ns - first.cpu_ns) / NS_PER_MS / parts
                for name, first in self._first.items()
            },
        }

    def _look(self) -> dict[str, _Seen]:
        looks = ((name, _seen(pid)) for name, pid in self._pids.items())
        return {name: seen for name, seen in looks if seen is not None}


def _seen(pid: int) -> _Seen | None:
    """The counts of a process; None when it has ended, reaped or not."""
    home = Path("/proc") / str(pid)
    try:
        stat = (home / "stat").read_text().rpartition(")")[2].split()  # from `state`, field 3, on
        resident_kib = int(_status(home)["VmRSS"].split()[0])  # without it: nothing left to count
        # clock_getcpuclockid(3), which Python lacks: to the nanosecond, ended threads included.
        cpu_ns = time.clock_gettime_ns(~pid << 3 | 2)
    except (OSError, KeyError, ValueError):
        return None
    faults = int(stat[7]) + int(stat[9])  # minor and major
    switches = _switches(home / "task")
    return _Seen(int(stat[19]), faults, cpu_ns, resident_kib / _KIB_PER_MIB, switches)


def _switches(tasks: Path) -> dict[int, tuple[int, int]]:
    """By thread: all switches, and the involuntary ones among them."""
    found = {}
    with suppress(OSError):  # the process ended
        for thread in os.listdir(tasks):
            with suppress(OSError, KeyError):  # the thread ended between its listing and here
                lines = _status(tasks / thread)
                forced = int(lines["nonvoluntary_ctxt_switches"])
                found[int(thread)] = int(lines["voluntary_ctxt_switches"]) + forced, forced
    return found


def _status(home: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in (home / "status").read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _switched(
    first: dict[int, tuple[int, int]], last: dict[int, tuple[int, int]]
) -> tuple[int, int]:
    """All and involuntary switches of the threads there are; one that is new began at zero."""
    total = involuntary = 0
    for thread, after in last.items():
        before = first.get(thread, (0, 0))
        if before[0] > after[0]:  # another thread that was given the number of an ended one
            before = (0, 0)
        total, involuntary = total + after[0] - before[0], involuntary + after[1] - before[1]
    return total, involuntary


def _resident(seen: dict[str, _Seen], name: str) -> float:
    return round(seen[name].resident_mib, 2) if name in seen else 0.0


class Collections:
    """Counts the runs of Python's collector in this process while the context is open.

    while_open: those that began while `is_open()`, a part being on its way.
    """

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._is_open = is_open
        self.all = self.while_open = 0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self.all += 1
            self.while_open += self._is_open()
