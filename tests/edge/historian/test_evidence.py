"""Evidence: exact pictures that say what they show."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest

from edge.core.history import Closed
from edge.core.types import Action, Cause, Deadline, Decision, PartRecord, Region, Verdict, ViewSpec
from edge.historian import evidence

VIEWS = (
    ViewSpec("image", "picture", "uint8", (24, 32)),
    ViewSpec("board", "reference", "uint8", (24, 32, 3)),
    ViewSpec("force", "samples", "float32", (6, 2)),
)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(5)
    return {
        "image": rng.integers(0, 256, (24, 32), dtype=np.uint8),
        "board": rng.integers(0, 256, (24, 32, 3), dtype=np.uint8),
        "force": rng.random((6, 2), dtype=np.float32),
    }


def closed(detail: str = "") -> Closed:
    decision = Decision(
        part=7,
        action=Action.REJECT,
        cause=Cause.VERDICT,
        verdict=Verdict.FAIL,
        score=0.1 + 0.2,
        regions=(Region(1, 2, 3, 4, 5, 0.75),),
        detail=detail,
    )
    return Closed(PartRecord(7, 7, Deadline(1, 2, 3), decision), "kept", 0, 1)


def test_the_pictures_are_exact_and_the_record_is_in_the_first(tmp_path, arrays):
    told = closed("Prüfling 7 \u2713")
    defect_map = np.linspace(-1, 3, 12, dtype=np.float32).reshape(3, 4)
    name = evidence.write(tmp_path, 0xAB, told, VIEWS, arrays, defect_map)
    stem = "00000000000000ab-000000007"
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == [f"{stem}.board.png", f"{stem}.map.png", f"{stem}.png"]
    assert name == f"{stem}.png"
    data = (tmp_path / name).read_bytes()
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read, arrays["image"])
    board = cv2.imread(str(tmp_path / f"{stem}.board.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(board, arrays["board"])
    text = evidence.text_of(data, evidence.KEYWORD)
    assert text is not None
    assert msgspec.json.decode(text, type=PartRecord) == told.record


def test_a_map_comes_back_within_a_step_of_its_levels(tmp_path, arrays):
    defect_map = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    evidence.write(tmp_path, 1, closed(), VIEWS, arrays, defect_map)
    (file,) = tmp_path.glob("*.map.png")
    data = file.read_bytes()
    text = evidence.text_of(data, evidence.RANGE)
    assert text is not None
    low, high = msgspec.json.decode(text)
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    again = low + levels.astype(np.float64) * (high - low) / 65535
    assert np.abs(again - defect_map).max() <= (high - low) / 65535


def test_a_disk_that_refuses_leaves_no_half_a_picture(tmp_path, arrays, monkeypatch):
    def refuse(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(OSError, match="No space"):
        evidence.write(tmp_path, 1, closed(), VIEWS, arrays, None)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_text_has_none(arrays):
    data = cv2.imencode(".png", arrays["image"])[1].tobytes()
    assert evidence.text_of(data, evidence.KEYWORD) is None
