"""Roboflow's InferencePipeline with the package as custom logic, one frame in the way at a time.

python run_roboflow.py pipeline MODEL.onnx FRAMES.npz PARTS

A source of its own kind (VideoFrameProducer) hands out the frames from memory, bit for bit, as a
file that is never dropped from; the next one when the sink has had the last. Timed from there to
the sink, as its users get a result.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

WARM_UP = 20
PROBE = 8  # frames of a probe; what is asked for happens at the third
LATE_S = 0.3


def pipeline_class() -> Any:
    """InferencePipeline, off the network; its import needs torchvision (see run_anomalib.py)."""
    os.environ |= {"OFFLINE_MODE": "True", "TELEMETRY_OPT_OUT": "True", "METRICS_ENABLED": "False"}
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from inference import InferencePipeline

    logging.disable(logging.CRITICAL)  # the probe's own exception
    return InferencePipeline


class Frames:
    """A VideoFrameProducer of arrays in memory, gated by the sink."""

    def __init__(self, arrays: list[Any], parts: int) -> None:
        self._arrays, self._parts, self._given = arrays, parts, 0
        self.taken = threading.Semaphore(1)
        self.grabbed_ns: list[int] = []

    def grab(self) -> bool:
        if self._given == self._parts or not self.taken.acquire(timeout=2.0):
            return False  # the end, or nobody took the last one
        self._given += 1
        self.grabbed_ns.append(time.perf_counter_ns())
        return True

    def retrieve(self) -> tuple[bool, Any]:
        return True, self._arrays[(self._given - 1) % len(self._arrays)]

    def isOpened(self) -> bool:  # noqa: N802 - the name that is called
        return True

    def release(self) -> None:
        """Nothing is held open."""

    def connection_error_message(self) -> str:
        return ""

    def initialize_source_properties(self, properties: dict[str, float]) -> None:
        """There are none."""

    def discover_source_properties(self) -> Any:
        from streamvision.camera.entities import SourceProperties

        height, width = self._arrays[0].shape[-2:]
        return SourceProperties(
            width=width, height=height, total_frames=self._parts, is_file=True, fps=30.0
        )


def through(
    pipeline: Any, arrays: list[Any], parts: int, judge: Callable[[int, Any], float]
) -> tuple[list[float], list[float], list[int]]:
    """Of each result in order: milliseconds and score; and of each frame when it was grabbed."""
    frames = Frames(arrays, parts)
    samples_ms: list[float] = []
    scores: list[float] = []

    def on_frame(video_frames: list[Any]) -> list[float]:
        return [judge(len(samples_ms), frame.image) for frame in video_frames]

    def sink(score: Any, frame: Any) -> None:
        samples_ms.append((time.perf_counter_ns() - frames.grabbed_ns[-1]) / 1e6)
        scores.append(score)
        frames.taken.release()

    running = pipeline.init_with_custom_logic(
        video_reference=lambda: frames, on_video_frame=on_frame, on_prediction=sink
    )
    running.start(use_main_thread=False)
    running.join()
    return samples_ms, scores, frames.grabbed_ns


def remark(pipeline: Any, arrays: list[Any]) -> str:
    """What it does with a model that raises and with one that is late, as seen just now."""

    def raises(place: int, image: Any) -> float:
        if place == 2:
            raise ValueError("probe")
        return 0.0

    def late(place: int, image: Any) -> float:
        time.sleep(LATE_S if place == 2 else 0.0)
        return 0.0

    raised, _, _ = through(pipeline, arrays, PROBE, raises)
    slow, _, _ = through(pipeline, arrays, PROBE, late)
    passed = len(slow) == PROBE and slow[2] >= 1000 * LATE_S
    return (
        f"a model that raises at frame 3 of {PROBE}: {len(raised)} results, join() returns; "
        f"one late by {1000 * LATE_S:.0f} ms: "
        + ("its result comes as any other" if passed else f"{len(slow)} results")
    )


def main(variant: str, model: str, frames: str, parts: int) -> None:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    loaded = np.load(frames)
    shapes = {node.name: node.shape for node in session.get_inputs()}
    arrays = list(np.stack([loaded[name] for name in shapes], axis=1))  # (view, height, width)
    place_of_score = [node.name for node in session.get_outputs()].index("score")

    def judge(place: int, image: Any) -> float:
        feed = {name: image[n].reshape(shape) for n, (name, shape) in enumerate(shapes.items())}
        return float(session.run(None, feed)[place_of_score].item())

    pipeline = pipeline_class()
    samples_ms, scores, grabbed_ns = through(pipeline, arrays, WARM_UP + parts, judge)
    samples_ms = samples_ms[WARM_UP:]
    seconds = (grabbed_ns[-1] - grabbed_ns[WARM_UP]) / 1e9 + samples_ms[-1] / 1e3
    result = {
        "timed": "frame grabbed to sink called, threads and queues between",
        "versions": {name: version(name) for name in ("inference", "onnxruntime")},
        "samples_ms": samples_ms,
        "parts_per_s": len(samples_ms) / seconds,
        "scores": scores[: len(arrays)],
        "remark": remark(pipeline, arrays),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
