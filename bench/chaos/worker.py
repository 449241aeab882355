"""An engine worker that fails at the parts of the plan.

python -m bench.chaos.worker PLAN WORKER_PLAN     (started by the station under chaos)
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from functools import partial
from pathlib import Path

from bench.chaos.logs import INJECTED, Lines
from bench.chaos.plan import WORKER_KINDS, Injection, Plan
from edge.core.clock import NS_PER_MS, SystemClock, now_ns
from models.worker import Worker, leases
from models.worker import main as worker_main


def serve(plan: Plan, worker: Worker, link: socket.socket) -> None:
    """Answer as the product's worker does, but at the parts of the plan."""
    injected = Lines(Path(plan.folder) / INJECTED)
    broken = {one.part: one for one in plan.injections if one.kind in WORKER_KINDS}
    result, before = worker.result, b""
    for lease in leases(worker, link):
        injection = broken.get(lease[2])
        if injection:
            _break(injection, injected)
        result.write(worker.judge(*lease))
        result.sent(now_ns())
        whole = bytes(result.data)
        if injection and injection.kind == "garbage":
            link.send(_garbage(whole, injection.dice))
        elif injection and injection.kind == "stale_answer":
            link.send(before or whole[::-1])
        else:
            link.send(whole)
        before = whole


def _break(injection: Injection, injected: Lines) -> None:
    """What happens before the part is judged; written down first, since it may be the last."""
    slow_ns = (20 + injection.dice % 60) * NS_PER_MS
    lasting_ns = slow_ns if injection.kind == "slow_inference" else 0
    injected.injected(injection.kind, injection.part, lasting_ns=lasting_ns)
    match injection.kind:
        case "worker_kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "worker_stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "slow_inference":
            clock = SystemClock()
            clock.wait((), clock.now_ns() + slow_ns)
        case _:
            pass  # an honest judgement, and a lie about it afterwards


def _garbage(whole: bytes, dice: int) -> bytes:
    noise = random.Random(dice).randbytes
    match dice % 4:
        case 0:
            return noise(len(whole))
        case 1:
            return whole[: len(whole) // 2]
        case 2:
            return noise(16) + whole[16:]
        case _:
            return b"\0"


def main(plan_path: str, worker_plan: str) -> None:
    """Be the engine's worker, sabotaged."""
    worker_main(worker_plan, partial(serve, Plan.read(plan_path)))


if __name__ == "__main__":
    main(*sys.argv[1:])
