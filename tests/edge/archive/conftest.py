"""What the archive tests share: a package for pictures alone, and an archive of every kind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.core.types import Fit, ViewSpec
from models.manifest import Manifest, Outputs, Thresholds
from models.package import seal

VIEWS = (ViewSpec("image", "picture", "uint8", (16, 16), Fit("resize")),)


def sealed(*, pass_below: float = 0.3) -> bytes:
    """A package whose score and one-cell map are the picture's mean / 255."""
    nodes = [
        helper.make_node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["gray"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["bright"]),
        helper.make_node("Reshape", ["bright", "one"], ["score"]),
        helper.make_node("Reshape", ["bright", "cell"], ["map"]),
    ]
    constants = {
        "scale": np.float32(1 / 255),
        "one": np.array([1], np.int64),
        "cell": np.array([1, 1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, 16, 16])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    manifest = Manifest(
        name="bright",
        version="1",
        views=VIEWS,
        outputs=Outputs(map_shape=(1, 1), cell_px=16),
        thresholds=Thresholds(pass_below=pass_below, fail_from=0.6),
        precision="float32",
    )
    return seal(model, manifest)


@pytest.fixture(scope="session")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PASS below 0.3, FAIL from 0.6: dark pictures pass, bright ones fail."""
    path = tmp_path_factory.mktemp("package") / "bright.onnx"
    path.write_bytes(sealed())
    return path


@pytest.fixture(scope="session")
def brighter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another package of the same views."""
    path = tmp_path_factory.mktemp("package") / "brighter.onnx"
    path.write_bytes(sealed(pass_below=0.4))
    return path


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((16, 16), level, np.uint8))


def table(folder: Path, parts: int, *, name: str = "manifest.csv") -> None:
    """A labelled data set whose levels rise, every third part defective, all in split test."""
    lines = ["path,label,split"]
    for part in range(parts):
        label = "defect" if part % 3 == 2 else "good"
        picture(folder / "pictures" / f"{part:03}.png", (part * 23 + 7) % 256)
        lines.append(f"pictures/{part:03}.png,{label},test")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")


def video(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (32, 32))
    for frame in range(frames):
        writer.write(np.full((32, 32, 3), (frame * 31) % 256, np.uint8))
    writer.release()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A data set of 10 parts, a table of 3, a folder of 4 pictures, a video of 6 frames, a
    broken video, a file that is no footage."""
    path = tmp_path / "archive"
    table(path / "a-set", 10)
    table(path / "b-table", 3, name="footage.csv")
    for part in range(4):
        picture(path / "c-pictures" / ("below" if part % 2 else "") / f"{part}.png", part * 60)
    video(path / "line" / "clip.avi", 6)
    (path / "line" / "torn.mp4").write_bytes(b"\0" * 512)
    (path / "notes.txt").write_text("no footage")
    return path
