"""Starts a worker beside a line that runs, without taking the processors from it.

    python -m models.gentle MODULE ARGUMENT ...     imports MODULE and calls its main(ARGUMENT ...)

The imports are nine tenths of a worker's start (0.4 s of one core). On a 2-core box they kept the
serving worker from its frame for 20 to 140 ms; under SCHED_IDLE, in a thread that ends with them,
they only take what nobody else wants. A thread, because without privileges there is no way back
from SCHED_IDLE, and the session's own threads must not inherit it.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from contextlib import suppress


def _import(module: str) -> None:
    with suppress(OSError):  # not permitted here: then at full speed
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(Exception):  # told where it is imported again, in the main thread
        importlib.import_module(module)


def main(module: str, *arguments: str) -> None:
    """Import a module gently and run its main."""
    thread = threading.Thread(target=_import, args=(module,))
    thread.start()
    thread.join()
    importlib.import_module(module).main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
