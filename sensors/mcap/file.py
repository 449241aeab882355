"""MCAP files of unknown origin: read within bounds, and as far as they are whole.

The library reads the format. What is added here: no record may be longer than what is left of the
file, no chunk may unpack to more than it says, or more than a chunk may have, and whatever a broken
file makes the library raise is one of DAMAGED.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]
import msgspec
import zstandard
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import FOOTER_SIZE, SeekingReader
from mcap.records import Chunk, ChunkIndex, Footer, McapRecord, MessageIndex
from mcap.stream_reader import MAGIC_SIZE, StreamReader
from mcap.summary import Summary
from mcap.writer import MCAP0_MAGIC

from edge.core.errors import FootageError
from edge.core.footage import MOST_CHUNK_BYTES

DAMAGED = (
    McapError,
    DecodeError,  # protobuf
    MemoryError,
    OverflowError,
    RuntimeError,  # lz4
    ValueError,  # a CRC, text that is not UTF-8
    msgspec.MsgspecError,
    struct.error,
    zstandard.ZstdError,
)


def why_damaged(error: Exception) -> str:
    """One of DAMAGED in a line of its own words."""
    if isinstance(error, EndOfFile):
        return "it ends too early"
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


class Source:
    """A file whose reads give all that was asked for; one beyond its end is an EndOfFile.

    The library would take what is left for the whole, after it has made room for what was asked.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, os.fstat(file.fileno()).st_size

    def read(self, length: int) -> bytes:
        if not 0 <= length <= self.size - self._file.tell():
            raise EndOfFile
        return self._file.read(length)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def records(self, *, first: int | None = None) -> Iterator[McapRecord]:
        """The file's records in order, its chunks packed; first: the offset of one to begin at."""
        self.seek(first or 0)
        source: Any = self  # all that the library calls is read
        return iter(
            StreamReader(
                source,
                skip_magic=first is not None,
                emit_chunks=True,
                record_size_limit=MOST_CHUNK_BYTES,
            ).records
        )


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """An MCAP file, by its first bytes; FootageError where it is none or cannot be read."""
    try:
        # Asked before it is opened: to open a pipe is to wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise FootageError(f"{path}: not a file")
        with path.open("rb") as file:
            if file.read(MAGIC_SIZE) != MCAP0_MAGIC:
                raise FootageError(f"{path}: not an MCAP file")
            yield Source(file)
    except OSError as why:
        raise FootageError(f"{path}: {why.strerror or why}") from None


def unpacked(chunk: Chunk) -> bytes:
    """A chunk's records as they lie in it; one of DAMAGED where it is not what it says."""
    size = chunk.uncompressed_size
    if size > MOST_CHUNK_BYTES:
        raise ValueError(f"a chunk of {size} bytes; at most {MOST_CHUNK_BYTES}")
    match chunk.compression:
        case "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        case "zstd":
            if zstandard.frame_content_size(chunk.data) not in (-1, size):
                raise ValueError("a chunk that unpacks to another size than it says")
            data = zstandard.decompress(chunk.data, max_output_size=size)
        case "":
            data = chunk.data
        case other:
            raise ValueError(f"a chunk packed with {other[:20]!r}")
    if len(data) != size:
        raise ValueError("a chunk that unpacks to another size than it says")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError("the CRC of a chunk is wrong")
    return bytes(data)


def records_in(data: bytes) -> Iterator[McapRecord]:
    """An unpacked chunk's records, made one by one: the copies of all pictures at once cost more
    in fresh memory than in copying.
    """
    inside = io.BytesIO(data)
    reader = StreamReader(inside, skip_magic=True, emit_chunks=True, record_size_limit=len(data))
    records = iter(reader.records)
    while inside.tell() < len(data):
        yield next(records)


def chunk_at(source: Source, offset: int) -> Chunk:
    """The packed chunk at an offset; one of DAMAGED where there is none."""
    record = next(source.records(first=offset))
    if not isinstance(record, Chunk):
        raise ValueError(f"no chunk at byte {offset}")
    return record


def summary_of(source: Source) -> Summary | None:
    """The file's own index; None where it has none, or one that its CRC does not vouch for."""
    any_source: Any = source
    end = source.size - FOOTER_SIZE - MAGIC_SIZE
    try:
        footer = next(source.records(first=max(0, end)))
        if not isinstance(footer, Footer) or not MAGIC_SIZE <= footer.summary_start <= end:
            return None
        if end - footer.summary_start > MOST_CHUNK_BYTES:
            return None
        source.seek(footer.summary_start)
        # From the summary to the footer's own last field, the CRC.
        signed = source.read(source.size - MAGIC_SIZE - 4 - footer.summary_start)
        if footer.summary_crc and zlib.crc32(signed) != footer.summary_crc:
            return None
        source.seek(0)
        summary = SeekingReader(any_source, record_size_limit=MOST_CHUNK_BYTES).get_summary()
    except DAMAGED:
        return None
    if summary is not None:
        summary.chunk_indexes.sort(key=lambda index: index.chunk_start_offset)
    return summary


def indexes_of(source: Source, chunk: ChunkIndex) -> Iterator[MessageIndex]:
    """Where a chunk has the messages of each channel, without unpacking it."""
    for offset in chunk.message_index_offsets.values():
        record = next(source.records(first=offset))
        if not isinstance(record, MessageIndex):
            raise ValueError(f"no message index at byte {offset}")
        yield record
