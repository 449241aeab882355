"""OpenCvCamera: a live source through OpenCV: a device, a stream address, or a file as if live.

Every frame is a part, unless `rate_hz` thins them out; the trigger is the instant at which the
frame was grabbed. What OpenCV cannot give: hardware triggers, exposure instants, frame ids.
Their lack is met as far as it can be: a stream that stops is reopened with growing pauses
and reported, and one that repeats itself is refused as stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import assert_never

import cv2

from edge.core.errors import CameraError
from edge.core.pool import FramePool, View
from edge.core.ports import Clock
from edge.core.types import Fault, Frame, NoFrame, Trigger, ViewSpec
from sensors.fit import Array, Scratch, UnfitError, fit_into
from sensors.grabber import Failed, Filled, Grabber, Note, UnreadError
from sensors.readers import open_video, quiet_opencv
from sensors.repeats import Repeats

NS_PER_S = 1_000_000_000
OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 2000  # FFmpeg's own limit of 30 s would hide a dead stream
FIRST_PAUSE_NS, LONGEST_PAUSE_NS = NS_PER_S // 10, 5 * NS_PER_S

Tell = Callable[[str, int, str], None]  # Recorder.event: kind, part, detail


class OpenCvCamera:
    """A live `Camera`: it has no schedule, and counts the frames that came."""

    def __init__(
        self,
        source: int | str,
        pool: FramePool,
        clock: Clock,
        *,
        rate_hz: float | None = None,
        stale_after: int = 1,
        tell: Tell | None = None,
    ) -> None:
        """Open a device number, an address (rtsp://, http://) or a file; raises CameraError.

        rate_hz: parts a second at most; frames between them are no parts. A file plays at
        its own rate where none is given, and ends. stale_after: from the n-th identical
        repetition on, a frame is STALE_FRAME; 0 trusts every frame (a synthetic or lossless
        still picture never changes, a sensor's noise always does). tell: `Recorder.event`,
        called from `poll`.
        """
        pictures = [view for view in pool.views if view.kind == "picture"]
        if len(pool.views) != 1 or len(pictures) != 1:
            names = ", ".join(f"{view.name} ({view.kind})" for view in pool.views)
            raise CameraError(f"a live camera feeds one picture; the package wants {names}")
        self._source, self._pool, self._clock = source, pool, clock
        self._live_file = isinstance(source, str) and "://" not in source
        self._capture = capture = _open(source)
        self._period_ns = round(NS_PER_S / rate_hz) if rate_hz else 0
        if self._live_file and not rate_hz:
            fps = capture.get(cv2.CAP_PROP_FPS)
            self._period_ns = round(NS_PER_S / (fps if 0.0 < fps <= 1000.0 else 20.0))
        self._tell = tell
        self._triggers = 0
        self._ended = False
        self._retriever = _Retriever(pictures[0], stale_after)
        self._grabber = Grabber(pool, clock, "edge-camera")

    def start(self, now_ns: int) -> None:
        """Let the grabber thread take frames from now on."""
        self._grabber.start(partial(self._work, self._capture))

    # ---- in the grabber's thread ----

    def _work(self, capture: cv2.VideoCapture) -> None:
        number, due_ns, pause_ns = 0, 0, FIRST_PAUSE_NS
        try:
            while not self._grabber.stopping:
                if self._live_file and not self._rest(due_ns):
                    return
                if not capture.grab():
                    if self._live_file:
                        return
                    capture = self._reopened(capture, pause_ns)
                    pause_ns = min(2 * pause_ns, LONGEST_PAUSE_NS)
                    continue
                if self._grabber.stopping:
                    return
                pause_ns = FIRST_PAUSE_NS
                now_ns = self._clock.now_ns()
                if now_ns < due_ns and not self._live_file:
                    continue  # a frame between two parts
                late = now_ns - due_ns > self._period_ns
                due_ns = (now_ns if late else due_ns) + self._period_ns
                number += 1
                self._grabber.post(Trigger(number, number, now_ns))
                self._grabber.ring()  # the part is there: its deadline runs from now on
                self._grabber.fill(number, partial(self._retriever.fill, capture))
                self._grabber.ring()
        finally:
            capture.release()

    def _rest(self, until_ns: int) -> bool:
        """Wait for an instant; False when close came first."""
        if self._clock.now_ns() < until_ns:
            self._clock.wait((self._grabber.errand_fd,), until_ns, busy=False)
        return not self._grabber.stopping

    def _reopened(self, capture: cv2.VideoCapture, pause_ns: int) -> cv2.VideoCapture:
        """The source opened again after a pause, or the old capture for the next try."""
        self._say("camera_lost", f"{self._source}: no frame; next try in {pause_ns / 1e9:.1f} s")
        if not self._rest(self._clock.now_ns() + pause_ns):
            return capture
        capture.release()
        try:
            again = _open(self._source)
        except CameraError:
            return capture
        self._say("camera_back", f"{self._source}: opened again")
        return again

    def _say(self, kind: str, detail: str) -> None:
        self._grabber.post(Note(kind, detail))
        self._grabber.ring()

    # ---- in the loop's thread ----

    @property
    def triggers(self) -> int:
        return self._triggers

    @property
    def missed(self) -> int:
        """Parts that came while every slot was held."""
        return self._grabber.missed

    @property
    def exhausted(self) -> bool:
        """True when a file is over or the thread is gone, and every event was taken."""
        return self._grabber.done and self._grabber.head() is None

    def fileno(self) -> int:
        return self._grabber.fileno()

    def due_ns(self, open_parts: int) -> int | None:
        return None

    def poll(self, now_ns: int, open_parts: int) -> Trigger | Frame | NoFrame | None:
        self._grabber.quiet()
        while self._grabber.head() is not None:
            event = self._grabber.take()
            match event:
                case Trigger():
                    self._triggers += 1
                    return event
                case Filled():
                    return Frame(event.part, event.slot, event.generation, event.finished_ns)
                case Failed():
                    return NoFrame(event.part, event.fault, event.detail)
                case Note():
                    if self._tell is not None:
                        self._tell(event.kind, event.part, event.detail)
                case _:
                    assert_never(event)
        if self._grabber.crashed and self._tell is not None:
            self._tell("camera_stopped", 0, self._grabber.crashed)
            self._tell = None
        return None

    def stop(self) -> None:
        """Take no further frame; `exhausted` follows once the device let go of its last read."""
        self._grabber.dismiss()

    def close(self) -> None:
        """Stop the thread, let the device go, release the slots that nobody took."""
        self._grabber.close()


class _Retriever:
    """Takes grabbed frames out of a capture and refuses those that repeat themselves."""

    def __init__(self, view: ViewSpec, stale_after: int) -> None:
        self._view, self._repeats = view, Repeats(stale_after)
        self._frame: Array | None = None
        self._scratch: Scratch = {}

    def fill(self, capture: cv2.VideoCapture, arrays: Mapping[str, View]) -> None:
        there, frame = capture.retrieve(self._frame)
        if not there:
            self._frame = None
            raise UnreadError(Fault.BAD_FRAME, "the grabbed frame cannot be decoded")
        self._frame = frame
        self._repeats.refuse(frame)
        try:
            fit_into(frame, self._view, arrays[self._view.name], scratch=self._scratch)
        except UnfitError as why:
            raise UnreadError(Fault.BAD_FRAME, str(why)) from None


def _open(source: int | str) -> cv2.VideoCapture:
    """An opened capture; raises CameraError with one line."""
    quiet_opencv()
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an older frame than the newest is of no use
    elif "://" in source:
        limits = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS),
        ]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    else:
        capture = open_video(source)
    if not capture.isOpened():
        capture.release()
        raise CameraError(
            f"camera.device {source}: no camera, stream or video file that OpenCV can open"
        )
    return capture
