"""Foxglove's own messages, made of a part's pictures, its decision and a station's events.

Every function gives a message's bytes; `at_ns` is in UTC.
"""

from __future__ import annotations

from typing import Any

import cv2
from foxglove_schemas_protobuf.Color_pb2 import Color
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.Log_pb2 import Log
from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.descriptor_pb2 import FileDescriptorSet  # type: ignore[import-untyped]

from edge.core.pool import View
from edge.core.regions import label, sized
from edge.core.types import Action, Decision, Fault

_COLOURS = {
    Action.ACCEPT: Color(r=0.1, g=0.8, b=0.2, a=1.0),
    Action.REJECT: Color(r=0.9, g=0.1, b=0.1, a=1.0),
    Action.REWORK: Color(r=1.0, g=0.5, b=0.0, a=1.0),
    Action.HOLD: Color(r=1.0, g=0.8, b=0.0, a=1.0),
}
_FAULTS = frozenset(Fault)
_FONT_PX = 14.0


def raw_image(name: str, picture: View, at_ns: int) -> bytes:
    """A uint8 picture, (H, W) gray or (H, W, 3) BGR, byte by byte."""
    height, width, channels = (*picture.shape, 1)[:3]
    image = RawImage(
        frame_id=name,
        width=width,
        height=height,
        encoding="mono8" if channels == 1 else "bgr8",
        step=width * channels,
        data=picture.tobytes(),
    )
    image.timestamp.FromNanoseconds(at_ns)
    return bytes(image.SerializeToString())


def jpeg_image(name: str, picture: View, at_ns: int, *, quality: int) -> bytes:
    """A uint8 picture, gray or BGR, as a JPEG of quality 1 to 100."""
    _, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))
    image = CompressedImage(frame_id=name, data=data.tobytes(), format="jpeg")
    image.timestamp.FromNanoseconds(at_ns)
    return bytes(image.SerializeToString())


def drawing(decision: Decision, at_ns: int, mm_per_px: float = 0.0) -> bytes:
    """The decision in words, and each region's outline, to be drawn on the first picture.

    A region is labelled with its type and area; mm_per_px is the station's scale, 0 without one.
    """
    colour = _COLOURS[decision.action]
    drawn = ImageAnnotations()
    drawn.timestamp.FromNanoseconds(at_ns)
    text = drawn.texts.add(text=_words(decision), font_size=_FONT_PX, text_color=colour)
    text.position.x, text.position.y = 0.0, _FONT_PX
    for region in sized(decision.regions, mm_per_px):
        outline = drawn.points.add(
            type=PointsAnnotation.LINE_LOOP, thickness=2.0, outline_color=colour
        )
        right, bottom = region.x + region.width, region.y + region.height
        corners = ((region.x, region.y), (right, region.y), (right, bottom), (region.x, bottom))
        for x, y in corners:
            outline.points.add(x=x, y=y)
        said = drawn.texts.add(text=label(region), font_size=_FONT_PX, text_color=colour)
        said.position.x, said.position.y = region.x, region.y
    return bytes(drawn.SerializeToString())


def _words(decision: Decision) -> str:
    why = decision.verdict or decision.fault or decision.cause
    score = "" if decision.score is None else f" {decision.score:.3f}"
    return f"part {decision.part} {why}{score}: {decision.action}"


def log(kind: str, text: str, at_ns: int) -> bytes:
    """An event as a line of a log; those named for a fault are warnings."""
    line = Log(level=Log.WARNING if kind in _FAULTS else Log.INFO, name=kind, message=text)
    line.timestamp.FromNanoseconds(at_ns)
    return bytes(line.SerializeToString())


def described(kind: Any) -> bytes:
    """A message type with everything that it refers to, as MCAP asks for: a FileDescriptorSet."""
    files: dict[str, Any] = {}

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        files.setdefault(file.name, file)

    add(kind.DESCRIPTOR.file)
    whole = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(whole.file.add())
    return bytes(whole.SerializeToString())
