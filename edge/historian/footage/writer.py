"""FootageWriter: parts on their way into an MCAP file that Foxglove opens as it is.

The file grows chunk by chunk, first the pictures of a few parts, then what became of them, so that
a file whose writer was killed has every part up to its last whole chunk, and a reader finds the
records without unpacking a picture. edge/core/footage.py has the form of the messages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zlib import crc32

import msgspec
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.Log_pb2 import Log
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import CompressionType, Writer

from edge.core.footage import (
    ANNOTATIONS,
    EVENT,
    FORMAT,
    JSON_TOPICS,
    MOST_CHUNK_BYTES,
    SAMPLES_SCHEMA,
    SESSION,
    Channel,
    SamplesMessage,
    messages_of,
    schema_of,
    topic_of,
    utc_ns,
)
from edge.core.history import Closed, Opened, Picture, Session
from edge.core.pool import View
from edge.core.types import PartRecord, ViewSpec
from edge.historian.footage import foxglove

# The library packs with zstd at its level 3 or with LZ4, and lets nobody choose a level. A part of
# two 512 x 512 DeepPCB pictures on one core: zstd writes it in 3.3 ms at 2.2 : 1 and reads it in
# 0.6 ms, LZ4 writes it in 2.1 ms at 1.5 : 1 and reads it in 0.8 ms. Pictures of castings and tiles:
# 190 to 300 MB/s against 650 to 2400, into files a fifth smaller. At 20 parts/s zstd takes 2 % more
# of a core; LZ4 is for lines much faster than that.
_COMPRESSION = {"lz4": CompressionType.LZ4, "zstd": CompressionType.ZSTD}
_NEVER = 1 << 62  # bytes after which the library would end a chunk of its own accord
_encode = msgspec.json.Encoder().encode


class _Line(NamedTuple):
    """A message that waits for the pictures of its chunk."""

    topic: str
    part: int
    at_ns: int
    data: bytes


class FootageWriter:
    """Writes one file of one session, never over another; for one thread at a time.

    OSError where the disk refuses: the file then ends with its last whole chunk, and takes nothing
    more; `abandon` or `close` lets go of it. FileExistsError where there is such a file.
    """

    def __init__(
        self,
        path: Path,
        session: Session,
        *,
        codec: Literal["raw", "jpeg"] = "raw",
        quality: int = 90,
        chunk_bytes: int = 1 << 20,
        compression: Literal["zstd", "lz4"] = "zstd",
    ) -> None:
        """codec: raw keeps a picture exactly; jpeg (quality 1 to 100) does not, and the file says
        so. chunk_bytes: of messages, before compression, after which a chunk ends; a part is never
        spread over two chunks of pictures.
        """
        if not 1 <= quality <= 100 or chunk_bytes < 1:
            raise ValueError(f"quality {quality}: 1 to 100; chunk_bytes {chunk_bytes}: 1 or more")
        part_bytes = sum(prod(v.shape) * (4 if v.kind == "samples" else 1) for v in session.views)
        if chunk_bytes + part_bytes > MOST_CHUNK_BYTES:
            raise ValueError(
                f"chunks of more than {MOST_CHUNK_BYTES} bytes would not be read again"
            )
        self._session, self._codec, self._quality = session, codec, quality
        self._chunk_bytes = chunk_bytes
        self._channels: dict[str, int] = {}
        self._lines: list[_Line] = []
        self._waiting_bytes = 0
        self._failed = False
        self._output = _Output(path)
        # Any: the library's methods have no types. All that it calls is write, tell and flush.
        output: Any = self._output
        self._mcap: Any = Writer(output, chunk_size=_NEVER, compression=_COMPRESSION[compression])
        try:
            self._begin()
        except OSError:
            self.abandon()
            raise

    def _begin(self) -> None:
        self._mcap.start(library="edge-inspection")
        exact = "yes" if self._codec == "raw" else "no"
        session = _encode(self._session)
        told = {"format": FORMAT, "exact": exact, "session": session.decode()}
        # The format has no CRC over this record.
        self._mcap.add_metadata(SESSION, told | {"crc32": f"{crc32(session):08x}"})
        picture = RawImage if self._codec == "raw" else CompressedImage
        for view in self._session.views:
            if view.kind == "samples":
                self._json(topic_of(view), SAMPLES_SCHEMA, SamplesMessage)
            else:
                self._protobuf(topic_of(view), picture)
        for topic, (name, message) in JSON_TOPICS.items():
            self._json(topic, name, message)
        self._protobuf(ANNOTATIONS, ImageAnnotations)
        self._protobuf(EVENT, Log)

    def _json(self, topic: str, name: str, message: type[msgspec.Struct]) -> None:
        schema = self._mcap.register_schema(name, SchemaEncoding.JSONSchema, schema_of(message))
        self._channels[topic] = self._mcap.register_channel(topic, MessageEncoding.JSON, schema)

    def _protobuf(self, topic: str, kind: Any) -> None:
        name, data = kind.DESCRIPTOR.full_name, foxglove.described(kind)
        schema = self._mcap.register_schema(name, SchemaEncoding.Protobuf, data)
        self._channels[topic] = self._mcap.register_channel(topic, MessageEncoding.Protobuf, schema)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._output.tell()

    def part(self, opened: Opened, closed: Closed, views: Mapping[str, View] | None) -> None:
        """A finished part. views: copied here; None where its picture is not to be had."""
        record, deadline = closed.record, closed.record.deadline
        picture: Picture = "lost" if closed.picture == "kept" else closed.picture
        if views is not None:
            picture = "kept"
            for view in self._session.views:
                self._view(view, views[view.name], record)
        decided_ns = record.decided_ns or deadline.trigger_ns
        sent_ns = record.sent_ns or decided_ns
        instants = (decided_ns, sent_ns, record.acked_ns or sent_ns)
        told = messages_of(opened, record, picture, self._session)
        for topic, message, at_ns in zip(JSON_TOPICS, told, instants, strict=True):
            self._wait(topic, record.part, at_ns, _encode(message))
        if picture == "kept":
            # With the picture's own instant, so that a player shows the two together.
            at_ns = deadline.trigger_ns
            at_utc_ns, scale = utc_ns(self._session, at_ns), self._session.mm_per_px
            drawn = foxglove.drawing(record.decision, at_utc_ns, scale)
            self._wait(ANNOTATIONS, record.part, at_ns, drawn)
        self._end_a_full_chunk()

    def event(self, kind: str, part: int, detail: str, at_ns: int) -> None:
        """Anything else worth a line; part 0 is none."""
        text = f"part {part}: {detail}" if part else detail
        self._wait(EVENT, part, at_ns, foxglove.log(kind, text, utc_ns(self._session, at_ns)))
        self._end_a_full_chunk()

    def flush(self, *, sync: bool = False) -> None:
        """End the chunk, so that the file has everything so far; sync: and the disk too."""
        start = self._start_of_write()
        try:
            self._mcap.flush()
            for line in self._lines:
                self._add(line.topic, line.part, line.at_ns, line.data)
            self._mcap.flush()
            if sync:
                self._output.sync()
        except OSError:
            self._take_back(start)
            raise
        self._lines.clear()
        self._waiting_bytes = 0

    def close(self) -> None:
        """Write what waits and the index, and close the file; twice is fine."""
        try:
            if not self._failed:
                self.flush()
                self._finish()
        finally:
            self.abandon()

    def _finish(self) -> None:
        start = self._start_of_write()
        try:
            self._mcap.finish()
            self._output.sync()
        except OSError:
            self._take_back(start)
            raise

    def abandon(self) -> None:
        """Close the file as it is: readable to its last whole chunk. What waits is dropped."""
        self._failed = True
        self._output.close()

    def _view(self, view: ViewSpec, array: View, record: PartRecord) -> None:
        at_ns = record.deadline.trigger_ns
        at_utc_ns = utc_ns(self._session, at_ns)
        if view.kind == "samples":
            channels = [Channel(values) for values in array.reshape(len(array), -1).T.tolist()]
            data = _encode(SamplesMessage(part=record.part, channels=channels))
        elif self._codec == "raw":
            data = foxglove.raw_image(view.name, array, at_utc_ns)
        else:
            data = foxglove.jpeg_image(view.name, array, at_utc_ns, quality=self._quality)
        self._add(topic_of(view), record.part, at_ns, data)
        self._waiting_bytes += len(data)

    def _add(self, topic: str, part: int, at_ns: int, data: bytes) -> None:
        self._mcap.add_message(
            self._channels[topic],
            log_time=utc_ns(self._session, at_ns),
            data=data,
            publish_time=max(0, at_ns),
            sequence=part & 0xFFFF_FFFF,
        )

    def _wait(self, topic: str, part: int, at_ns: int, data: bytes) -> None:
        self._lines.append(_Line(topic, part, at_ns, data))
        self._waiting_bytes += len(data)

    def _end_a_full_chunk(self) -> None:
        if self._waiting_bytes >= self._chunk_bytes:
            self.flush()

    def _start_of_write(self) -> int:
        if self._failed:
            raise OSError("this footage was closed, or the disk refused it: it takes nothing more")
        return self._output.tell()

    def _take_back(self, start: int) -> None:
        self._failed = True
        self._output.cut(start)


class _Output:
    """A new file, unbuffered: what a disk refused is not tried again behind our back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._at = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            self._at += written
            rest = rest[written:]
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """There is no buffer."""

    def sync(self) -> None:
        os.fsync(self._file)

    def cut(self, at: int) -> None:
        """Take a half-written end back; it stays where the disk refuses even this."""
        with suppress(OSError):
            self._file.truncate(at)

    def close(self) -> None:
        self._file.close()
