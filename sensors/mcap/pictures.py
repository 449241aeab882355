"""PictureReader: the views of recorded parts on their way into a camera's slots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from mcap.records import McapRecord, Message

from edge.core.footage import RecordedPart, SamplesMessage, topic_of, utc_ns
from edge.core.history import Session
from edge.core.pool import View
from edge.core.types import Fault, ViewSpec
from sensors.fit import Array, UnfitError, samples_into
from sensors.grabber import UnreadError
from sensors.mcap.contents import Places
from sensors.mcap.file import DAMAGED, chunk_at, opened, records_in, unpacked, why_damaged
from sensors.readers import quiet_opencv

# What the camera itself had to say about a part comes again when the part does.
_CAMERA_FAULTS = (Fault.NO_IMAGE, Fault.MISSED_TRIGGER, Fault.STALE_FRAME, Fault.BAD_FRAME)
_SAMPLES = msgspec.json.Decoder(SamplesMessage)


class PictureReader:
    """Reads the parts' views chunk by chunk; one chunk is in memory at a time."""

    def __init__(
        self, path: Path, session: Session, rows: Sequence[RecordedPart], places: Places
    ) -> None:
        """FootageError where the file cannot be opened any more."""
        quiet_opencv()
        self._path, self._session, self._rows, self._places = path, session, rows, places
        self._views = {view.name: view for view in session.views}
        self._stack = contextlib.ExitStack()
        self._source = self._stack.enter_context(opened(path))
        self._at: int | None = None  # the offset of the chunk at hand
        self._ahead: Iterator[McapRecord] = iter(())  # its records that were not looked at yet
        self._passed: dict[tuple[str, int], bytes] = {}

    def fill(self, row: int, arrays: Mapping[str, View]) -> None:
        """Write a part's views as they were recorded; UnreadError where they were not.

        A fault that the camera reported of the part is reported again.
        """
        part = self._rows[row]
        if not part.has_picture:
            raise _why_not(part)
        try:
            for name, array in arrays.items():
                self._fill(part, self._view(name, array), array)
        except UnfitError as why:
            raise self._broken(part, str(why)) from None
        except DAMAGED as why:
            raise self._broken(part, why_damaged(why)) from None

    def close(self) -> None:
        self._stack.close()

    def _view(self, name: str, array: View) -> ViewSpec:
        view = self._views.get(name)
        if view is None or array.shape != view.shape or array.dtype != view.dtype:
            raise UnfitError(f"no view {name} of {array.dtype} {array.shape} was recorded")
        return view

    def _fill(self, part: RecordedPart, view: ViewSpec, array: View) -> None:
        topic, number = topic_of(view), part.record.part
        at_utc_ns = utc_ns(self._session, part.opened.deadline.trigger_ns)
        offsets = self._places.chunks.get(topic, {}).get(at_utc_ns)
        if offsets is None:
            raise UnfitError(f"view {view.name} is not there")
        wanted = (topic, number & 0xFFFF_FFFF)
        found = (self._message(offset, wanted) for offset in offsets)
        data = next((data for data in found if data is not None), None)
        if data is None:
            raise UnfitError(f"view {view.name} is not where the index says")
        if view.kind == "samples":
            values = [channel.values for channel in _SAMPLES.decode(data).channels]
            samples_into(np.array(values, np.float32).T.reshape(view.shape), view, array)
        elif self._places.schemas[topic] == "foxglove.RawImage":
            np.copyto(array, _raw(data, view))
        else:
            np.copyto(array, _jpeg(data, view))

    def _message(self, offset: int, wanted: tuple[str, int]) -> bytes | None:
        """A message of a chunk, by topic and number; None where the chunk has no such one."""
        if offset == self._at and (data := self._next(wanted)):
            return data
        self._turn_to(offset)  # another chunk, or this one from its start: rows do rise
        return self._next(wanted)

    def _turn_to(self, offset: int) -> None:
        self._at, self._ahead = None, iter(())  # the old chunk goes before the new one comes
        self._passed.clear()
        self._ahead = records_in(unpacked(chunk_at(self._source, offset)))
        self._at = offset

    def _next(self, wanted: tuple[str, int]) -> bytes | None:
        """Go on through the chunk, keeping the views that are passed, until the wanted one."""
        while wanted not in self._passed:
            record = next(self._ahead, None)
            if record is None:
                return None
            if isinstance(record, Message) and record.channel_id in self._places.topics:
                key = self._places.topics[record.channel_id], record.sequence
                self._passed[key] = record.data
        return self._passed.pop(wanted)

    def _broken(self, part: RecordedPart, why: str) -> UnreadError:
        return UnreadError(Fault.BAD_FRAME, f"{self._path}: part {part.record.part}: {why}")


def _why_not(part: RecordedPart) -> UnreadError:
    decision = part.record.decision
    if part.picture == "lost":
        return UnreadError(Fault.NO_IMAGE, "the picture was lost when it was to be recorded")
    # An engine's UNFIT_IMAGE follows a frame; the camera's own comes instead of one.
    unplaced = decision.fault is Fault.UNFIT_IMAGE and not part.record.frame_ns
    if decision.fault is not None and (unplaced or decision.fault in _CAMERA_FAULTS):
        return UnreadError(decision.fault, decision.detail or f"recorded as {decision.fault}")
    return UnreadError(Fault.NO_IMAGE, "the picture was not recorded")


def _raw(data: bytes, view: ViewSpec) -> Array:
    image = RawImage.FromString(data)
    height, width, channels = (*view.shape, 1)[:3]
    encoding, step = "mono8" if channels == 1 else "bgr8", width * channels
    told = (image.height, image.width, image.encoding, image.step)
    pixels = np.frombuffer(image.data, np.uint8)
    if told != (height, width, encoding, step) or pixels.size != height * step:
        raise UnfitError(
            f"a picture of {told[1]}x{told[0]} {told[2][:20]}, not of view {view.name}"
        )
    return pixels.reshape(view.shape)


def _jpeg(data: bytes, view: ViewSpec) -> Array:
    image = CompressedImage.FromString(data)
    # The size is looked at first: OpenCV would make room for whatever the header claims.
    if image.format != "jpeg" or _jpeg_size(image.data) != view.shape[:2]:
        raise UnfitError(f"no JPEG of the size of view {view.name}")
    gray = len(view.shape) == 2
    flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_BGR
    try:
        picture = cv2.imdecode(np.frombuffer(image.data, np.uint8), flag)
    except cv2.error:
        picture = None
    if picture is None or picture.shape != view.shape:
        raise UnfitError(f"no whole JPEG of view {view.name}")
    return picture


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) from a JPEG's frame header (ITU T.81, B.2.2); None without one."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in (0xC0, 0xC1, 0xC2):
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        at += 2 + length
    return None
