"""A few hundred hostile packages; `python -m bench.fuzz` tries many more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench import hostile
from bench.altered import altered, parsed, seeds, written
from models import package


def test_hostile_packages_are_refused_or_do_no_harm() -> None:
    pytest.importorskip("onnxruntime")
    figures = hostile.packages(150)
    assert figures["crashes"] == 0
    assert figures["refused"] > 0
    assert figures["admitted"] > 0


def test_a_model_taken_apart_is_written_again_as_it_was() -> None:
    data = package.unsealed((package.ZOO / "synthetic-part.onnx").read_bytes())
    assert written(parsed(memoryview(data))) == data


def test_the_same_dice_alter_the_same(tmp_path: Path) -> None:
    given = seeds()
    first, second = (altered(random.Random(3), given) for _ in range(2))
    assert first == second


def test_a_child_that_dies_or_hangs_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = hostile.Child()
    assert child.tried(tmp_path / "gone.onnx") == "refused"
    monkeypatch.setattr(hostile, "CHILD_NS", 0)
    assert child.tried(package.ZOO / "deeppcb.onnx") == "hung"
    child.kill()
    assert child.tried(tmp_path / "gone.onnx") == "died"
    child.close()
