"""The live OpenCV camera, on video files paced as live and on scripted captures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.core.clock import SystemClock
from edge.core.errors import CameraError
from edge.core.pool import FramePool
from edge.core.types import Fault, Frame, NoFrame, Trigger, ViewSpec
from sensors import opencv
from sensors.opencv import OpenCvCamera


def write_video(path: Path, levels: list[int], fps: float = 100.0) -> str:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 64))
    for level in levels:
        writer.write(np.full((64, 64, 3), level, np.uint8))
    writer.release()
    return str(path)


Event = Trigger | Frame | NoFrame
Take, Release = Callable[..., Event], Callable[[FramePool, Event], Event]
Events = Callable[..., list[Event]]
VIEW = ViewSpec("image", "picture", "uint8", (64, 64))


class Capture:
    """A scripted cv2.VideoCapture: levels of frames; None is a failed grab."""

    def __init__(self, script: list[int | None]) -> None:
        self.script, self.level, self.released = script, 0, False

    def grab(self) -> bool:
        time.sleep(0.001)
        level = self.script.pop(0) if self.script else None
        self.level = level or 0
        return level is not None

    def retrieve(self, frame: Any) -> tuple[bool, Any]:
        return True, np.full((64, 64, 3), self.level, np.uint8)

    def release(self) -> None:
        self.released = True


def scripted(monkeypatch: pytest.MonkeyPatch, *captures: Capture) -> None:
    waiting = list(captures)

    def open_next(source: int | str) -> Capture:
        if not waiting:
            raise CameraError("nothing there")
        return waiting.pop(0)

    monkeypatch.setattr(opencv, "_open", open_next)
    monkeypatch.setattr(opencv, "FIRST_PAUSE_NS", 1_000_000)


@pytest.fixture
def events(pool: FramePool, next_event: Take, released: Release) -> Callable[..., list[Event]]:
    """The next events of a camera, their slots given back."""
    return lambda camera, count: [released(pool, next_event(camera, 0)) for _ in range(count)]


@pytest.fixture
def drain(pool: FramePool, released: Release) -> Callable[[OpenCvCamera], list[Event]]:
    """Everything until the camera is exhausted."""

    def take_all(camera: OpenCvCamera) -> list[Event]:
        taken: list[Event] = []
        clock, give_up_ns = SystemClock(), SystemClock().now_ns() + 10_000_000_000
        while not camera.exhausted:
            assert clock.now_ns() < give_up_ns
            clock.wait((camera.fileno(),), clock.now_ns() + 200_000_000)
            while event := camera.poll(clock.now_ns(), 0):
                taken.append(released(pool, event))
        return taken

    return take_all


def test_a_file_plays_at_its_own_rate_and_ends(
    pool: FramePool, tmp_path: Path, drain: Events
) -> None:
    levels = list(range(20, 220, 10))
    began = time.monotonic()
    camera = OpenCvCamera(write_video(tmp_path / "a.avi", levels), pool, SystemClock())
    camera.start(0)
    taken = drain(camera)
    assert 0.15 < time.monotonic() - began < 1.5  # 20 frames at 100 a second
    triggers = [e for e in taken if isinstance(e, Trigger)]
    frames = [e for e in taken if isinstance(e, Frame)]
    assert [t.part for t in triggers] == [f.part for f in frames] == list(range(1, 21))
    spacing = np.diff([t.trigger_ns for t in triggers])
    assert np.median(spacing) == pytest.approx(10e6, rel=0.2)
    assert all(f.ready_ns > t.trigger_ns for f, t in zip(frames, triggers, strict=True))
    assert (camera.triggers, camera.missed, camera.due_ns(0)) == (20, 0, None)
    camera.close()


def test_frames_reach_the_slot(
    pool: FramePool, tmp_path: Path, next_event: Take, released: Release
) -> None:
    camera = OpenCvCamera(write_video(tmp_path / "a.avi", [50, 200]), pool, SystemClock())
    camera.start(0)
    for level in (50, 200):
        assert isinstance(next_event(camera, 0), Trigger)
        frame = next_event(camera, 0)
        assert isinstance(frame, Frame)
        assert pool.arrays(frame.slot)["image"].mean() == pytest.approx(level, abs=3)
        released(pool, frame)
    camera.close()


def test_a_frozen_picture_is_stale(
    pool: FramePool, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    scripted(monkeypatch, Capture([5, 6, 6, 6, 6, 6, 7]))
    camera = OpenCvCamera(0, pool, SystemClock(), stale_after=3)
    camera.start(0)
    outcomes = events(camera, 14)[1::2]
    assert [type(o) for o in outcomes] == [Frame, Frame, Frame, Frame, NoFrame, NoFrame, Frame]
    assert outcomes[4] == NoFrame(5, Fault.STALE_FRAME, "the same picture 4 times in a row")
    camera.close()


def test_a_lost_camera_is_reported_and_opened_again(
    pool: FramePool, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    told: list[tuple[str, int, str]] = []
    first, second = Capture([1, 2, None]), Capture([3, 4])
    scripted(monkeypatch, first, second)
    camera = OpenCvCamera(
        "rtsp://line/1", pool, SystemClock(), tell=lambda *line: told.append(line)
    )
    camera.start(0)
    taken = events(camera, 8)
    assert [e.number for e in taken if isinstance(e, Trigger)] == [1, 2, 3, 4]
    assert not camera.exhausted, "it keeps trying"
    assert first.released
    assert [kind for kind, _, _ in told[:2]] == ["camera_lost", "camera_back"]
    assert "rtsp://line/1: no frame; next try in" in told[0][2]
    began = time.monotonic()
    camera.close()
    assert time.monotonic() - began < 0.5, "close does not wait for a pause to end"


def test_a_full_pool_is_a_missed_trigger(
    pool: FramePool, monkeypatch: pytest.MonkeyPatch, next_event: Take, released: Release
) -> None:
    scripted(monkeypatch, Capture(list(range(10))[1:]))
    camera = OpenCvCamera(0, pool, SystemClock())
    camera.start(0)
    taken = [next_event(camera, 0) for _ in range(18)]
    assert [type(e) for e in taken[1::2]] == [Frame] * 8 + [NoFrame]
    assert taken[-1] == NoFrame(9, Fault.MISSED_TRIGGER, "all 8 slots of the pool are held")
    assert (camera.missed, camera.triggers) == (1, 9)
    for event in taken:
        released(pool, event)
    camera.close()


def test_rate_hz_thins_a_live_camera(
    pool: FramePool, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    capture = Capture(list(range(1, 200)))
    scripted(monkeypatch, capture)
    camera = OpenCvCamera(0, pool, SystemClock(), rate_hz=50.0)
    camera.start(0)
    triggers = [e for e in events(camera, 8) if isinstance(e, Trigger)]
    spacing = np.diff([t.trigger_ns for t in triggers])
    assert (spacing > 15e6).all()
    camera.close()


def test_stop_ends_the_camera_and_close_leaks_nothing(
    pool: FramePool, monkeypatch: pytest.MonkeyPatch, events: Events, drain: Events
) -> None:
    capture = Capture(list(range(1, 200)))
    scripted(monkeypatch, capture)
    camera = OpenCvCamera(0, pool, SystemClock())
    camera.start(0)
    events(camera, 2)
    camera.stop()
    drain(camera)
    assert capture.released
    camera.close()

    scripted(monkeypatch, Capture(list(range(1, 200))))
    camera = OpenCvCamera(0, pool, SystemClock())
    camera.start(0)
    time.sleep(0.02)  # frames that nobody takes
    camera.close()
    assert pool.free == pool.slots


@pytest.mark.parametrize("source", ["/nowhere/a.mp4", 93])
def test_what_cannot_be_opened(
    pool: FramePool, source: int | str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CameraError, match=f"^camera.device {source}: no camera, stream or video"):
        OpenCvCamera(source, pool, SystemClock())
    assert capfd.readouterr() == ("", "")


def test_a_live_camera_feeds_one_picture() -> None:
    pool = FramePool.create((VIEW, ViewSpec("golden", "reference", "uint8", (8, 8))), 1)
    with pytest.raises(CameraError, match=r"the package wants image .picture., golden .reference."):
        OpenCvCamera(0, pool, SystemClock())
    pool.close()
