"""A build from a folder pair to a sealed package, small enough to run wherever torch is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.core.errors import ConfigError
from models import golden, package
from models.build import measure
from models.build.build import build

RECIPE = """
name = "dots"
terms = "drawn by a test"
[data]
size_px = [64, 64]
fit = "resize"
[network]
stem = 16
channels = [16]
[training]
epochs = 60
batch = 8
learning_rate = 5e-3
"""
WIDE = "[64, 64, 64, 64, 64]"  # as the zoo's synthetic-part


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Gray squares; the defective ones have a black dot."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label in ("good", "defect"):
        (tmp_path / label).mkdir()
        for place in range(40):
            picture = rng.normal(150, 6, (64, 64)).clip(0, 255).astype(np.uint8)
            picture[8:56, 8:56] += 40
            if label == "defect":
                x, y = (int(v) for v in rng.integers(16, 48, 2))
                cv2.circle(picture, (x, y), 4, 20, -1)
            cv2.imwrite(str(tmp_path / label / f"{place}.png"), picture)
    (tmp_path / "dots.toml").write_text(RECIPE)
    return tmp_path


def test_a_folder_pair_becomes_a_package_and_resumes(folder):
    pytest.importorskip("torch", reason="training needs the extra `train`")
    said: list[str] = []
    path = build(folder / "dots.toml", report=said.append)
    found = package.load(path)
    assert found.manifest.figures.auroc_int8 > 0.9
    assert len(found.manifest.pictures.digests()) == 64
    assert package.load(folder / "twins" / "dots-fp32.onnx").manifest.precision == "fp32"
    held = golden.load(found)
    assert held is not None, said
    assert len(held.parts) == 64
    score = measure.score_of(package.unsealed(found.model_bytes()), ["image"])
    assert golden.examine(found, lambda arrays: score(arrays["image"][None])).refusal == ""
    again = build(folder / "dots.toml", resume=True, report=said.append)
    assert any(line.startswith("resumed after epoch 60") for line in said)
    assert package.load(again).manifest.thresholds == found.manifest.thresholds
    (row,) = {line for line in said if line.startswith("| dots |")}
    assert f" {found.manifest.figures.auroc_int8:.4f} " in row
    (folder / "dots.toml").write_text(RECIPE.replace("channels = [16]", "channels = [32]"))
    other = "of another network, teacher or pictures; build without --resume"
    with pytest.raises(ConfigError, match=other):
        build(folder / "dots.toml", resume=True)
    (folder / "dots.toml").write_text(RECIPE)
    moved = next((folder / "good").iterdir())
    moved.rename(folder / "defect" / "moved.png")
    with pytest.raises(ConfigError, match=other):
        build(folder / "dots.toml", resume=True)


def test_a_pupil_is_taught_by_a_recipe_and_has_its_terms(folder):
    pytest.importorskip("torch", reason="training needs the extra `train`")
    short = RECIPE.replace("epochs = 60", "epochs = 4")
    large = short.replace("[16]", "[32]") + 'start = "synthetic-part-fp32"\n'
    (folder / "dots.toml").write_text('teacher = "large.toml"\n' + short)
    (folder / "large.toml").write_text(
        large.replace('"dots"', '"large"').replace("stem = 16", "stem = 32").replace("[32]", WIDE)
    )
    said: list[str] = []
    manifest = package.load(build(folder / "dots.toml", report=said.append)).manifest
    assert said.index("teacher large") < said.index(
        "starting from the weights of synthetic-part-fp32"
    )
    assert (folder / "runs" / "dots" / "teacher-large.pt").is_file()
    assert "Begun with the weights of synthetic-part-fp32: " in manifest.terms
    assert manifest.pictures.holds_seed(0)


def test_missing_tools_are_named_before_anything_starts(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ConfigError, match="building needs torch: make venv-train, then "):
        build(folder / "dots.toml")
