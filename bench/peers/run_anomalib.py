"""anomalib's OpenVINOInferencer: the package as it is, and behind the front that it asks for.

python run_anomalib.py package|front MODEL.onnx FRAMES.npz PARTS

The inferencer takes models that anomalib exported: one float picture of 3 channels in 0..1, and
outputs named pred_score and anomaly_map. `front` puts that contract before and after the same
graph: channel n carries view n (a view too many is refused), scaled back to the same bytes.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper

WARM_UP = 20
CHANNELS = 3


def inferencer(model: str) -> Any:
    """anomalib on CPU; its import needs torchvision, whose wheel wants a CUDA build of torch."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # With a CPU build its operators do not load and the import ends in "operator
        # torchvision::nms does not exist". None is used here: declared, they need no body.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from anomalib.deploy import OpenVINOInferencer

    return OpenVINOInferencer(model, device="CPU")


def fronted(model: str, path: Path) -> None:
    """Write the model with anomalib's contract around its graph."""
    proto = onnx.load(model)
    graph, nodes, slots = proto.graph, [], len(proto.graph.input)
    if slots > CHANNELS:
        raise SystemExit(f"{slots} views: the inferencer takes one picture of {CHANNELS} channels")
    height, width = (axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[-2:])
    helped = {"front.scale": np.array(255.0, np.float32), "front.axes": np.array([1], np.int64)}
    helped |= {f"front.{n}": np.array([n], np.int64) for n in range(slots + 1)}
    graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in helped.items())
    nodes.append(helper.make_node("Mul", ["input", "front.scale"], ["front.scaled"]))
    nodes.append(helper.make_node("Round", ["front.scaled"], ["front.whole"]))
    nodes.append(helper.make_node("Cast", ["front.whole"], ["front.bytes"], to=TensorProto.UINT8))
    for place, view in enumerate(graph.input):
        cut = ["front.bytes", f"front.{place}", f"front.{place + 1}", "front.axes"]
        nodes.append(helper.make_node("Slice", cut, [view.name]))
    for node in graph.node:
        # Renamed, not passed on by an Identity: OpenVINO folds that into one output with two
        # names, and the inferencer takes whichever comes first out of a set.
        node.input[:] = [_renamed(name) for name in node.input]
        node.output[:] = [_renamed(name) for name in node.output]
        nodes.append(node)
    cells = next(
        [axis.dim_value for axis in node.type.tensor_type.shape.dim]
        for node in graph.output
        if node.name == "map"
    )
    one = helper.make_tensor_value_info
    nodes.append(helper.make_node("Unsqueeze", ["map", "front.0"], ["anomaly_map"]))
    built = helper.make_graph(
        nodes,
        "fronted",
        [one("input", TensorProto.FLOAT, [1, CHANNELS, height, width])],
        [
            one("pred_score", TensorProto.FLOAT, [1]),
            one("anomaly_map", TensorProto.FLOAT, [1, *cells]),
        ],
        initializer=list(graph.initializer),
    )
    onnx.save(
        helper.make_model(built, opset_imports=proto.opset_import, ir_version=proto.ir_version),
        path,
    )


def _renamed(name: str) -> str:
    return "pred_score" if name == "score" else name


def main(variant: str, model: str, frames: str, parts: int) -> None:
    loaded = np.load(frames)
    names = [node.name for node in onnx.load(model, load_external_data=False).graph.input]
    if variant == "package":
        inferencer(model).predict(loaded[names[0]][0][None])
        raise SystemExit("the inferencer took the package: time it here")
    fronted(model, Path("fronted.onnx"))
    count, height, width = loaded[names[0]].shape
    pictures: npt.NDArray[np.uint8] = np.zeros((count, height, width, CHANNELS), np.uint8)
    for place, name in enumerate(names):
        pictures[..., place] = loaded[name]
    judge = inferencer("fronted.onnx")
    scores: list[float] = []
    samples_ms: list[float] = []
    for turn in range(WARM_UP + parts):
        picture = pictures[turn % count]
        started_ns = time.perf_counter_ns()
        prediction = judge.predict(picture)
        samples_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        if turn < count:
            scores.append(float(prediction.pred_score.item()))
    samples_ms = samples_ms[WARM_UP:]
    result = {
        "timed": "predict: uint8 picture in, NumpyImageBatch out",
        "versions": {name: version(name) for name in ("anomalib", "openvino")},
        "samples_ms": samples_ms,
        "parts_per_s": 1000.0 * len(samples_ms) / sum(samples_ms),
        "scores": scores,
        "remark": "the package's graph behind Mul, Round, Cast and Slice, its outputs renamed",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
