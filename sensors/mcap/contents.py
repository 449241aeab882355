"""What an MCAP file of a station holds, gathered by its index or from its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from zlib import crc32

import msgspec
from mcap.records import Channel, Chunk, ChunkIndex, McapRecord, Message, Metadata, Schema
from mcap.summary import Summary

from edge.core.errors import FootageError
from edge.core.footage import (
    CAMERA,
    FORMAT,
    JSON_TOPICS,
    SAMPLES,
    SAMPLES_SCHEMA,
    SESSION,
    PartMessages,
    RecordedPart,
    part_of,
    utc_ns,
)
from edge.core.history import Session
from sensors.mcap.file import (
    DAMAGED,
    Source,
    chunk_at,
    indexes_of,
    records_in,
    unpacked,
    why_damaged,
)

PICTURE_SCHEMAS = ("foxglove.RawImage", "foxglove.CompressedImage")
_DECODERS = {topic: msgspec.json.Decoder(kind) for topic, (_, kind) in JSON_TOPICS.items()}
# The JSON of a real file packs to a tenth of its size; a file that claims more than this is made
# to fill a memory.
_MOST_RATIO, _ALWAYS_BYTES = 64, 64 << 20


@dataclass
class Places:
    """Where the views of the parts are: offsets of chunks, by topic and instant in UTC.

    Mostly one; parts that arrive at the same instant may lie in several.
    """

    topics: dict[int, str] = field(default_factory=dict)  # by channel
    schemas: dict[str, str] = field(default_factory=dict)  # by topic
    chunks: dict[str, dict[int, tuple[int, ...]]] = field(default_factory=dict)

    def add(self, topic: str, at_utc_ns: int, offset: int) -> None:
        chunks = self.chunks[topic]
        known = chunks.get(at_utc_ns, ())
        if offset not in known:
            chunks[at_utc_ns] = (*known, offset)


class Contents:
    """The session, the parts and the places of their views, gathered chunk by chunk."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source, self._path = source, path
        self._session: Session | None = None
        self._schemas: dict[int, Schema] = {}
        self._half: dict[int, dict[str, object]] = {}  # parts with one or two of their messages
        # Pictures whose part has not come yet, by instant and the part's number.
        self._loose: set[tuple[int, int]] = set()
        self._told_bytes = 0
        self.exact = True
        self.parts: dict[int, RecordedPart] = {}
        self.places = Places()
        self.packed_with = ""  # of the last whole chunk
        self.ended = False  # whether a scan came to the file's footer

    @property
    def session(self) -> Session:
        if self._session is None:
            raise FootageError(f"{self._path}: an MCAP file, but not of a station: no {SESSION}")
        return self._session

    def look_up(self, summary: Summary) -> None:
        """Gather the records by the file's index; FootageError where the file is damaged."""
        try:
            self._schemas.update(summary.schemas)
            for channel in summary.channels.values():
                self._channel(channel)
            for index in summary.metadata_indexes:
                self._outside(next(self._source.records(first=index.offset)))
            for chunk in summary.chunk_indexes:
                self._indexed(chunk)
            if self._half:
                raise ValueError(f"not all of part {min(self._half)} is there")
        except DAMAGED as why:
            raise FootageError(
                f"{self._path}: damaged: {why_damaged(why)}; "
                "a recovered copy has the parts before that"
            ) from None

    def scan(self) -> int:
        """Gather what is whole, from the file's start; the offset where that ends.

        FootageError where not a single part is.
        """
        start = end = 0
        try:
            for record in self._source.records():
                if isinstance(record, Chunk):
                    self._inside(start, record)
                    self.packed_with = record.compression
                else:
                    self._outside(record)
                start = self._source.tell()
                if not self._half and not self._loose:
                    end = start
            self.ended = True
            end = self._source.tell() if end == start else end  # the closing magic is no record
        except DAMAGED as why:
            if self.session and not self.parts:
                raise FootageError(
                    f"{self._path}: no part in it is whole: {why_damaged(why)}"
                ) from None
        return end

    def _indexed(self, chunk: ChunkIndex) -> None:
        """Unpack a chunk that has records; of one with pictures alone, take where they are."""
        offset, channels = chunk.chunk_start_offset, chunk.message_index_offsets
        topics = {self.places.topics.get(channel) for channel in channels}
        if not channels or not topics.isdisjoint(_DECODERS):
            self._inside(offset, chunk_at(self._source, offset))
            return
        for index in indexes_of(self._source, chunk):
            if topic := self.places.topics.get(index.channel_id):
                for at_utc_ns, _ in index.records:
                    self.places.add(topic, at_utc_ns, offset)

    def _outside(self, record: McapRecord) -> None:
        """A record that is in no chunk."""
        if not isinstance(record, Metadata) or record.name != SESSION:
            return
        told = record.metadata.get("format", "")
        if told != FORMAT:
            raise FootageError(
                f"{self._path}: footage of format {told[:20]!r}; this edge reads {FORMAT!r}"
            )
        session = record.metadata.get("session", "").encode()
        if record.metadata.get("crc32") != f"{crc32(session):08x}":
            raise FootageError(f"{self._path}: what it says of its session is damaged")
        self._session = msgspec.json.decode(session, type=Session)
        self.exact = record.metadata.get("exact") == "yes"

    def _inside(self, offset: int, chunk: Chunk) -> None:
        for record in records_in(unpacked(chunk)):
            if isinstance(record, Schema):
                self._schemas[record.id] = record
            elif isinstance(record, Channel):
                self._channel(record)
            elif isinstance(record, Message):
                topic = self.places.topics.get(record.channel_id)
                if topic in _DECODERS:
                    self._told(topic, record.data)
                elif topic:
                    self.places.add(topic, record.log_time, offset)
                    self._loose.add((record.log_time, record.sequence))

    def _channel(self, channel: Channel) -> None:
        """Note a channel of ours; FootageError where it holds something else."""
        topic = channel.topic
        if topic in JSON_TOPICS:
            allowed: tuple[str, ...] = (JSON_TOPICS[topic][0],)
        elif topic.startswith(CAMERA):
            allowed = PICTURE_SCHEMAS
        elif topic.startswith(SAMPLES):
            allowed = (SAMPLES_SCHEMA,)
        else:
            return
        schema = self._schemas.get(channel.schema_id)
        name = schema.name if schema else "none"
        if name not in allowed:
            raise FootageError(
                f"{self._path}: {topic[:40]} is of schema {name[:40]!r}; allowed: "
                + ", ".join(allowed)
            )
        self.places.topics[channel.id] = topic
        self.places.schemas[topic] = name
        self.places.chunks.setdefault(topic, {})

    def _told(self, topic: str, data: bytes) -> None:
        """One message of a part; with the last of three the part is there."""
        self._told_bytes += len(data)
        if self._told_bytes > _ALWAYS_BYTES + _MOST_RATIO * self._source.size:
            raise ValueError("it unpacks to far more than a recording does")
        message = _DECODERS[topic].decode(data)
        half = self._half.setdefault(message.part, {})
        half[topic] = message
        if len(half) < len(JSON_TOPICS):
            return
        del self._half[message.part]
        if message.part in self.parts:
            raise ValueError(f"part {message.part} is there twice")
        part = part_of(
            cast(PartMessages, tuple(half[topic] for topic in JSON_TOPICS)), self.session
        )
        self.parts[message.part] = part
        at_utc_ns = utc_ns(self.session, part.opened.deadline.trigger_ns)
        self._loose.discard((at_utc_ns, part.record.part & 0xFFFF_FFFF))
