"""The engine worker: a child process that judges one slot after another until told to end.

It owns the ONNX Runtime session and nothing else. Whatever goes wrong with one part is
answered as a Fault; whatever goes wrong with the process is seen by the station as silence
or as the end of the socket.
"""

from __future__ import annotations

import gc
import socket
import sys

import msgspec
import numpy as np

from edge.core.clock import now_ns
from edge.core.errors import EdgeError
from edge.core.pool import FramePool
from edge.core.process import die_with_parent
from edge.core.types import Fault
from models import package
from models.decode import Decoder
from models.envelope import Gauge
from models.exchange import ANSWER, FAILED, FAULTS, READY, REQUEST, WorkerPlan, result_record
from models.session import BoundSession

WARM_UP_RUNS = 3


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
        self._score = self._output(outputs.score)
        self._map = self._output(outputs.map) if outputs.map else None
        self._gauge = Gauge(manifest.views, manifest.envelope)
        self._decoder = Decoder(manifest)
        self.answer, self.result = result_record()
        for _ in range(WARM_UP_RUNS):
            self._session.run(0)

    def _output(self, name: str) -> np.ndarray:
        if name not in self._session.outputs:
            raise EdgeError(f"output {name} of the manifest is not in the graph")
        return self._session.outputs[name]

    def judge(self, slot: int, generation: int, part: int) -> None:
        """Fill `result` for one lease; a picture outside the envelope never reaches the model."""
        result = self.result[0]
        result["kind"], result["part"] = ANSWER, part
        result["slot"], result["generation"] = slot, generation
        result["received_ns"], result["started_ns"], result["ended_ns"] = now_ns(), 0, 0
        result["count"], result["overflow"], result["score"] = 0, 0, np.nan
        fault, detail = self._fill(slot, generation)
        result["fault"], result["detail"] = FAULTS.index(fault), detail.encode()[:200]

    def _fill(self, slot: int, generation: int) -> tuple[Fault | None, str]:
        result = self.result[0]
        if self._pool.generation(slot) != generation:
            return Fault.STALE_FRAME, "the slot was leased again before inference"
        if unfit := self._gauge.unfit(self._pool.arrays(slot)):
            return Fault.UNFIT_IMAGE, unfit
        result["started_ns"] = now_ns()
        self._session.run(slot)
        result["ended_ns"] = now_ns()
        if self._pool.generation(slot) != generation:
            return Fault.STALE_FRAME, "the slot was leased again during inference"
        score = float(self._score.reshape(-1)[0])
        if not np.isfinite(score):
            return Fault.BAD_OUTPUT, f"score is {score}"
        if self._map is not None:
            if not np.isfinite(self._map).all():
                return Fault.BAD_OUTPUT, "the defect map is not finite"
            count, overflow = self._decoder.regions(self._map, result["regions"])
            result["count"], result["overflow"] = count, overflow
        result["score"] = score
        return None, ""


def main(argument: str) -> None:
    """Serve requests until the station closes the socket."""
    plan = msgspec.json.decode(argument, type=WorkerPlan)
    die_with_parent(plan.parent_pid)
    link = socket.socket(fileno=plan.socket_fd)
    word, hello = result_record()
    try:
        worker = Worker(plan)
    except Exception as error:  # process boundary: the reason must reach the person who started it
        hello[0]["kind"], hello[0]["detail"] = FAILED, " ".join(str(error).split()).encode()[:200]
        link.send(word)
        sys.exit(1)
    hello[0]["kind"] = READY
    link.send(word)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would be one part's late answer; the loop below makes no cycles
    request = bytearray(REQUEST.size)
    while link.recv_into(request) == REQUEST.size:
        slot, generation, part = REQUEST.unpack(request)
        try:
            worker.judge(slot, generation, part)
        except Exception as error:  # process boundary: one part's trouble is that part's fault
            worker.result[0]["fault"] = FAULTS.index(Fault.BAD_OUTPUT)
            worker.result[0]["detail"] = " ".join(str(error).split()).encode()[:200]
        worker.result[0]["sent_ns"] = now_ns()
        link.send(worker.answer)


if __name__ == "__main__":
    main(sys.argv[1])
