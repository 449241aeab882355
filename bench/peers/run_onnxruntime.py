"""ONNX Runtime's own loop, as its documentation has it: a frame in memory, session.run, a score.

python run_onnxruntime.py default|threads=2 MODEL.onnx FRAMES.npz PARTS
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime as ort

WARM_UP = 20


def main(variant: str, model: str, frames: str, parts: int) -> None:
    options = ort.SessionOptions()
    if variant == "threads=2":
        options.intra_op_num_threads = 2
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    pictures = np.load(frames)
    inputs = {node.name: pictures[node.name] for node in session.get_inputs()}
    shapes = {node.name: node.shape for node in session.get_inputs()}
    count = len(next(iter(inputs.values())))
    feeds = [
        {name: inputs[name][row].reshape(shapes[name]) for name in inputs} for row in range(count)
    ]
    score = [node.name for node in session.get_outputs()].index("score")
    scores: list[float] = []
    samples_ms: list[float] = []
    for turn in range(WARM_UP + parts):
        feed = feeds[turn % count]
        started_ns = time.perf_counter_ns()
        outputs = session.run(None, feed)
        samples_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        if turn < count:
            scores.append(float(outputs[score].item()))
    samples_ms = samples_ms[WARM_UP:]
    result = {
        "timed": "session.run: array in, array out",
        "versions": {"onnxruntime": ort.__version__},
        "samples_ms": samples_ms,
        "parts_per_s": 1000.0 * len(samples_ms) / sum(samples_ms),
        "scores": scores,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
