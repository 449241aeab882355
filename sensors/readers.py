"""Reading rows of footage into slots: picture files, sample windows, and video frames.

Picture files are decoded by `cv2.imdecode`. The variant of `cv2.imread` that takes a
destination is not used: with a missing or damaged file it returns the destination as it was
(OpenCV 5.0), and a slot would go on with an older part's picture. It was also slower (261 us
against 179 us for a 300 px JPEG, read and written to the slot).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.core.pool import View
from edge.core.types import Fault, ViewSpec
from sensors.align import References, UnplacedError
from sensors.fit import Array, Scratch, UnfitError, fit_into, samples_into
from sensors.grabber import UnreadError


class FileReader:
    """Reads rows whose views are files. paths[row][i] belongs to views[i]; None is no file."""

    def __init__(
        self, views: tuple[ViewSpec, ...], paths: Sequence[tuple[Path | None, ...]]
    ) -> None:
        quiet_opencv()
        self._views, self._paths = views, paths
        self._scratch: Scratch = {}
        self._references = References(views)

    def fill(self, row: int, arrays: Mapping[str, View]) -> int:
        for spec, path in zip(self._views, self._paths[row], strict=True):
            if path is None:
                raise UnreadError(Fault.NO_IMAGE, f"no file for view {spec.name}")
            try:
                if spec.kind == "samples":
                    samples_into(read_samples(path), spec, arrays[spec.name])
                else:
                    picture = read_picture(path, gray=len(spec.shape) == 2)
                    fit_into(picture, spec, arrays[spec.name], scratch=self._scratch)
            except UnfitError as why:
                raise UnreadError(Fault.BAD_FRAME, f"{path}: {why}") from None
        try:
            return self._references.place(arrays)
        except UnplacedError as why:
            raise UnreadError(Fault.UNFIT_IMAGE, str(why)) from None

    def close(self) -> None:
        """Nothing is held open between rows."""


class VideoReader:
    """Reads the frames of a video in order; frames that nobody asked for are passed over."""

    def __init__(self, path: Path, view: ViewSpec) -> None:
        self._path, self._view = path, view
        self._capture = open_video(path)
        self._next = 0
        self._frame: Array | None = None
        self._scratch: Scratch = {}

    def fill(self, row: int, arrays: Mapping[str, View]) -> None:
        while self._next < row:
            self._capture.grab()
            self._next += 1
        self._next += 1
        there, self._frame = self._capture.read(self._frame)
        if not there:
            self._frame = None
            raise UnreadError(Fault.BAD_FRAME, f"{self._path}: frame {row} cannot be decoded")
        try:
            fit_into(self._frame, self._view, arrays[self._view.name], scratch=self._scratch)
        except UnfitError as why:
            raise UnreadError(Fault.BAD_FRAME, f"{self._path}: frame {row}: {why}") from None

    def close(self) -> None:
        self._capture.release()


def open_video(path: Path | str) -> cv2.VideoCapture:
    """A capture of a video file, maybe not opened; it decodes on one core, not on all of them."""
    quiet_opencv()
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def quiet_opencv() -> None:
    """Keep OpenCV and its FFmpeg off stderr: what matters becomes a Fault or an error."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; there is no call for it
    # Seconds that a read of a silent device may block, 10 by default; there is no call for it.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")


def read_picture(path: Path, *, gray: bool) -> Array:
    """A picture file as uint8 (H, W) gray or (H, W, 3) BGR; raises UnreadError."""
    data = np.frombuffer(_read_bytes(path), np.uint8)
    flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_BGR
    try:
        picture = cv2.imdecode(data, flag) if data.size else None
    except cv2.error:
        picture = None  # e.g. a header that promises more pixels than OpenCV takes
    if picture is None:
        raise UnreadError(Fault.BAD_FRAME, f"{path}: not a whole picture file")
    return picture


def read_samples(path: Path) -> Array:
    """A .npy file's array, nothing executable decoded; raises UnreadError."""
    try:
        samples = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UnreadError(Fault.NO_IMAGE, f"{path}: no such file") from None
    except (OSError, ValueError, EOFError):
        raise UnreadError(Fault.BAD_FRAME, f"{path}: not a whole .npy file") from None
    if not isinstance(samples, np.ndarray):
        raise UnreadError(Fault.BAD_FRAME, f"{path}: an archive, not a single array")
    return samples


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadError(Fault.NO_IMAGE, f"{path}: no such file") from None
    except OSError as why:
        raise UnreadError(Fault.NO_IMAGE, f"{path}: {why.strerror}") from None
