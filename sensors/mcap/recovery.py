"""A copy, with an index and a footer, of a recording that was cut short."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcap.records import Attachment, Channel, Chunk, Header, McapRecord, Message, Metadata, Schema
from mcap.writer import CompressionType, Writer

from edge.core.errors import FootageError
from edge.core.types import Record
from sensors.mcap.contents import Contents
from sensors.mcap.file import Source, opened, records_in, unpacked

_COMPRESSION = {
    "": CompressionType.NONE,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}
_NEVER = 1 << 62  # bytes after which the library would end a chunk of its own accord


class Recovered(Record, frozen=True):
    """What a recovered copy has of the file, and how much of the file's end it has not."""

    parts: int
    lost_bytes: int


def recover(path: str | Path, out: str | Path) -> Recovered:
    """Copy a recording up to its last whole part, with index and footer; never over a file.

    FootageError where there is nothing to recover, or the copy cannot be written. The copy has its
    name once it is whole and on the disk.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise FootageError(f"{out}: there is such a file already")
    with opened(path) as source:
        contents = Contents(source, path)
        end = contents.scan()
        found = Recovered(len(contents.parts), source.size - end)
        assert contents.session  # FootageError where the file is not of a station
        part_way = out.with_name(f".{out.name}.{os.getpid()}.part")
        try:
            _write(part_way, source, end, contents.packed_with)
            _name(part_way, out)
        except OSError as why:
            raise FootageError(f"{out}: {why.strerror or why}") from None
        finally:
            with suppress(OSError):
                part_way.unlink(missing_ok=True)
    return found


def _write(path: Path, source: Source, end: int, packed_with: str) -> None:
    with path.open("xb") as file:
        # Any: the library's methods have no types.
        writer: Any = Writer(file, chunk_size=_NEVER, compression=_COMPRESSION[packed_with])
        copy = _Copy(writer)
        for record in source.records():
            copy.take(record)
            if source.tell() >= end:
                break
        writer.finish()
        file.flush()
        os.fsync(file)


def _name(part_way: Path, out: Path) -> None:
    try:
        os.link(part_way, out)  # unlike a rename, refuses to replace a file
    except FileExistsError:
        raise
    except OSError:  # a disk without links, such as a USB stick
        if out.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        part_way.rename(out)


class _Copy:
    """Hands records to a writer, their schemas and channels under the writer's own numbers."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._schemas: dict[int, int] = {0: 0}
        self._channels: dict[int, int] = {}

    def take(self, record: McapRecord) -> None:
        match record:
            case Header():
                self._writer.start(record.profile, record.library)
            case Metadata():
                self._writer.add_metadata(record.name, record.metadata)
            case Attachment():
                self._writer.add_attachment(
                    record.create_time, record.log_time, record.name, record.media_type, record.data
                )
            case Chunk():
                for inner in records_in(unpacked(record)):
                    self._inside(inner)
                self._writer.flush()
            case _:
                pass  # the index, which the writer makes anew

    def _inside(self, record: McapRecord) -> None:
        match record:
            case Schema() if record.id not in self._schemas:
                number = self._writer.register_schema(record.name, record.encoding, record.data)
                self._schemas[record.id] = number
            case Channel() if record.id not in self._channels:
                number = self._writer.register_channel(
                    record.topic,
                    record.message_encoding,
                    self._schemas.get(record.schema_id, 0),
                    record.metadata,
                )
                self._channels[record.id] = number
            case Message() if record.channel_id in self._channels:
                self._writer.add_message(
                    self._channels[record.channel_id],
                    record.log_time,
                    record.data,
                    record.publish_time,
                    record.sequence,
                )
            case _:
                pass
