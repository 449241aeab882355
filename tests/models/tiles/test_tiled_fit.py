"""Frames against a package's envelope: what makes no tile look like its pictures is unfit."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest

from edge.core.config import TileOptions
from models import native
from models.tiled_fit import TiledGauge
from sensors.synthetic import PartGenerator

FRAME = (608, 896)


def blurred(picture):
    return cv2.GaussianBlur(picture, (0, 0), 8)


def half_dark(picture):
    dark = picture.copy()
    dark[: len(dark) // 2] //= 16
    return dark


def belt(picture):
    generator = PartGenerator(20_001)
    tiles = [[generator.belt(r * 4 + c) for c in range(4)] for r in range(3)]
    return np.ascontiguousarray(np.block(tiles)[: FRAME[0], : FRAME[1]])


UNFIT = {
    "black": lambda picture: np.zeros_like(picture),
    "white": lambda picture: np.full_like(picture, 255),
    "uniform": lambda picture: np.full_like(picture, 90),
    "noise": lambda picture: np.random.default_rng(1).integers(0, 256, picture.shape, np.uint8),
    "blurred": blurred,
    "belt": belt,
}


@pytest.fixture(params=["compiled", "python"])
def gauge(request, synthetic):
    helper = native.helper if request.param == "compiled" else None
    if request.param == "compiled" and helper is None:
        pytest.skip("the compiled helper was not built")
    return lambda **changes: TiledGauge(
        synthetic.manifest, TileOptions(frame_px=FRAME, **changes), helper
    )


def test_trays_of_parts_are_fit(gauge, tray):
    one = gauge()
    for first in range(1, 40, 6):
        assert one.unfit({"image": tray(defects=0.3, first=first).frame}) == ""


@pytest.mark.parametrize("kind", UNFIT)
def test_frames_that_show_no_part_are_unfit(gauge, tray, kind):
    said = gauge().unfit({"image": UNFIT[kind](tray().frame)})
    assert "tiles are like the package's pictures" in said
    assert "out of range" in said


def test_the_station_says_how_much_of_a_frame_must_be_fit(gauge, tray):
    frame = half_dark(tray().frame)
    assert gauge(fit_share=0.3).unfit({"image": frame}) == ""
    assert "15 of 15 must be" in gauge().unfit({"image": frame})  # unless it says so: all of it


def test_shrunk_tiles_are_held_against_it_too(gauge, synthetic):
    frame = cv2.resize(
        np.tile(PartGenerator(20_001, defect_share=0.0).part(1).image, (2, 2)), (1024, 1024),
        interpolation=cv2.INTER_LINEAR,
    )  # fmt: skip
    one = TiledGauge(synthetic.manifest, TileOptions(frame_px=(1024, 1024), shrink=2))
    assert one.unfit({"image": frame}) == ""
    assert one.unfit({"image": frame // 16})


def test_a_package_without_an_envelope_admits_everything(synthetic):
    manifest = msgspec.structs.replace(
        synthetic.manifest, envelope=type(synthetic.manifest.envelope)()
    )
    gauge = TiledGauge(manifest, TileOptions(frame_px=FRAME))
    assert gauge.unfit({"image": np.zeros(FRAME, np.uint8)}) == ""
