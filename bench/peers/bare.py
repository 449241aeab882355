"""session.run alone on this product's bound session, in a process of its own: the peers' limit.

python -m bench.peers.bare MODEL.onnx FRAMES.npz PARTS THREADS
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort

from bench.peers.turn import Turn
from edge.core.clock import NS_PER_MS, now_ns
from edge.core.pool import FramePool
from models import package
from models.session import BoundSession

WARM_UP = 20


def main(model: str, frames: str, parts: int, threads: int) -> Turn:
    """A slot for every frame: like the peers, a run finds its pictures where no run left them."""
    loaded = package.load(Path(model))
    views, pictures = loaded.manifest.views, np.load(frames)
    count = len(pictures[views[0].name])
    pool = FramePool.create(views, count)
    for slot in range(count):
        for name, array in pool.arrays(slot).items():
            np.copyto(array, pictures[name][slot])
    session = BoundSession(loaded.model_bytes(), views, pool, "cpu", threads)
    score, scores, samples_ms = session.outputs["score"], [], []
    for turn in range(WARM_UP + parts):
        started_ns = now_ns()
        session.run(turn % count)
        samples_ms.append((now_ns() - started_ns) / NS_PER_MS)
        if turn < count:
            scores.append(float(score.item()))
    samples_ms = samples_ms[WARM_UP:]
    return Turn(
        timed="session.run, inputs and outputs bound",
        versions={"onnxruntime": ort.__version__},
        samples_ms=samples_ms,
        parts_per_s=1000.0 * len(samples_ms) / sum(samples_ms),
        scores=scores,
    )


if __name__ == "__main__":
    result = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    print(msgspec.json.encode(result).decode())
