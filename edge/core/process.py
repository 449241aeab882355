"""Child processes that cannot outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


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
