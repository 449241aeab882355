"""Child processes that cannot outlive their parent."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys

_PR_SET_PDEATHSIG = 1
_SCHED_ATTR = struct.Struct("=IIQiIQQQII")  # struct sched_attr, linux/sched/types.h
_SCHED_SETATTR, _SCHED_GETATTR = {
    "x86_64": (314, 315),
    "aarch64": (274, 275),
}.get(platform.machine(), (0, 0))


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends.

    The signal is tied to the parent's *thread* (prctl(2)), so a parent must start children
    from a thread that lives as long as they may. Exits at once if the parent is gone already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line of a module of this product, safe from a stray file in the folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def slice_ns() -> int:
    """The calling thread's time slice under the usual scheduler; 0 where the kernel tells none."""
    attributes = ctypes.create_string_buffer(_SCHED_ATTR.size)
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_uint(_SCHED_ATTR.size)
    if not _SCHED_GETATTR or libc.syscall(_SCHED_GETATTR, 0, attributes, size, 0) != 0:
        return 0
    return int(_SCHED_ATTR.unpack(attributes.raw)[5])


def set_slice(wanted_ns: int) -> bool:
    """Ask for a time slice for the calling thread and all it starts; needs no privilege.

    Whoever asks for a shorter slice than the one that runs is let in at once when it wakes
    (Linux 6.12 and newer; sched(7)); it gets no larger share for that. 0.1 to 100 ms, 0 for the
    kernel's own. False where the kernel has no such thing.
    """
    size, usual = _SCHED_ATTR.size, 0
    if not _SCHED_SETATTR or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _SCHED_ATTR.pack(size, usual, 0, nice, 0, wanted_ns, 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(_SCHED_SETATTR, 0, attributes, 0) == 0 and slice_ns() == wanted_ns
