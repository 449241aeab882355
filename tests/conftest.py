"""What many tests share: a tiny real package, and the place of the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.core.types import Fit, ViewSpec
from edge.desk import socket_path
from models.manifest import Manifest, Outputs, Thresholds
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
