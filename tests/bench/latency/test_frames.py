"""Where pictures come from, and that every one of them passes the package's own gauge."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.latency.frames import LEAST, MOST, drawn_frames, frames, load, save
from edge.core.errors import EdgeError
from models import package
from models.envelope import Gauge


def _all_fit(model, shown) -> bool:
    gauge = Gauge(model.manifest.views, model.manifest.envelope)
    return not any(gauge.unfit(part) for part in shown.parts)


@pytest.mark.parametrize("name", ["deeppcb", "synthetic-part"])
def test_drawn_patterns_lie_within_the_envelope_of_either_package(name):
    model = package.find(name)
    shown = drawn_frames(model)
    assert len(shown.parts) >= LEAST
    assert _all_fit(model, shown)
    assert shown.source == "patterns drawn to fit the envelope"
    assert len({part["image"].tobytes() for part in shown.parts}) == len(shown.parts)


def test_a_package_without_an_envelope_gets_patterns_for_all_its_views(tiny_package):
    model = package.load(tiny_package)
    (first, *_) = drawn_frames(model).parts
    assert first["image"].shape == (16, 16)
    assert first["force"].shape == (12, 6)
    assert first["force"].dtype == np.float32
    assert np.isfinite(first["force"]).all()


def test_synthetic_parts_are_drawn_by_their_own_generator():
    model = package.find("synthetic-part")
    shown = frames(model)
    assert "synthetic parts, seed" in shown.source
    assert LEAST <= len(shown.parts) <= MOST
    assert _all_fit(model, shown)


def test_the_test_split_beside_the_checkout_is_taken(data):
    model = package.find("deeppcb")
    shown = frames(model)
    assert shown.source.startswith("the test split of deeppcb")
    assert _all_fit(model, shown)


def test_footage_is_taken_and_unfit_pictures_of_it_are_left_out(tmp_path):
    model = package.find("synthetic-part")
    fit = frames(model).parts
    for place, part in enumerate(fit[:5]):
        cv2.imwrite(str(tmp_path / f"{place}.png"), part["image"])
    cv2.imwrite(str(tmp_path / "6.png"), np.zeros((256, 256), np.uint8))
    shown = frames(model, tmp_path)
    assert len(shown.parts) == 5
    assert shown.source.endswith("without 1 unfit ones")


def test_footage_of_another_product_is_refused_with_the_bound_it_breaks(tmp_path):
    for place in range(6):
        picture = np.full((256, 256), 10 * place, np.uint8)
        cv2.imwrite(str(tmp_path / f"{place}.png"), picture)
    with pytest.raises(
        EdgeError, match=r"6 of 6 pictures are unfit for synthetic-part: .* of image"
    ):
        frames(package.find("synthetic-part"), tmp_path)


def test_what_is_loaded_is_what_was_saved(tmp_path):
    model = package.find("synthetic-part")
    shown = frames(model)
    save(tmp_path, shown)
    loaded = load(tmp_path, model.manifest.views)
    assert len(loaded) == len(shown.parts)
    for there, here in zip(loaded, shown.parts, strict=True):
        assert np.array_equal(there["image"], here["image"])
