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
from pathlib import Path

import msgspec
import numpy as np

from edge.core.clock import NS_PER_S, SystemClock, now_ns
from edge.core.errors import EdgeError
from edge.core.pool import FramePool, View
from edge.core.process import die_with_parent
from edge.core.types import Fault, ViewSpec
from models import golden, package, providers
from models.decode import Decoder, use_one_thread
from models.envelope import Gauge
from models.exchange import (
    ALERT,
    ANSWER,
    CHECK,
    CHECKED,
    FAILED,
    FAULT_NUMBERS,
    MOST_WORDS,
    READY,
    REHEARSED,
    REQUEST,
    Head,
    Result,
    WorkerPlan,
    words,
)
from models.providers import Setup
from models.session import BoundSession, here
from models.tiled_fit import TiledGauge
from models.tiled_session import TiledSession
from models.tiles import lanes_of, whole

WARM_UP_RUNS = 3
# Beside a running line the golden set takes a fifth of the time: 64 pictures of 2.4 ms in one go
# kept the serving session's threads waiting for 150 ms.
REST = 4
# The worker looks for its next request instead of sleeping: so long after an answer, and so long
# before a part is due and after. A processor that is awake takes the request 0.08 ms sooner, and
# takes no hop of the command to the controller away from the one that is warm.
LOOK_AHEAD_NS = 3_000_000
LOOK_NS = 1_000_000


class GateError(EdgeError):
    """A session that does not keep to its package's golden set; the table says where."""

    def __init__(self, refusal: str, table: list[str]) -> None:
        super().__init__(refusal)
        self.table = table


def _judges(
    loaded: package.Package, plan: WorkerPlan, pool: FramePool
) -> tuple[BoundSession | TiledSession, Gauge | TiledGauge]:
    """The session and the gauge of a plan: of the slots as they are, or of tiles of them."""
    manifest, model, provider = loaded.manifest, loaded.model_bytes(), plan.provider
    cpus = plan.helper_cpus
    setup = Setup(plan.threads, manifest.precision, Path(plan.cache) if plan.cache else None)
    if plan.tiles is None:
        views, threads = manifest.views, plan.threads
        session = BoundSession(model, views, pool, provider, threads, cpus, setup=setup)
        return session, Gauge(manifest.views, manifest.envelope)

    def tile(views: tuple[ViewSpec, ...], place: FramePool, threads: int) -> BoundSession:
        own, places = setup._replace(threads=threads), cpus if threads > 1 else ()
        return BoundSession(model, views, place, provider, threads, places, setup=own)

    lanes = lanes_of(provider, plan.threads, cpus)
    tiled = TiledSession(manifest, plan.tiles, pool, tile, lanes)
    return tiled, TiledGauge(manifest, plan.tiles)


class Worker:
    """The session, the gauge and the decoder of one package over one pool."""

    def __init__(self, plan: WorkerPlan) -> None:
        loaded = package.load(plan.package)
        if loaded.file_sha256 != plan.file_sha256:
            raise EdgeError(f"{plan.package}: changed since the station read it")
        manifest = loaded.manifest
        providers.require(plan.provider, here())  # the plainest reason first
        self._manifest, self._golden = manifest, golden.load(loaded)
        if self._golden is None and plan.provider != providers.REFERENCE:
            raise EdgeError(
                f"{manifest.name}: has no golden set to hold provider {plan.provider} against; "
                f"it may serve on {providers.REFERENCE} only (`edge model golden` makes one)"
            )
        frame = whole(manifest, plan.tiles) if plan.tiles else manifest
        outputs = frame.outputs
        self._pool = FramePool(plan.pool_fd, frame.views, plan.slots, outputs.map_shape)
        self._session, self._gauge = _judges(loaded, plan, self._pool)
        self._score_name = outputs.score
        self._score = self._output(outputs.score, (1,)).data
        self._map = self._output(outputs.map, outputs.map_shape) if outputs.map else None
        of_types = outputs.types
        self._types = self._output(of_types, outputs.map_shape, "uint8") if of_types else None
        self._decoder = Decoder(frame)
        self.result = Result()
        self._slot = 0  # the last one judged
        self._lasted_ns = 0  # how long it took
        self.looks, self._leaves_map = plan.looks, not plan.shadow
        taken_ns = []
        for _ in range(WARM_UP_RUNS):
            began_ns = now_ns()
            self._unfit(0)
            self._session.run(0)
            self._lasted_ns = now_ns() - began_ns
            taken_ns.append(self._lasted_ns)
        self._frame_ns = min(taken_ns)
        self.ready = self._admitted(plan)

    def _admitted(self, plan: WorkerPlan) -> Head:
        """The first word of a session that keeps to the golden set; GateError where it does not."""
        if self._golden is None:
            return Head(READY, 0, 0, 0)
        scores, taken_ns, clock = [], [], SystemClock()
        for arrays in self._golden.pictures():
            began_ns = now_ns()
            scores.append(self._session.judge(arrays, self._score_name))
            took_ns = now_ns() - began_ns
            taken_ns.append(took_ns)
            if plan.gently:
                clock.wait((), now_ns() + REST * took_ns)
        parity = self._held(self._golden, scores)
        if parity.refusal:
            raise GateError(f"provider {plan.provider}: {parity.refusal}", parity.table())
        median_ns = sorted(taken_ns)[len(taken_ns) // 2]
        if plan.tiles:  # a golden picture is one tile of many
            median_ns = max(median_ns, self._frame_ns)
        delta = parity.max_score_delta
        return Head(READY, 0, 0, 0, 0, parity.pictures, score=delta, ended_ns=median_ns)

    def _held(self, against: golden.Golden, scores: list[float]) -> golden.Parity:
        manifest = self._manifest
        return golden.judge(against, scores, manifest.thresholds, manifest.gate.max_score_delta)

    def check(self, picture: int) -> Head:
        """What is wrong with how one golden picture is judged now, if anything."""
        if self._golden is None or picture >= len(self._golden.parts):
            return Head(CHECKED, 0, 0, 0)
        one = msgspec.structs.replace(self._golden, parts=self._golden.parts[picture : picture + 1])
        try:
            scores = [self._session.judge(self._golden.picture(picture), self._score_name)]
            wrong = self._held(one, scores).refusal
        except Exception as error:  # a session that cannot judge it keeps to nothing
            wrong = f"picture {picture} cannot be judged: {error}"
        return Head(CHECKED, 0, 0, 0, detail=words(wrong))

    def _output(self, name: str, shape: tuple[int, ...] | None, dtype: str = "float32") -> View:
        if name not in self._session.outputs:
            raise EdgeError(f"output {name} of the manifest is not in the graph")
        output = self._session.outputs[name]
        if output.dtype != dtype or output.shape != shape:
            raise EdgeError(f"output {name} is {output.dtype} {output.shape}, not {dtype} {shape}")
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
            regions = self.result.regions
            peak, count, overflow = self._decoder.regions(self._map, regions, self._types)
            if not math.isfinite(peak):
                return _fault(Fault.BAD_OUTPUT, f"the map holds {peak}", slot, generation, part)
            if self._leaves_map and (kept := self._pool.map(slot)) is not None:
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
    for lease in leases(worker, link):
        try:
            head = worker.judge(*lease)
        except Exception as error:  # process boundary: one part's trouble is that part's fault
            head = _fault(Fault.BAD_OUTPUT, error, *lease)
        _say(worker, link, head)


def leases(worker: Worker, link: socket.socket) -> Iterator[tuple[int, int, int]]:
    """What to judge, as it comes: (slot, generation, part). Alerts are heeded on the way."""
    request, look_ns = bytearray(REQUEST.size), LOOK_NS if worker.looks else 0
    from_ns = until_ns = 0
    with suppress(ConnectionError):  # the station is gone in the middle of a word
        while _receive(link, request, from_ns, until_ns) == REQUEST.size:
            slot, generation, part = REQUEST.unpack(request)
            if slot == ALERT:
                due_ns = generation
                _say(worker, link, worker.rehearse(due_ns))
                from_ns, until_ns = due_ns - LOOK_AHEAD_NS, due_ns + look_ns
            elif slot == CHECK:
                _say(worker, link, worker.check(generation))
            else:
                yield slot, generation, part
                from_ns, until_ns = 0, now_ns() + look_ns


def _say(worker: Worker, link: socket.socket, head: Head) -> None:
    worker.result.write(head)
    worker.result.sent(now_ns())
    link.send(worker.result.data)


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
    if plan.shadow:
        os.nice(19)  # its session's threads too, which begin later
    try:
        worker = Worker(plan)
    except Exception as error:  # process boundary: the reason must reach the person who started it
        first.write(Head(FAILED, 0, 0, 0, detail=words(error)))
        link.send(first.data)
        table = error.table if isinstance(error, GateError) else []
        link.send("\n".join([str(error), *table]).encode(errors="replace")[:MOST_WORDS])
        sys.exit(1)
    if plan.cpus:
        os.sched_setaffinity(0, plan.cpus)  # this thread alone: the session's own stay free
    first.write(worker.ready)
    link.send(first.data)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would be one part's late answer; serving makes no cycles
    serve(worker, link)


if __name__ == "__main__":
    main(sys.argv[1])
