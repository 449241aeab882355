"""The engine worker: a child process that judges one slot after another until told to end.

It owns the ONNX Runtime session and nothing else. Whatever goes wrong with one part is
answered as a Fault; whatever goes wrong with the process is seen by the station as silence
or as the end of the socket.
"""

from __future__ import annotations

import gc
import math
import os
import socket
import sys
import threading
from collections.abc import Callable

import msgspec
import numpy as np

from edge.core.clock import now_ns
from edge.core.errors import EdgeError
from edge.core.pool import FramePool, View
from edge.core.process import die_with_parent
from edge.core.types import Fault
from models import package
from models.decode import Decoder, use_one_thread
from models.envelope import Gauge
from models.exchange import (
    ANSWER,
    FAILED,
    FAULT_NUMBERS,
    READY,
    REQUEST,
    Head,
    Result,
    WorkerPlan,
    words,
)
from models.session import BoundSession

WARM_UP_RUNS = 3


class Fitness:
    """Holds the pictures against the package's envelope, in a thread beside the session.

    After a pause of 30 ms the gauge takes 0.5 ms with its code out of the caches, 0.17 without
    a pause; the session lets go of the interpreter lock meanwhile.
    """

    def __init__(self, gauge: Gauge, pool: FramePool) -> None:
        self._gauge, self._pool = gauge, pool
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._slot, self._reason = 0, ""
        threading.Thread(target=self._run, name="edge-fitness", daemon=True).start()

    def begin(self, slot: int) -> None:
        self._slot = slot
        self._go.release()

    def end(self) -> str:
        """Why the slot's pictures are unfit; "" if they are fit."""
        self._done.acquire()
        return self._reason

    def _run(self) -> None:
        while True:
            self._go.acquire()
            try:
                self._reason = self._gauge.unfit(self._pool.arrays(self._slot))
            except Exception as error:  # thread boundary: what cannot be measured is not fit
                self._reason = f"cannot be measured: {error}"
            self._done.release()


class Worker:
    """The session, the gauge and the decoder of one package over one pool."""

    def __init__(self, plan: WorkerPlan) -> None:
        loaded = package.load(plan.package)
        if loaded.file_sha256 != plan.file_sha256:
            raise EdgeError(f"{plan.package}: changed since the station read it")
        manifest = loaded.manifest
        self._pool = FramePool(plan.pool_fd, manifest.views, plan.slots)
        self._session = BoundSession(
            loaded.model_bytes(), manifest.views, self._pool, plan.provider, plan.threads
        )
        outputs = manifest.outputs
        self._score = self._output(outputs.score, (1,)).data
        self._map = self._output(outputs.map, outputs.map_shape) if outputs.map else None
        self._cells = None if self._map is None else self._map.reshape(-1)
        self._decoder = Decoder(manifest)
        self._fitness = Fitness(Gauge(manifest.views, manifest.envelope), self._pool)
        self.result = Result()
        for _ in range(WARM_UP_RUNS):
            self._session.run(0)

    def _output(self, name: str, shape: tuple[int, ...] | None) -> View:
        if name not in self._session.outputs:
            raise EdgeError(f"output {name} of the manifest is not in the graph")
        output = self._session.outputs[name]
        if output.dtype != np.float32 or output.shape != shape:
            raise EdgeError(f"output {name} is {output.dtype} {output.shape}, not float32 {shape}")
        return output

    def judge(self, slot: int, generation: int, part: int) -> Head:
        """The head of the answer for one lease; its regions are in `result`."""
        received_ns = now_ns()
        if self._pool.generation(slot) != generation:
            return _fault(
                Fault.STALE_FRAME, "leased again before inference", slot, generation, part
            )
        self._fitness.begin(slot)
        try:
            started_ns = now_ns()
            self._session.run(slot)
            ended_ns = now_ns()
        finally:
            unfit = self._fitness.end()
        if unfit:
            return _fault(Fault.UNFIT_IMAGE, unfit, slot, generation, part)
        if self._pool.generation(slot) != generation:
            return _fault(
                Fault.STALE_FRAME, "leased again during inference", slot, generation, part
            )
        score, count, overflow = self._score[0], 0, False
        if not math.isfinite(score):
            return _fault(Fault.BAD_OUTPUT, f"the score is {score}", slot, generation, part)
        if self._map is not None and self._cells is not None:
            peak = float(np.maximum.reduce(self._cells))  # NaN if any cell is
            if not math.isfinite(peak):
                return _fault(Fault.BAD_OUTPUT, f"the map holds {peak}", slot, generation, part)
            count, overflow = self._decoder.regions(self._map, peak, self.result.regions)
        return Head(
            ANSWER, slot, generation, part, 0, count, overflow, score,
            received_ns, started_ns, ended_ns,
        )  # fmt: skip


def _fault(fault: Fault, detail: object, slot: int, generation: int, part: int) -> Head:
    number = FAULT_NUMBERS[fault]
    return Head(ANSWER, slot, generation, part, number, detail=words(detail))


def serve(worker: Worker, link: socket.socket) -> None:
    """Answer requests until the station closes the socket."""
    request, result = bytearray(REQUEST.size), worker.result
    while link.recv_into(request) == REQUEST.size:
        lease = REQUEST.unpack(request)
        try:
            head = worker.judge(*lease)
        except Exception as error:  # process boundary: one part's trouble is that part's fault
            head = _fault(Fault.BAD_OUTPUT, error, *lease)
        result.write(head)
        result.sent(now_ns())
        link.send(result.data)


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
