"""Fits: where each source pixel lands, what is refused, and that the slot itself is written."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Fit, ViewSpec
from sensors.fit import UnfitError, fit_into, samples_into

Mode = Literal["exact", "pad", "crop", "resize"]
sides = st.integers(1, 40)


def view(height: int, width: int, mode: Mode, *, colour: bool = False, **options: Any) -> ViewSpec:
    shape = (height, width, 3) if colour else (height, width)
    return ViewSpec("image", "picture", "uint8", shape, Fit(mode, **options))


def slot(spec: ViewSpec) -> npt.NDArray[Any]:
    """A view in the middle of a larger buffer, so that a write outside it shows."""
    buffer = np.full(int(np.prod(spec.shape)) + 128, 77, np.uint8)
    return buffer[64:-64].reshape(spec.shape)


def picture(height: int, width: int, channels: int = 1) -> npt.NDArray[Any]:
    rng = np.random.default_rng([height, width, channels])
    shape = (height, width) if channels == 1 else (height, width, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


@given(height=sides, width=sides, view_height=sides, view_width=sides, fill=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_pad_keeps_every_pixel_in_the_centre(
    height: int, width: int, view_height: int, view_width: int, fill: int
) -> None:
    spec, given_picture = view(view_height, view_width, "pad", fill=fill), picture(height, width)
    out = slot(spec)
    if height > view_height or width > view_width:
        with pytest.raises(UnfitError, match=f"{width}x{height} px.*at most"):
            fit_into(given_picture, spec, out)
        return
    fit_into(given_picture, spec, out)
    top, left = (view_height - height) // 2, (view_width - width) // 2
    expected = np.full((view_height, view_width), fill, np.uint8)
    expected[top : top + height, left : left + width] = given_picture
    assert np.array_equal(out, expected)


@given(height=sides, width=sides, view_height=sides, view_width=sides)
@settings(max_examples=60, deadline=None)
def test_crop_takes_the_centre(height: int, width: int, view_height: int, view_width: int) -> None:
    spec, given_picture = view(view_height, view_width, "crop"), picture(height, width)
    out = slot(spec)
    if height < view_height or width < view_width:
        with pytest.raises(UnfitError, match="at least"):
            fit_into(given_picture, spec, out)
        return
    fit_into(given_picture, spec, out)
    top, left = (height - view_height) // 2, (width - view_width) // 2
    assert np.array_equal(out, given_picture[top : top + view_height, left : left + view_width])


@given(
    height=sides, width=sides, channels=st.sampled_from([1, 3, 4]), colour=st.booleans(),
    mode=st.sampled_from(["exact", "pad", "crop", "resize"]), level=st.integers(0, 255),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_flat_gray_scene_stays_flat_through_every_mode_and_channel_change(
    height: int, width: int, channels: int, colour: bool, mode: Mode, level: int
) -> None:
    spec = view(20, 24, mode, colour=colour, fill=level)
    shape = (height, width) if channels == 1 else (height, width, channels)
    out = slot(spec)
    try:
        fit_into(np.full(shape, level, np.uint8), spec, out)
    except UnfitError:
        assert mode != "resize"
        return
    assert (out == level).all()


def test_gray_from_bgr_weighs_the_colours() -> None:
    spec = view(2, 2, "exact")
    out = slot(spec)
    fit_into(np.full((2, 2, 3), (255, 0, 0), np.uint8), spec, out)
    assert (out == 29).all()  # 0.114 of blue


def test_nothing_is_written_outside_the_view() -> None:
    for mode, size in (
        ("exact", (16, 16)),
        ("pad", (9, 7)),
        ("crop", (31, 20)),
        ("resize", (5, 9)),
    ):
        spec = view(16, 16, mode)  # type: ignore[arg-type]
        buffer = np.full(16 * 16 + 128, 77, np.uint8)
        fit_into(picture(*size), spec, buffer[64:-64].reshape(16, 16))
        assert (buffer[:64] == 77).all()
        assert (buffer[-64:] == 77).all()


def test_resize_with_change_of_channels_keeps_its_scratch() -> None:
    spec, scratch = view(20, 30, "resize"), {}  # type: ignore[var-annotated]
    out = slot(spec)
    for _ in range(2):
        fit_into(picture(50, 60, 3), spec, out, scratch=scratch)
    assert [a.shape for a in scratch.values()] == [(20, 30, 3)]


@pytest.mark.parametrize(
    ("given_picture", "spec", "line"),
    [
        (picture(9, 8), view(8, 8, "exact"), "8x9 px, view image takes exactly 8x8"),
        (picture(8, 8), view(8, 8, "exact", sizes=((4, 6),)), "8x8 px, view image admits 6x4"),
        (picture(8, 8).astype(np.uint16), view(8, 8, "exact"), "uint16"),
        (np.empty((0, 8), np.uint8), view(8, 8, "resize"), "not 8-bit"),
        (picture(8, 8, 2), view(8, 8, "exact"), "2 channels for a view of 1"),
    ],
)
def test_refused_pictures(given_picture: npt.NDArray[Any], spec: ViewSpec, line: str) -> None:
    with pytest.raises(UnfitError, match=line):
        fit_into(given_picture, spec, slot(spec))


def test_samples() -> None:
    spec = ViewSpec("force", "samples", "float32", (5, 2))
    out, window = np.zeros((5, 2), np.float32), np.ones((5, 2), np.float32)
    samples_into(window, spec, out)
    assert (out == 1).all()
    bad = window.copy()
    bad[3, 1] = np.nan
    for samples, line in (
        (window.astype(np.float64), "float64"),
        (window[:4], r"\(4, 2\)"),
        (bad, "finite"),
    ):
        with pytest.raises(UnfitError, match=line):
            samples_into(samples, spec, out)
