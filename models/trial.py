"""One provider tried out with one package, in a process of its own.

    python -m models.trial PLAN        (a Plan of models/tryout.py, which starts it)

A provider that crashes, hangs or takes minutes to build its engines does so here, before anyone
depends on it. The process builds what the provider builds into the cache, judges the package's
golden set on the session it times, and times session.run on the set's pictures, or, where a
package has none, on pictures drawn from a seed. It writes one JSON line for every step, `Said`,
and a last one, `Ended`.
"""

from __future__ import annotations

import gc
import os
import sys
from array import array
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from edge.core.clock import NS_PER_S, now_ns
from edge.core.errors import EdgeError, EngineError
from edge.core.pool import FramePool, View
from edge.core.process import die_with_parent
from models import golden, package
from models.package import Package
from models.providers import REFERENCE, Setup, require
from models.rated import Rated, next_look, timed
from models.session import BoundSession, here
from models.tiles import batched
from models.tryout import Ended, Plan, Said

SLOTS = 8  # pictures that take turns, as many as a station's pool has slots
WARM_UP_RUNS = 20
SEED = 6


def main(argument: str) -> None:
    """Be that process."""
    plan = msgspec.json.decode(argument, type=Plan)
    die_with_parent(plan.parent_pid)
    # What libraries print must not get between the lines.
    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        os.dup2(2, 1)

        def say(what: Said | Ended) -> None:
            out.write(msgspec.json.encode(what) + b"\n")

        try:
            rated = _rated(plan, say)
        except EdgeError as error:
            rated = Rated(
                provider=plan.provider, threads=plan.threads, refusal=" ".join(str(error).split())
            )
        say(Ended(rated))


def _rated(plan: Plan, say: Callable[[Said], None]) -> Rated:
    model = package.load(plan.package)
    if model.file_sha256 != plan.file_sha256:
        raise EngineError(f"{plan.package}: changed since it was read")
    manifest, row = model.manifest, require(plan.provider, here())
    if plan.provider != REFERENCE and model.golden_bytes() is None:
        raise EngineError(
            f"{manifest.name} has no golden set to hold its scores against; "
            f"it may serve on {REFERENCE} only (`edge model golden` makes one)"
        )
    views = batched(manifest.views, manifest.tiling.batch)  # a picture fills its batch
    pool = FramePool.create(views, SLOTS)
    cache = Path(plan.cache) if plan.cache else None
    setup = Setup(plan.threads, manifest.precision, cache, plan.device)
    allowed = sorted(os.sched_getaffinity(0))
    # As a station's worker: the caller and the session's helpers each on their own.
    helpers = tuple(allowed[1:]) if plan.threads > 1 and not row.own_threads else ()
    say(Said("building" if row.builds else "loading"))
    began_ns = now_ns()
    session = BoundSession(
        model.model_bytes(), views, pool, plan.provider, plan.threads, helpers,
        setup=setup,
    )  # fmt: skip
    if session.left_over:
        say(Said(f"{session.left_over} operators are left to the CPU"))
    if helpers:
        os.sched_setaffinity(0, allowed[:1])
    session.run(0)  # some build their engine here, whatever they were told
    load_s = (now_ns() - began_ns) / NS_PER_S
    parity = golden.examine(model, lambda arrays: session.judge(arrays, manifest.outputs.score))
    rated = Rated(
        provider=plan.provider,
        precision=manifest.precision,
        threads=plan.threads,
        load_s=round(load_s, 3),
        max_score_delta=parity.max_score_delta if parity else None,
        flips=parity.flips if parity else None,
        refusal=parity.refusal if parity else "",
    )
    if rated.refusal or not plan.runs:
        return rated
    for slot, arrays in enumerate(_pictures(model)):
        for name, view in pool.arrays(slot).items():
            np.copyto(view, arrays[name])
    taken_ns = _timed(session, plan, say)
    return msgspec.structs.replace(rated, **timed(taken_ns))


def _pictures(model: Package) -> list[dict[str, View]]:
    """One part's views for each slot: of the golden set from end to end, or drawn."""
    held = golden.load(model)
    if held:
        step = max(1, len(held.parts) // SLOTS)
        found = list(islice(held.pictures(), 0, SLOTS * step, step))
        return [found[slot % len(found)] for slot in range(SLOTS)]
    random = np.random.default_rng(SEED)
    return [
        {
            view.name: random.integers(0, 256, view.shape, np.uint8).astype(view.dtype)
            for view in model.manifest.views
        }
        for _ in range(SLOTS)
    ]


def _timed(session: BoundSession, plan: Plan, say: Callable[[Said], None]) -> array[int]:
    """session.run's times, over all slots in turn, until they are enough or took too long."""
    taken_ns: array[int] = array("q")
    gc.collect()
    gc.disable()  # as in a station's worker
    for turn in range(plan.turns):
        if plan.turns > 1:
            say(Said("" if turn else "ready", waits=True))
            sys.stdin.readline()
        for slot in range(WARM_UP_RUNS):
            session.run(slot % SLOTS)
        runs = plan.runs * (turn + 1) // plan.turns
        until_ns = now_ns() + round(plan.most_s / plan.turns * NS_PER_S)
        while now_ns() < until_ns:
            look = next_look(taken_ns, plan.budget_ms, runs, thorough=plan.thorough)
            if look <= len(taken_ns):
                break
            for place in range(len(taken_ns), look):
                began_ns = now_ns()
                session.run(place % SLOTS)
                taken_ns.append((ended_ns := now_ns()) - began_ns)
                if ended_ns >= until_ns:
                    break
    return taken_ns


if __name__ == "__main__":
    main(sys.argv[1])
