"""What many tests share: a tiny real package, and the place of the real data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.core.types import Fit, ViewSpec
from edge.desk import socket_path
from models.manifest import Manifest, Outputs, Thresholds, Tiling
from models.package import seal

TINY_VIEWS = (
    ViewSpec("image", "picture", "uint8", (16, 16), Fit("resize")),
    ViewSpec("force", "samples", "float32", (12, 6)),
)


def tiny_model(*, map_cells: int = 4) -> bytes:
    """A graph whose score is the picture's mean / 255 plus the sum of the force samples.

    A NaN in the force window comes out as a NaN score; the map repeats the score.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["gray"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["bright"]),
        helper.make_node("ReduceSum", ["force"], ["load"], keepdims=0),
        helper.make_node("Add", ["bright", "load"], ["sum"]),
        helper.make_node("Reshape", ["sum", "one"], ["score"]),
        helper.make_node("Expand", ["score", "cells"], ["map"]),
    ]
    constants = {
        "scale": np.float32(1 / 255),
        "one": np.array([1], np.int64),
        "cells": np.array([map_cells, map_cells], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, 16, 16]),
            helper.make_tensor_value_info("force", TensorProto.FLOAT, [12, 6]),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [map_cells, map_cells]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def tiny_manifest(*, map_cells: int = 4) -> Manifest:
    """PASS below 0.5; a dark picture with no force passes, a bright one fails."""
    return Manifest(
        name="tiny",
        version="1",
        views=TINY_VIEWS,
        outputs=Outputs(map_shape=(map_cells, map_cells), cell_px=16 // map_cells),
        thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
        precision="float32",
    )


@pytest.fixture
def tiny_package(tmp_path: Path) -> Path:
    """The tiny model as a sealed package file with one picture view and one float32 view."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(seal(tiny_model(), tiny_manifest()))
    return path


@pytest.fixture(scope="session", autouse=True)
def _stores_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the store nor the cache of the person who runs the tests is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_STORE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_sockets_left() -> Iterator[None]:
    """Of stations that a test killed; theirs are named NAME-PID-INSTANT."""
    yield
    for left in socket_path("any").parent.glob(f"*-{os.getpid()}-*"):
        left.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets beside the repository."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not here")
    return folder


TYPES = ("scratch", "dent out")


def typed_model(*, rows: int = 8, columns: int = 8, batch: int = 1, names: int = 2) -> bytes:
    """A graph whose map is the mean of each 8 x 8 pixels / 255, and that says what a cell shows.

    Types are the best of a 1 x 1 convolution, as a network says them: nothing below 0.3, the first
    type up to 0.7, the second from there on (with names=3 a third one above 0.9). With a batch,
    the outputs have an axis before.
    """
    steps = (0.3, 0.7, 0.9)[:names]
    # Lines of slope 0, 1, 2, ... that cross where one type ends and the next begins.
    heights = np.cumsum([0.0, *(-step for step in steps)])
    weights = {
        "scale": np.float32(1 / 255),
        "slopes": np.arange(names + 1, dtype=np.float32).reshape(-1, 1, 1, 1),
        "heights": heights.astype(np.float32),
        "cells": np.array([batch, rows, columns][batch == 1 :], np.int64),
        "one": np.array([batch], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        node("AveragePool", ["gray"], ["mean"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Mul", ["mean", "scale"], ["share"]),
        node("Reshape", ["share", "cells"], ["map"]),
        node("ReduceMax", ["share"], ["peak"], axes=[1, 2, 3], keepdims=0),
        node("Reshape", ["peak", "one"], ["score"]),
        node("Conv", ["share", "slopes", "heights"], ["logits"]),
        node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        node("Cast", ["best"], ["bytes"], to=TensorProto.UINT8),
        node("Reshape", ["bytes", "cells"], ["types"]),
    ]
    info, shape = helper.make_tensor_value_info, weights["cells"].tolist()
    graph = helper.make_graph(
        nodes,
        "typed",
        [info("image", TensorProto.UINT8, [batch, 1, rows * 8, columns * 8])],
        [
            info("score", TensorProto.FLOAT, [batch]),
            info("map", TensorProto.FLOAT, shape),
            info("types", TensorProto.UINT8, shape),
        ],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def typed_manifest(*, rows: int = 8, columns: int = 8, batch: int = 1) -> Manifest:
    """PASS while every cell is darker than 0.5; regions of cells at or above that."""
    return Manifest(
        name="typed",
        version="1",
        views=(ViewSpec("image", "picture", "uint8", (rows * 8, columns * 8)),),
        outputs=Outputs(
            map_shape=(rows, columns), cell_px=8, map_threshold=0.5, types="types", type_names=TYPES
        ),
        thresholds=Thresholds(pass_below=0.5, fail_from=0.5),
        tiling=Tiling(batch=batch),
        precision="float32",
    )


@pytest.fixture(scope="session")
def typed_bytes() -> bytes:
    """A package that knows two types of defect, on pictures of 64 x 64."""
    return seal(typed_model(), typed_manifest())


@pytest.fixture
def typed_package(tmp_path: Path, typed_bytes: bytes) -> Path:
    """The same as a file."""
    path = tmp_path / "typed.onnx"
    path.write_bytes(typed_bytes)
    return path


@pytest.fixture
def make_typed(tmp_path: Path) -> Callable[..., Path]:
    """Typed packages, their manifest's outputs or their graph changed."""

    def make(
        name: str = "typed", *, graph: dict[str, int] | None = None, **outputs: object
    ) -> Path:
        sides = {key: value for key, value in (graph or {}).items() if key != "names"}
        manifest = typed_manifest(**sides)
        changed = msgspec.structs.replace(manifest.outputs, **outputs)
        path = tmp_path / f"{name}.onnx"
        sealed = seal(
            typed_model(**(graph or {})), msgspec.structs.replace(manifest, outputs=changed)
        )
        path.write_bytes(sealed)
        return path

    return make
