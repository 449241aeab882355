"""Synthetic parts through a camera and through a folder: the same pictures, the same labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.core.pool import FramePool
from edge.core.types import Fault, Fit, Frame, NoFrame, Trigger, ViewSpec
from edge.testing import ManualClock
from sensors.footage import open_footage
from sensors.scheduled import ScheduledCamera
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import SyntheticRows, write_footage

SPACING_NS = 100_000_000
Event = Trigger | Frame | NoFrame
Take, Release = Callable[..., Event], Callable[[FramePool, Event], Event]


def synthetic_camera(generator, pool, clock, *, rate_hz=20.0, parts=None):
    rows = SyntheticRows(generator, pool.views, rate_hz=rate_hz, parts=parts)
    return ScheduledCamera(rows, pool, clock)


GENERATOR = PartGenerator(5, size_px=64)


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_part_n_shows_the_generator_s_part_n(
    pool: FramePool, next_event: Take, released: Release
) -> None:
    camera = synthetic_camera(GENERATOR, pool, ManualClock(), rate_hz=10.0, parts=5)
    for part in range(1, 6):
        now_ns = (part - 1) * SPACING_NS
        assert next_event(camera, now_ns) == Trigger(part, part, now_ns)
        frame = next_event(camera, now_ns, open_parts=1)
        assert isinstance(frame, Frame)
        assert np.array_equal(pool.arrays(frame.slot)["image"], GENERATOR.part(part).image)
        assert camera.label(part) == GENERATOR.label(part)
        released(pool, frame)
    assert camera.exhausted
    camera.close()


def test_without_an_end_it_runs_until_stopped(pool: FramePool) -> None:
    camera = synthetic_camera(GENERATOR, pool, ManualClock())
    assert not camera.exhausted
    camera.stop()
    assert camera.exhausted
    camera.close()


def test_reference_and_samples_views(next_event: Take, released: Release) -> None:
    views = (
        ViewSpec("image", "picture", "uint8", (64, 64, 3)),
        ViewSpec("golden", "reference", "uint8", (64, 64)),
        ViewSpec("force", "samples", "float32", (4, 1)),
    )
    pool = FramePool.create(views, 4)
    generator = PartGenerator(5, size_px=64, defect_share=1.0)
    camera = synthetic_camera(generator, pool, ManualClock(), parts=1)
    assert isinstance(next_event(camera, 0), Trigger)
    frame = next_event(camera, 0, open_parts=1)
    assert isinstance(frame, Frame)
    arrays = pool.arrays(frame.slot)
    assert np.array_equal(arrays["image"][:, :, 1], generator.part(1).image)
    assert np.array_equal(arrays["golden"], generator.twin(1).image)
    assert not arrays["force"].any()
    released(pool, frame)
    camera.close()
    pool.close()


def test_a_view_that_does_not_fit_is_a_bad_frame(next_event: Take) -> None:
    pool = FramePool.create((ViewSpec("image", "picture", "uint8", (32, 32), Fit("pad")),), 2)
    camera = synthetic_camera(GENERATOR, pool, ManualClock(), parts=1)
    assert isinstance(next_event(camera, 0), Trigger)
    event = next_event(camera, 0, open_parts=1)
    assert isinstance(event, NoFrame)
    assert (event.fault, pool.free) == (Fault.BAD_FRAME, 2)
    assert "64x64 px, view image takes at most 32x32" in event.detail
    camera.close()
    pool.close()


def test_rates() -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        synthetic_camera(GENERATOR, FramePool.create((), 1), ManualClock(), rate_hz=0.0)


def test_a_written_folder_replays_as_the_generator(
    pool: FramePool, tmp_path: Path, next_event: Take, released: Release
) -> None:
    folder = write_footage(GENERATOR, tmp_path / "set", 8, rate_hz=10.0)
    footage = open_footage(folder / "footage.csv", views=pool.views)
    assert [footage.label(part) for part in range(1, 9)] == [
        GENERATOR.label(part) for part in range(1, 9)
    ]
    camera = ScheduledCamera(footage, pool, ManualClock(), at_most=1)
    for part in range(1, 9):
        now_ns = (part - 1) * SPACING_NS
        assert next_event(camera, now_ns) == Trigger(part, part, now_ns)
        frame = next_event(camera, now_ns, open_parts=1)
        assert isinstance(frame, Frame)
        assert np.array_equal(pool.arrays(frame.slot)["image"], GENERATOR.part(part).image)
        released(pool, frame)
    camera.close()


def test_a_written_manifest_has_the_columns_of_the_real_sets(tmp_path: Path, data: Path) -> None:
    folder = write_footage(GENERATOR, tmp_path, 6)
    for name in ("manifest.csv", "footage.csv"):
        assert set(table(folder / name)[0]) == set(table(data / "deeppcb" / name)[0])
    rows = table(folder / "manifest.csv")
    for index, row in enumerate(rows, start=1):
        part = GENERATOR.part(index)
        assert (row["label"], row["defect_type"]) == (part.label, part.defect_type)
        reference = cv2.imread(str(folder / row["reference_path"]), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(reference, GENERATOR.twin(index).image)
        if part.label == "defect":
            mask = cv2.imread(str(folder / row["mask_path"]), cv2.IMREAD_GRAYSCALE)
            assert np.array_equal(mask, part.mask)


def test_a_file_broken_in_the_middle_of_the_footage(
    pool: FramePool, tmp_path: Path, next_event: Take, released: Release
) -> None:
    folder = write_footage(GENERATOR, tmp_path, 6)
    footage = open_footage(folder, views=pool.views)
    torn, gone = footage.rows[2].paths[0], footage.rows[3].paths[0]
    assert torn is not None
    assert gone is not None
    torn.write_bytes(torn.read_bytes()[:-100])
    gone.unlink()
    camera = ScheduledCamera(footage, pool, ManualClock(), at_most=1)
    outcomes = []
    for part in range(1, 7):
        now_ns = (part - 1) * SPACING_NS
        assert isinstance(next_event(camera, now_ns), Trigger)
        outcomes.append(released(pool, next_event(camera, now_ns, open_parts=1)))
    assert [o.part for o in outcomes] == [1, 2, 3, 4, 5, 6]
    assert [o.fault for o in outcomes if isinstance(o, NoFrame)] == [
        *(Fault.BAD_FRAME, Fault.NO_IMAGE),
    ]
    assert outcomes[3] == NoFrame(4, Fault.NO_IMAGE, f"{gone}: no such file")
    camera.close()
