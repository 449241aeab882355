"""The engine worker: a child process that judges one slot after another until told to end.

It owns the ONNX Runtime session and nothing else. Whatever goes wrong with one part is
answered as a Fault; whatever goes wrong with the process is seen by the station as silence
or as the end of the socket.
"""

from __future__ import annotations

import gc
import math
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
import numpy as np

from edge.core.clock import NS_PER_S, now_ns
from edge.core.errors import EdgeError
from edge.core.pool import FramePool, View
from edge.core.process import die_with_parent
from edge.core.types import Fault
from models import package
from models.decode import Decoder, use_one_thread
from models.envelope import Gauge
from models.exchange import (
    ALERT,
    ANSWER,
    FAILED,
    FAULT_NUMBERS,
    READY,
    REHEARSED,
    REQUEST,
    Head,
    Result,
    WorkerPlan,
    words,
)
from models.session import BoundSession

WARM_UP_RUNS = 3
# The worker looks for its next request instead of sleeping: so long after an answer, and so long
# before a part is due and after. A processor that is awake takes the request 0.08 ms sooner, and
# takes no hop of the command to the controller away from the one that is warm.
LOOK_AHEAD_NS = 3_000_000
LOOK_NS = 1_000_000


class Worker:
    """The session, the gauge and the decoder of one package over one pool."""

    def __init__(self, plan: WorkerPlan) -> None:
        loaded = package.load(plan.package)
        if loaded.file_sha256 != plan.file_sha256:
            raise EdgeError(f"{plan.package}: changed since the station read it")
        manifest = loaded.manifest
        outputs = manifest.outputs
        self._pool = FramePool(plan.pool_fd, manifest.views, plan.slots, outputs.map_shape)
        self._session = BoundSession(
            loaded.model_bytes(),
            manifest.views,
            self._pool,
            plan.provider,
            plan.threads,
            plan.helper_cpus,
        )
        self._score = self._output(outputs.score, (1,)).data
        self._map = self._output(outputs.map, outputs.map_shape) if outputs.map else None
        self._decoder = Decoder(manifest)
        self._gauge = Gauge(manifest.views, manifest.envelope)
        self.result = Result()
        self._slot = 0  # the last one judged
        self._lasted_ns = 0  # how long it took
        self.looks = plan.looks
        for _ in range(WARM_UP_RUNS):
            began_ns = now_ns()
            self._unfit(0)
            self._session.run(0)
            self._lasted_ns = now_ns() - began_ns

    def _output(self, name: str, shape: tuple[int, ...] | None) -> View:
        if name not in self._session.outputs:
            raise EdgeError(f"output {name} of the manifest is not in the graph")
        output = self._session.outputs[name]
        if output.dtype != np.float32 or output.shape != shape:
            raise EdgeError(f"output {name} is {output.dtype} {output.shape}, not float32 {shape}")
        return output

    def judge(self, slot: int, generation: int, part: int) -> Head:
        """The head of the answer for one lease; its regions are in `result`."""
        received_ns, self._slot = now_ns(), slot
        if self._pool.generation(slot) != generation:
            return _fault(
                Fault.STALE_FRAME, "leased again before inference", slot, generation, part
            )
        # Before the session and not beside it: in a thread of its own it took a core from the
        # session's helpers, or waited for one, 0.13 ms (median) beyond the session's end.
        if unfit := self._unfit(slot):
            return _fault(Fault.UNFIT_IMAGE, unfit, slot, generation, part)
        started_ns = now_ns()
        self._session.run(slot)
        ended_ns = now_ns()
        self._lasted_ns = ended_ns - received_ns
        if self._pool.generation(slot) != generation:
            return _fault(
                Fault.STALE_FRAME, "leased again during inference", slot, generation, part
            )
        score, count, overflow = self._score[0], 0, False
        if not math.isfinite(score):
            return _fault(Fault.BAD_OUTPUT, f"the score is {score}", slot, generation, part)
        if self._map is not None:
            peak, count, overflow = self._decoder.regions(self._map, self.result.regions)
            if not math.isfinite(peak):
                return _fault(Fault.BAD_OUTPUT, f"the map holds {peak}", slot, generation, part)
            if (kept := self._pool.map(slot)) is not None:
                np.copyto(kept, self._map)  # 16 kB, 2 us: for who looks at the part later
        return Head(
            ANSWER, slot, generation, part, 0, count, overflow, score,
            received_ns, started_ns, ended_ns,
        )  # fmt: skip

    def _unfit(self, slot: int) -> str:
        try:
            return self._gauge.unfit(self._pool.arrays(slot))
        except Exception as error:  # what cannot be measured is not fit
            return f"cannot be measured: {error}"

    def rehearse(self, due_ns: int) -> Head:
        """Judge the last slot once more for nothing, if a part is due later than that takes.

        Its pixels may be changing meanwhile; nobody acts on what comes out.
        """
        if now_ns() + 5 * self._lasted_ns // 4 < due_ns:
            slot = self._slot
            with suppress(Exception):  # nobody waits for it; a part that meets the same will say so
                self.judge(slot, self._pool.generation(slot), 0)
                self._unfit(slot)  # first with a part, so last in the caches
        return Head(REHEARSED, 0, 0, 0)


def _fault(fault: Fault, detail: object, slot: int, generation: int, part: int) -> Head:
    number = FAULT_NUMBERS[fault]
    return Head(ANSWER, slot, generation, part, number, detail=words(detail))


def serve(worker: Worker, link: socket.socket) -> None:
    """Answer requests until the station closes the socket."""
    result = worker.result
    for lease in leases(worker, link):
        try:
            head = worker.judge(*lease)
        except Exception as error:  # process boundary: one part's trouble is that part's fault
            head = _fault(Fault.BAD_OUTPUT, error, *lease)
        result.write(head)
        result.sent(now_ns())
        link.send(result.data)


def leases(worker: Worker, link: socket.socket) -> Iterator[tuple[int, int, int]]:
    """What to judge, as it comes: (slot, generation, part). Alerts are heeded on the way."""
    request, look_ns = bytearray(REQUEST.size), LOOK_NS if worker.looks else 0
    from_ns = until_ns = 0
    with suppress(ConnectionError):  # the station is gone in the middle of a word
        while _receive(link, request, from_ns, until_ns) == REQUEST.size:
            slot, generation, part = REQUEST.unpack(request)
            if slot == ALERT:
                due_ns = generation
                worker.result.write(worker.rehearse(due_ns))
                worker.result.sent(now_ns())
                link.send(worker.result.data)
                from_ns, until_ns = due_ns - LOOK_AHEAD_NS, due_ns + look_ns
            else:
                yield slot, generation, part
                from_ns, until_ns = 0, now_ns() + look_ns


def _receive(link: socket.socket, request: bytearray, from_ns: int, until_ns: int) -> int:
    """Wait for a request: asleep, between two instants looking, then asleep again."""
    if (sleep_ns := from_ns - now_ns()) > 0:
        select.select((link,), (), (), sleep_ns / NS_PER_S)
    while now_ns() < until_ns:
        try:
            return link.recv_into(request, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
    return link.recv_into(request)


def main(argument: str, serve: Callable[[Worker, socket.socket], None] = serve) -> None:
    """Be the engine worker of a plan: start, say whether it worked, and serve."""
    plan = msgspec.json.decode(argument, type=WorkerPlan)
    die_with_parent(plan.parent_pid)
    use_one_thread()
    link = socket.socket(fileno=plan.socket_fd)
    first = Result()
    try:
        worker = Worker(plan)
    except Exception as error:  # process boundary: the reason must reach the person who started it
        first.write(Head(FAILED, 0, 0, 0, detail=words(error)))
        link.send(first.data)
        sys.exit(1)
    if plan.cpus:
        os.sched_setaffinity(0, plan.cpus)  # this thread alone: the session's own stay free
    first.write(Head(READY, 0, 0, 0))
    link.send(first.data)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would be one part's late answer; serving makes no cycles
    serve(worker, link)


if __name__ == "__main__":
    main(sys.argv[1])
