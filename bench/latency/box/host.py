"""The box under a run of `edge bench`: what it is, and how late it is of itself.

    python -m bench.latency.box.host FD PARENT_PID    (the other end of the hop)

The noise floor is measured as a station lives: a sleep of 1 ms on select(), as the loop's clock
sleeps, then one hop to a process that has slept as long and back. Hops back to back take a third
of that (9 us instead of 30, medians on 2 cores), but a line pauses between its parts.
"""

from __future__ import annotations

import hashlib
import os
import platform
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.latency.result import Host
from edge.core.box import cpuinfo, fact, libraries
from edge.core.clock import NS_PER_MS, NS_PER_S, now_ns
from edge.core.errors import EngineError
from edge.core.process import die_with_parent, python_module

SLEEP_NS = NS_PER_MS
START_S = 30.0
PRODUCT = ("edge", "models", "sensors", "control", "bench")
_CPUS = Path("/sys/devices/system/cpu")
_CLOCKS = Path("/sys/devices/system/clocksource/clocksource0/available_clocksource")
# A guest is offered its hypervisor's clock, and nobody else is.
_GUEST_CLOCKS = {"kvm-clock": "kvm", "hyperv": "hyper-v", "xen": "xen"}


class Floor(NamedTuple):
    """(p50, p99) in ms of a 1 ms sleep's lateness, and of a hop and back."""

    timer: tuple[float, float]
    round_trip: tuple[float, float]


def probe(seconds: float = 2.0) -> Host:
    """The box, and its noise floor measured for so many seconds (plus the start of a process).

    Ask it from the thread whose processors are meant, before it is pinned to one of them.
    EngineError where the process at the other end of the hop does not come.
    """
    load = os.getloadavg()[0]  # before anything here adds to it
    facts = cpuinfo()
    cpu = facts.get("model name") or fact("/proc/device-tree/model") or platform.machine()
    floor = noise_floor(seconds)
    return Host(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 2),
        kernel=platform.release(),
        machine=_machine(cpu),
        governor=_governor(),
        isolated=fact(_CPUS / "isolated"),
        virtual=_virtual("hypervisor" in facts.get("flags", "").split()),
        timer_jitter_p50_ms=floor.timer[0],
        timer_jitter_p99_ms=floor.timer[1],
        ipc_rtt_p50_ms=floor.round_trip[0],
        ipc_rtt_p99_ms=floor.round_trip[1],
        load_before=load,
        libraries=libraries(),
        commit=commit(Path(__file__).parents[3]),
    )


def noise_floor(seconds: float) -> Floor:
    """Sleep 1 ms, hop, sleep 1 ms, hop, for so long; EngineError without the other process."""
    late: list[int] = []
    hops: list[int] = []
    byte = bytearray(1)
    with _echo() as link:
        until_ns = now_ns() + round(seconds * NS_PER_S)
        while (asleep_ns := now_ns()) < until_ns or not hops:
            select.select((), (), (), SLEEP_NS / NS_PER_S)
            awake_ns = now_ns()
            try:
                link.send(byte)
            except OSError as error:
                raise EngineError(f"noise floor: the other process is gone: {error}") from None
            link.recv_into(byte)
            hops.append(now_ns() - awake_ns)
            late.append(awake_ns - asleep_ns - SLEEP_NS)
    return Floor(_middle_and_tail(late), _middle_and_tail(hops))


def commit(root: Path) -> str:
    """The short commit of a checkout at `root`, with + where the product's files are altered.

    "" without git, or where the product lies in somebody else's checkout.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root.resolve():
        return ""
    short = _git(root, "rev-parse", "--short", "HEAD")
    altered = _git(root, "status", "--porcelain", "--", *PRODUCT)
    return short + "+" if short and altered else short


@contextmanager
def _echo() -> Iterator[socket.socket]:
    """A link to a process that sends every byte back; reaped on the way out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    with ours, theirs:
        child = subprocess.Popen(
            python_module("bench.latency.box.host", str(fd), str(os.getpid())),
            stdin=subprocess.DEVNULL,
            pass_fds=(fd,),
            process_group=0,
        )
        theirs.close()
        try:
            if not _hop(ours, within_s=START_S):
                raise EngineError("noise floor: the process at the other end did not start")
            yield ours
        finally:
            child.kill()
            child.wait()


def _hop(link: socket.socket, *, within_s: float) -> bool:
    """One byte there and back in time; what follows has no time-out, which would poll first."""
    link.settimeout(within_s)
    try:
        link.send(b"\0")
        return bool(link.recv(1))
    except OSError:
        return False
    finally:
        link.settimeout(None)


def _middle_and_tail(values_ns: list[int]) -> tuple[float, float]:
    p50, p99 = np.percentile(np.asarray(values_ns), (50.0, 99.0)) / NS_PER_MS
    return round(float(p50), 4), round(float(p99), 4)


def _machine(cpu: str) -> str:
    """The same on every start of one box; cloned disks differ by their processors at least."""
    own = fact("/etc/machine-id") or fact("/var/lib/dbus/machine-id") or platform.node()
    return hashlib.sha256(f"edge bench\n{own}\n{cpu}".encode()).hexdigest()[:12]


def _governor() -> str:
    cpus = sorted(os.sched_getaffinity(0))
    found = (fact(_CPUS / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus)
    return ", ".join(sorted({name for name in found if name})) or "none"


def _virtual(guest: bool) -> str:
    """The hypervisor's name, "unnamed" for one that does not say, "" for none."""
    if name := fact("/sys/hypervisor/type") or fact("/proc/device-tree/hypervisor/compatible"):
        return name
    clocks = fact(_CLOCKS)
    for clock, name in _GUEST_CLOCKS.items():
        if clock in clocks:
            return name
    return (fact("/sys/class/dmi/id/sys_vendor") or "unnamed") if guest else ""


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main(fd: str, parent_pid: str) -> None:
    """Send every byte back until the link is closed."""
    die_with_parent(int(parent_pid))
    byte = bytearray(1)
    with socket.socket(fileno=int(fd)) as link, suppress(OSError):
        while link.recv_into(byte):
            link.send(byte)


if __name__ == "__main__":
    main(*sys.argv[1:])
