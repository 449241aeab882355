"""OpenVINO on one frame at a time: its benchmark_app, and a loop of its Python API.

python run_openvino.py benchmark_app|loop MODEL.onnx FRAMES.npz PARTS
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino

WARM_UP = 20


def loop(model: str, frames: str, parts: int) -> dict[str, Any]:
    """The documented call, `compiled(inputs)`, with the hint for one request at a time."""
    compiled = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    pictures = np.load(frames)
    shapes = {node.any_name: tuple(node.shape) for node in compiled.inputs}
    inputs = {name: pictures[name] for name in shapes}
    count = len(next(iter(inputs.values())))
    feeds = [
        {name: inputs[name][row].reshape(shapes[name]) for name in inputs} for row in range(count)
    ]
    scores: list[float] = []
    samples_ms: list[float] = []
    for turn in range(WARM_UP + parts):
        feed = feeds[turn % count]
        started_ns = time.perf_counter_ns()
        outputs = compiled(feed)
        samples_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        if turn < count:
            scores.append(float(outputs["score"].item()))
    samples_ms = samples_ms[WARM_UP:]
    precision = compiled.get_property("INFERENCE_PRECISION_HINT")
    return {
        "timed": "compiled_model(arrays): array in, array out",
        "samples_ms": samples_ms,
        "parts_per_s": 1000.0 * len(samples_ms) / sum(samples_ms),
        "scores": scores,
        "remark": f"INFERENCE_PRECISION_HINT {precision.get_type_name()}, its default here",
    }


def benchmark_app(model: str, frames: str, parts: int) -> dict[str, Any]:
    """`benchmark_app -hint latency -api sync` over the frames, in this process.

    It prints three figures only, so its own list of times is read as its loop returns it.
    """
    from openvino.tools.benchmark import main as app
    from openvino.tools.benchmark.benchmark import Benchmark

    inner = Benchmark.sync_inference
    kept: dict[str, Any] = {}

    def sync_inference(self: Any, request: Any, data_queue: Any) -> Any:
        times, seconds, iterations = inner(self, request, data_queue)
        kept.update(samples_ms=list(times), parts_per_s=iterations / seconds)
        return times, seconds, iterations

    Benchmark.sync_inference = sync_inference
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        sys.argv = [
            *("benchmark_app", "-m", model, "-d", "CPU", "-hint", "latency", "-api", "sync"),
            *("-niter", str(parts), "-inference_only", "false", "-i"),
            *_as_files(model, frames, Path(folder)),
        ]
        app.main()
    return {"timed": "benchmark_app's own latency: infer(), inputs set before it", **kept}


def _as_files(model: str, frames: str, folder: Path) -> list[str]:
    """One .npy a frame and view, and the arguments of -i that name them."""
    pictures, arguments = np.load(frames), []
    for node in openvino.Core().read_model(model).inputs:
        name, files = node.any_name, []
        for row, picture in enumerate(pictures[name]):
            files.append(str(folder / f"{name}-{row:04d}.npy"))
            np.save(files[-1], picture.reshape(tuple(node.shape)))
        arguments.append(f"{name}:{','.join(files)}")
    return arguments


def main(variant: str, model: str, frames: str, parts: int) -> None:
    run = {"loop": loop, "benchmark_app": benchmark_app}[variant]
    versions = {"openvino": openvino.__version__.split("-")[0]}
    print(json.dumps({"versions": versions, **run(model, frames, parts)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
