"""A package that wants its reference registered, on footage that needs it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.core.errors import FootageError
from edge.core.types import Fault, Verdict, ViewSpec
from edge.playback import Asked, Played, replay, verify
from models.build.boards import FLAWS, board, taken
from models.manifest import Manifest, Outputs, Thresholds
from models.package import seal
from sensors.mcap import open_recording

SIDE = 256
PARTS = 8
MOVES = ((3.5, -2.0), (-4.0, 3.0), (2.5, 4.0), (-3.0, -3.5))  # of what is seen, in pixels


def a_package(path: Path, align: str) -> Path:
    """Scores the worst 8 x 8 cell by how much of it is black where the reference is white."""
    node, cells = helper.make_node, SIDE // 8
    nodes = [
        node("Cast", ["image"], ["gray"], to=TensorProto.FLOAT),
        node("Cast", ["reference"], ["wanted"], to=TensorProto.FLOAT),
        node("Greater", ["gray", "gray_limit"], ["is_white"]),
        node("Greater", ["wanted", "limit"], ["should_be"]),
        node("Xor", ["is_white", "should_be"], ["wrong"]),
        node("Cast", ["wrong"], ["apart"], to=TensorProto.FLOAT),
        node("AveragePool", ["apart"], ["share"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Reshape", ["share", "cells"], ["map"]),
        node("ReduceMax", ["share"], ["peak"], axes=[1, 2, 3], keepdims=0),
        node("Reshape", ["peak", "one"], ["score"]),
    ]
    weights = {
        "gray_limit": np.float32(110),
        "limit": np.float32(127),
        "cells": np.array([cells, cells], np.int64),
        "one": np.array([1], np.int64),
    }
    info = helper.make_tensor_value_info
    views = [
        ViewSpec("image", "picture", "uint8", (SIDE, SIDE)),
        ViewSpec("reference", "reference", "uint8", (SIDE, SIDE), align=align),
    ]
    graph = helper.make_graph(
        nodes,
        "compares",
        [info(view.name, TensorProto.UINT8, [1, 1, SIDE, SIDE]) for view in views],
        [info("score", TensorProto.FLOAT, [1]), info("map", TensorProto.FLOAT, [cells, cells])],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    manifest = Manifest(
        name=f"compares-{align}",
        version="1",
        views=tuple(views),
        outputs=Outputs(map_shape=(cells, cells)),
        thresholds=Thresholds(pass_below=0.55, fail_from=0.55),
        precision="float32",
    )
    path.write_bytes(seal(model, manifest))
    return path


def a_pair(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A drawn design and the same with an open or a short."""
    for more in range(100):
        made = board(np.random.default_rng(100 * number + more), (SIDE, SIDE), FLAWS[number % 2])
        if made is None:
            continue
        reference, good, flawed = made
        spots = np.abs(flawed.astype(int) - good) > 60
        return reference, np.where(spots, 255 - reference, reference).astype(np.uint8)
    raise AssertionError("no board has room for a flaw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Boards turned and shifted, every second one flawed; the last beside another's reference."""
    folder = tmp_path_factory.mktemp("boards")
    lines = ["path,label,reference_path"]
    for number in range(PARTS):
        reference, flawed = a_pair(number)
        move = np.array(cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 0.4 * (-1) ** number, 1.003))
        move[:, 2] += MOVES[number % len(MOVES)]
        design = flawed if number % 2 else reference
        picture = taken(design, move.astype(np.float32), (45, 180), np.array([5.0, -5.0]), 1.0)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        cv2.imwrite(str(folder / f"{number}-reference.png"), reference)
        lines.append(f"{number}.png,{'defect' if number % 2 else 'good'},{number}-reference.png")
    lines.append("0.png,good,5-reference.png")
    (folder / "footage.csv").write_text("\n".join(lines) + "\n")
    a_package(folder / "affine.onnx", "affine")
    a_package(folder / "none.onnx", "none")
    return folder


@pytest.fixture(scope="module")
def played(folder) -> Played:
    asked = Asked(
        footage=folder / "footage.csv",
        model=str(folder / "affine.onnx"),
        record=folder / "kept.mcap",
    )
    return replay(asked)


def told(played: Played) -> list[Verdict | Fault | None]:
    return [one.decision.verdict or one.decision.fault for one in played.records]


def test_parts_are_judged_beside_the_moved_reference(folder, played):
    wanted = [Verdict.FAIL if number % 2 else Verdict.PASS for number in range(PARTS)]
    assert told(played) == [*wanted, Fault.UNFIT_IMAGE]
    plain = replay(Asked(footage=folder / "footage.csv", model=str(folder / "none.onnx")))
    assert Verdict.PASS not in told(plain), "the footage needs no registration"
    assert all(one.registration_ns > 200_000 for one in played.records[:PARTS])
    assert played.records[PARTS].registration_ns == 0  # it failed
    assert not any(one.registration_ns for one in plain.records)


def test_a_recording_of_it_is_decided_again_bit_for_bit(folder, played):
    again = verify(Asked(footage=folder / "kept.mcap", model=str(folder / "affine.onnx")))
    assert (again.parts, again.differences) == (PARTS + 1, [])
    assert again.replayed_sha256 == played.report.decisions_sha256
    recording = open_recording(folder / "kept.mcap")
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in recording.views}
    reader = recording.reader()
    reader.fill(0, arrays)
    reader.close()
    pristine = cv2.imread(str(folder / "0-reference.png"), cv2.IMREAD_GRAYSCALE)
    assert not np.array_equal(arrays["reference"], pristine)  # what was judged is what was kept
    with pytest.raises(FootageError, match="align affine"):
        replay(Asked(footage=folder / "kept.mcap", model=str(folder / "none.onnx")))


def test_in_real_time_it_counts(folder):
    """From trigger to frame, where nothing else is done to a picture that was decoded ahead."""
    spans_ns = {}
    for align in ("none", "affine"):
        asked = Asked(
            footage=folder / "footage.csv", model=str(folder / f"{align}.onnx"), pace="recorded"
        )
        records = replay(asked).records[:PARTS]
        spans_ns[align] = min(
            one.frame_ns - one.deadline.trigger_ns for one in records if one.frame_ns
        )
        assert all(
            one.deadline.trigger_ns + one.registration_ns <= one.frame_ns
            for one in records
            if one.frame_ns
        )
    assert spans_ns["none"] < spans_ns["affine"] - 200_000
