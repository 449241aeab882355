"""An engine worker whose provider fails from one part on.

python -m bench.failing_worker PROVIDER:PART:KIND WORKER_PLAN     (started by bench/changing.py)
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial

import msgspec

from edge.core.clock import now_ns
from models.exchange import WorkerPlan
from models.worker import Worker, leases
from models.worker import main as worker_main

KINDS = ("dies", "hangs", "nan", "garbage")


def serve(part: int, kind: str, worker: Worker, link: socket.socket) -> None:
    """Answer as the product's worker does, up to the part."""
    result = worker.result
    for lease in leases(worker, link):
        fails = lease[2] >= part
        if fails and kind in ("dies", "hangs"):
            os.kill(os.getpid(), signal.SIGKILL if kind == "dies" else signal.SIGSTOP)
        head = worker.judge(*lease)
        result.write(head._replace(score=float("nan")) if fails else head)
        result.sent(now_ns())
        link.send(b"\0" if fails and kind == "garbage" else result.data)


def main(spec: str, worker_plan: str) -> None:
    """Be the engine's worker, on a provider that fails if it is the one named."""
    provider, part, kind = spec.split(":")
    plan = msgspec.json.decode(worker_plan, type=WorkerPlan)
    if plan.provider == provider:
        worker_main(worker_plan, partial(serve, int(part), kind))
    else:
        worker_main(worker_plan)


if __name__ == "__main__":
    main(*sys.argv[1:])
