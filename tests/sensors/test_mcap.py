"""Recordings: what was recorded comes back, from whole, cut and hostile files."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import lz4.frame
import msgspec
import numpy as np
import pytest
import zstandard
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from mcap.data_stream import RecordBuilder
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import MCAP0_MAGIC, CompressionType, Writer

from edge.core.errors import FootageError
from edge.core.footage import RecordedPart
from edge.core.history import Closed, Opened, Picture, Session, served
from edge.core.pool import FramePool
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    Frame,
    NoFrame,
    PartRecord,
    Region,
    Serving,
    Stamps,
    Trigger,
    Verdict,
    ViewSpec,
)
from edge.historian.footage import FootageWriter
from edge.testing import ManualClock
from sensors.grabber import UnreadError
from sensors.mcap import Recording, open_recording, recover
from sensors.scheduled import ScheduledCamera

SPACING_NS, STARTED_NS = 50_000_000, 5_000_000_000
GRAY = ViewSpec("image", "picture", "uint8", (24, 32))
COLOUR = ViewSpec("side", "reference", "uint8", (10, 12, 3))
FORCE = ViewSpec("force", "samples", "float32", (6, 2))
VIEWS = (GRAY, COLOUR, FORCE)


def a_session(*views: ViewSpec) -> Session:
    return Session(
        session=2**63 + 5,
        station="press 2",
        started_ns=STARTED_NS,
        started_utc_ns=1_760_000_000_000_000_000,
        who="root",
        package="deeppcb",
        content_sha256="c" * 64,
        file_sha256="f" * 64,
        views=views or VIEWS,
        provider="cpu",
        threads=2,
        precision="int8",
        pass_below=0.1,
        fail_from=0.3,
        cpu="a processor",
    )


def a_serving(number: int) -> Serving:
    """Every fourth part by another package, every fifth on another provider."""
    other = {"content_sha256": "d" * 64, "version": "2"} if number % 4 == 0 else {}
    slower = {"provider": "openvino"} if number % 5 == 0 else {}
    return msgspec.structs.replace(served(None, a_session()), **other, **slower)


def a_part(
    number: int, picture: Picture = "kept", fault: Fault | None = None, detail: str = ""
) -> tuple[Opened, Closed]:
    at_ns = STARTED_NS + number * SPACING_NS
    deadline = Deadline(at_ns, at_ns + 45_000_000, at_ns + 50_000_000)
    decision = (
        Decision(number, Action.REJECT, Cause.FAULT, fault=fault, detail=detail)
        if fault
        else Decision(
            number,
            Action.ACCEPT,
            Cause.VERDICT,
            Verdict.PASS,
            score=number / 3,
            regions=(Region(2, 3, 10, 5, 31, 0.1 * number),),
        )
    )
    record = PartRecord(
        part=number,
        number=number + 7,
        deadline=deadline,
        decision=decision,
        frame_ns=at_ns + 1,
        stamps=Stamps(at_ns + 2, at_ns + 3, at_ns + 4, at_ns + 5),
        answered_ns=at_ns + 6,
        decided_ns=at_ns + 7,
        sent_ns=at_ns + 8,
        command_id=number,
        received_ns=at_ns + 9,
        acked_ns=at_ns + 10,
        applied=decision.action,
        encoder=number * 100,
        serving=a_serving(number),
    )
    truth = ("", "good", "defect")[number % 3]
    opened = Opened(number, number + 7, number * 100, deadline, truth, "dent" * (number % 3 == 2))
    return opened, Closed(record, picture, 0, 1)


def the_views(number: int, *views: ViewSpec) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    return {
        v.name: rng.random(v.shape, np.float32) * 9 - 3
        if v.kind == "samples"
        else rng.integers(0, 256, v.shape, np.uint8)
        for v in views or VIEWS
    }


def write(path: Path, parts: int, *views: ViewSpec, close: bool = True, **options: Any) -> Path:
    writer = FootageWriter(path, a_session(*views), **options)
    for number in range(1, parts + 1):
        writer.part(*a_part(number), the_views(number, *views))
        writer.event("note", number, "a line", STARTED_NS + number * SPACING_NS + 20)
    if close:
        writer.close()
    else:
        writer.flush()
        writer.abandon()
    return path


def slot(recording: Recording) -> dict[str, Any]:
    return {view.name: np.zeros(view.shape, view.dtype) for view in recording.views}


def read_row(recording: Recording, row: int) -> dict[str, Any]:
    arrays, reader = slot(recording), recording.reader()
    try:
        reader.fill(row, arrays)
    finally:
        reader.close()
    return arrays


def assert_same(recording: Recording, numbers: list[int], *views: ViewSpec) -> None:
    """Those parts, to the bit, pictures too."""
    assert [row.record.part for row in recording.rows] == numbers
    reader = recording.reader()
    for place, number in enumerate(numbers):
        opened, closed = a_part(number)
        assert recording.rows[place] == RecordedPart(opened, closed.record, "kept")
        arrays = slot(recording)
        reader.fill(place, arrays)
        for name, wanted in the_views(number, *views).items():
            assert np.array_equal(arrays[name], wanted)
    reader.close()


# ---- whole files ----


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("chunk_bytes", [1, 5000, 1 << 20])
def test_what_was_recorded_comes_back(tmp_path: Path, compression: Any, chunk_bytes: int) -> None:
    path = write(tmp_path / "a.mcap", 9, chunk_bytes=chunk_bytes, compression=compression)
    warnings: list[str] = []
    recording = open_recording(path, warn=warnings.append)
    assert_same(recording, list(range(1, 10)))
    assert recording.session == a_session()
    assert (recording.whole, recording.exact, recording.lost_bytes) == (True, True, 0)
    assert warnings == []


def test_rows_for_a_camera(tmp_path: Path) -> None:
    recording = open_recording(write(tmp_path / "a.mcap", 4))
    assert recording.parts == len(recording) == 4
    assert [recording.arrival_ns(row) for row in range(4)] == [0, 50e6, 100e6, 150e6]
    assert [recording.label(part) for part in range(1, 5)] == ["good", "defect", None, "good"]
    assert [recording.defect_type(part) for part in (1, 2)] == ["", "dent"]


def test_rows_stand_in_the_order_of_their_triggers(tmp_path: Path) -> None:
    """Parts are closed in another order when one of them waits for its ack."""
    writer = FootageWriter(tmp_path / "a.mcap", a_session(), chunk_bytes=1)
    for number in (2, 1, 4, 3):
        writer.part(*a_part(number), the_views(number))
    writer.close()
    assert_same(open_recording(tmp_path / "a.mcap"), [1, 2, 3, 4])


def test_some_of_the_parts(tmp_path: Path) -> None:
    recording = open_recording(write(tmp_path / "a.mcap", 9, chunk_bytes=5000))
    some = recording.select(first=3, last=5)
    assert_same(some, [3, 4, 5])
    assert [some.arrival_ns(row) for row in range(3)] == [0, 50e6, 100e6]
    assert some.label(1) is None
    assert_same(recording.select(part=8), [8])
    assert_same(recording.select(first=8), [8, 9])
    assert_same(recording.select(last=2), [1, 2])
    for asked in ({"part": 10}, {"first": 6, "last": 5}, {"first": 10}):
        with pytest.raises(FootageError, match=r"no part from .*; it has parts 1 to 9$"):
            recording.select(**asked)  # type: ignore[arg-type]


def test_rows_may_be_read_backwards_and_again(tmp_path: Path) -> None:
    recording = open_recording(write(tmp_path / "a.mcap", 6, chunk_bytes=5000))
    reader, arrays = recording.reader(), slot(recording)
    for row in (5, 4, 4, 0, 3, 2, 1, 1):
        reader.fill(row, arrays)
        assert np.array_equal(arrays["image"], the_views(row + 1)["image"])
    reader.close()


def test_one_chunk_is_in_memory_at_a_time(tmp_path: Path) -> None:
    view = ViewSpec("image", "picture", "uint8", (256, 256))
    path = write(tmp_path / "a.mcap", 60, view, chunk_bytes=200_000)
    assert path.stat().st_size > 3_900_000  # noise does not pack
    tracemalloc.start()
    assert_same(open_recording(path), list(range(1, 61)), view)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_parts_that_came_at_the_same_instant_keep_their_own_pictures(tmp_path: Path) -> None:
    path, (first, _) = tmp_path / "burst.mcap", a_part(1)
    writer = FootageWriter(path, a_session(GRAY), chunk_bytes=1000)
    pictures = np.random.default_rng(3).integers(0, 256, (12, *GRAY.shape), dtype=np.uint8)
    for number, picture in enumerate(pictures, start=1):
        opened, closed = a_part(number)
        opened = msgspec.structs.replace(opened, deadline=first.deadline)
        record = msgspec.structs.replace(closed.record, deadline=first.deadline)
        closed = msgspec.structs.replace(closed, record=record)
        writer.part(opened, closed, {"image": picture})
    writer.close()
    recording, array = open_recording(path), np.zeros(GRAY.shape, np.uint8)
    reader = recording.reader()
    for row, picture in enumerate(pictures):
        reader.fill(row, {"image": array})
        assert np.array_equal(array, picture)
    reader.close()
    path.write_bytes(path.read_bytes()[:-200])  # without its index
    assert all(row.has_picture for row in open_recording(path).rows)


def test_an_empty_recording_has_its_session(tmp_path: Path) -> None:
    recording = open_recording(write(tmp_path / "a.mcap", 0))
    assert (recording.parts, recording.whole, recording.session) == (0, True, a_session())


def test_pictures_that_are_not_there(tmp_path: Path) -> None:
    """What the camera said of a part is said again."""
    writer = FootageWriter(tmp_path / "a.mcap", a_session())
    writer.part(*a_part(1, "kept"), None)  # it was to be kept, and could not be taken
    writer.part(*a_part(2, "none", Fault.STALE_FRAME, "frame 7 again"), None)
    writer.part(*a_part(3, "none", Fault.ENGINE_DOWN), None)
    writer.part(*a_part(4, "none"), None)
    writer.part(*a_part(5), the_views(5))
    writer.close()
    recording = open_recording(tmp_path / "a.mcap")
    assert [row.has_picture for row in recording.rows] == [False] * 4 + [True]
    for row, (fault, line) in enumerate(
        [
            (Fault.NO_IMAGE, "was lost"),
            (Fault.STALE_FRAME, "frame 7 again"),
            (Fault.NO_IMAGE, "not recorded"),
            (Fault.NO_IMAGE, "not recorded"),
        ]
    ):
        with pytest.raises(UnreadError, match=line) as caught:
            read_row(recording, row)
        assert caught.value.fault is fault
    read_row(recording, 4)


def test_views_are_checked(tmp_path: Path) -> None:
    recording = open_recording(write(tmp_path / "a.mcap", 1))
    recording.check(VIEWS)
    other = ViewSpec("image", "picture", "uint8", (24, 33))
    with pytest.raises(FootageError, match=r"24x32\).*; the package wants image .*24x33\)"):
        recording.check((other, COLOUR, FORCE))
    reader = recording.reader()
    for name, wrong in (
        ("image", np.zeros((24, 33), np.uint8)),
        ("image", np.zeros((24, 32), np.float32)),
        ("back", np.zeros((24, 32), np.uint8)),
    ):
        with pytest.raises(UnreadError, match=f"no view {name}") as caught:
            reader.fill(0, {name: wrong})
        assert caught.value.fault is Fault.BAD_FRAME
    reader.close()


def test_jpeg_says_that_it_is_not_exact(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    writer = FootageWriter(tmp_path / "a.mcap", a_session(GRAY), codec="jpeg")
    writer.part(*a_part(1), {"image": smooth})
    writer.close()
    warnings: list[str] = []
    recording = open_recording(tmp_path / "a.mcap", warn=warnings.append)
    assert not recording.exact
    assert "a replay is not exact" in warnings[0]
    assert abs(read_row(recording, 0)["image"].astype(int) - smooth).max() < 9


def test_a_scheduled_camera_plays_a_recording(
    tmp_path: Path, pool: FramePool, next_event: Any, released: Any
) -> None:
    view = ViewSpec("image", "picture", "uint8", (64, 64))
    writer = FootageWriter(tmp_path / "a.mcap", a_session(view))
    writer.part(*a_part(1), the_views(1, view))
    writer.part(*a_part(2, "lost"), None)
    writer.part(*a_part(3), the_views(3, view))
    writer.close()
    rows = open_recording(tmp_path / "a.mcap")
    rows.check(pool.views)
    camera = ScheduledCamera(rows, pool, ManualClock())
    events = [next_event(camera, 1)]
    for now_ns in (1, SPACING_NS + 1, SPACING_NS + 1, 2 * SPACING_NS + 1, 2 * SPACING_NS + 1):
        event = next_event(camera, now_ns)
        if isinstance(event, Frame):
            wanted = the_views(event.part, view)["image"]
            assert np.array_equal(pool.arrays(event.slot)["image"], wanted)
        events.append(released(pool, event))
    assert [type(event) for event in events] == [Trigger, Frame, Trigger, NoFrame, Trigger, Frame]
    assert camera.exhausted
    camera.close()


def test_a_file_that_a_tool_wrote_anew_opens_too(tmp_path: Path) -> None:
    """Sorted by time, in chunks of the tool's own size, pictures among records, without an index of
    messages: all that such tools do.
    """
    path = write(tmp_path / "a.mcap", 9, chunk_bytes=5000)
    with path.open("rb") as file, (tmp_path / "b.mcap").open("wb") as out:
        reader = make_reader(file)
        told = list(reader.iter_messages())
        writer = Writer(out, chunk_size=7000, compression=CompressionType.LZ4)
        writer.start()
        channels: dict[int, int] = {}
        for schema, channel, message in told:
            assert schema is not None
            if channel.id not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, number
                )
            writer.add_message(
                channels[channel.id],
                message.log_time,
                message.data,
                message.publish_time,
                message.sequence,
            )
        for metadata in reader.iter_metadata():
            writer.add_metadata(metadata.name, metadata.metadata)
        writer.finish()
    assert_same(open_recording(tmp_path / "b.mcap"), list(range(1, 10)))


# ---- cut files ----


@cache
def _boundaries(data: bytes) -> list[tuple[int, list[int]]]:
    """(end of a record, the parts whose records end there or before), by the library alone."""
    source, found, parts = io.BytesIO(data), [], []
    for record in StreamReader(source, emit_chunks=True).records:
        if isinstance(record, Chunk):
            for inner in breakup_chunk(record):
                if isinstance(inner, Message) and b'"cause"' in inner.data:
                    parts.append(inner.sequence)
        found.append((source.tell(), list(parts)))
    return found


def parts_before(data: bytes, length: int) -> list[int]:
    return max((parts for end, parts in _boundaries(data) if end <= length), key=len, default=[])


def opens_to_its_last_whole_chunk(path: Path, data: bytes, length: int) -> None:
    path.write_bytes(data[:length])
    numbers = parts_before(data, length)
    if not numbers:
        with pytest.raises(FootageError) as caught:
            open_recording(path)
        assert "\n" not in str(caught.value)
        return
    warnings: list[str] = []
    recording = open_recording(path, warn=warnings.append)
    assert [row.record.part for row in recording.rows] == numbers
    assert not recording.whole
    assert 0 <= recording.lost_bytes < length
    lost = f", {recording.lost_bytes} bytes are lost" if recording.lost_bytes else ""
    assert warnings == [
        f"{path}: no index: still being written, or cut short; {len(numbers)} parts are whole{lost}"
    ]


def test_a_file_cut_at_every_record(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.mcap", 5, chunk_bytes=1).read_bytes()
    for end, _ in _boundaries(data):
        for length in (end - 1, end, end + 1):
            opens_to_its_last_whole_chunk(tmp_path / "a.mcap", data, length)


def test_a_file_cut_anywhere(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.mcap", 8, chunk_bytes=5000).read_bytes()
    rng = random.Random(1)
    for length in (*range(0, 40), *(rng.randrange(len(data)) for _ in range(100))):
        opens_to_its_last_whole_chunk(tmp_path / "a.mcap", data, length)


def test_the_pictures_before_a_cut_are_there(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.mcap", 8, chunk_bytes=5000).read_bytes()
    for length in (len(data) // 2, len(data) * 3 // 4, len(data) - 1):
        (tmp_path / "a.mcap").write_bytes(data[:length])
        assert_same(open_recording(tmp_path / "a.mcap"), parts_before(data, length))


def test_an_abandoned_file_has_everything_flushed(tmp_path: Path) -> None:
    recording = open_recording(write(tmp_path / "a.mcap", 5, close=False))
    assert_same(recording, [1, 2, 3, 4, 5])
    assert (recording.whole, recording.lost_bytes) == (False, 0)


def test_pages_that_never_reached_the_disk(tmp_path: Path) -> None:
    """After a loss of power a file may have its length, and zeros for its end."""
    data = write(tmp_path / "whole.mcap", 8, chunk_bytes=5000).read_bytes()
    middle = len(data) // 2
    (tmp_path / "a.mcap").write_bytes(data[:middle] + bytes(len(data) - middle))
    recording = open_recording(tmp_path / "a.mcap")
    assert_same(recording, parts_before(data, middle))
    assert not recording.whole


def test_a_lost_index_is_done_without(tmp_path: Path) -> None:
    """Its CRC vouches for it; without, the file is read through."""
    path = write(tmp_path / "a.mcap", 5)
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    recording = open_recording(path)
    assert_same(recording, [1, 2, 3, 4, 5])
    assert recording.whole


def damage(path: Path, topic: str, place: int) -> None:
    """Flip a bit in the place-th chunk (from 1) that has messages of a topic."""
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    (channel,) = (c.id for c in summary.channels.values() if c.topic == topic)
    index = [i for i in summary.chunk_indexes if channel in i.message_index_offsets][place - 1]
    data = bytearray(path.read_bytes())
    data[index.chunk_start_offset + index.chunk_length - 20] ^= 1
    path.write_bytes(data)


# ---- recovery ----


def test_a_recovered_copy_is_whole(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.mcap", 8, chunk_bytes=5000).read_bytes()
    for length in (len(data) // 2, len(data) - 1, len(data)):
        cut, out = tmp_path / "cut.mcap", tmp_path / f"{length}.mcap"
        cut.write_bytes(data[:length])
        numbers = parts_before(data, length)
        found = recover(cut, out)
        assert found.parts == len(numbers)
        assert found.lost_bytes == open_recording(cut).lost_bytes
        recording = open_recording(out)
        assert_same(recording, numbers)
        assert recording.whole
        with out.open("rb") as file:  # for a player: the index is there, and the CRCs are right
            reader = make_reader(file, validate_crcs=True)
            events = [m.sequence for _, _, m in reader.iter_messages(topics="/event")]
            summary = reader.get_summary()
        assert events == list(range(1, len(events) + 1))  # each after its part, maybe a chunk later
        assert len(events) in (len(numbers), len(numbers) - 1)
        assert summary is not None
        assert summary.chunk_indexes
    kept = {"whole.mcap", "cut.mcap", *(f"{n}.mcap" for n in (len(data) // 2, len(data) - 1))}
    assert {file.name for file in tmp_path.iterdir()} == kept | {f"{len(data)}.mcap"}


def test_recovery_never_overwrites(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.mcap", 1), tmp_path / "b.mcap"
    out.write_text("mine")
    with pytest.raises(FootageError, match=r"b\.mcap: there is such a file already"):
        recover(path, out)
    assert out.read_text() == "mine"
    with pytest.raises(FootageError, match="No such file"):
        recover(path, tmp_path / "nowhere" / "c.mcap")
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_recover(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", 2)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FootageError, match="no part in it is whole"):
        recover(path, tmp_path / "b.mcap")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mcap"]


def test_a_damaged_file_is_recovered_to_the_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", 5, chunk_bytes=1)
    damage(path, "/decision", 3)
    found = recover(path, tmp_path / "b.mcap")
    assert (found.parts, found.lost_bytes > 0) == (2, True)
    assert_same(open_recording(tmp_path / "b.mcap"), [1, 2])


# ---- hostile and foreign files ----


def refusal(path: Path) -> str:
    """The one line of the error, and no more memory than a chunk may have."""
    tracemalloc.start()
    try:
        with pytest.raises(FootageError) as caught:
            open_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert len(line) < len(str(path)) + 400
    return line.removeprefix(f"{path}: ")


def built(path: Path, *records: Any, end: bytes = b"") -> Path:
    """A file of these records, as they are, after the right beginning."""
    builder = RecordBuilder()
    for record in records:
        record.write(builder)
    path.write_bytes(MCAP0_MAGIC + builder.end() + end)
    return path


def session_record(**told: str) -> Metadata:
    session = told.get("session", msgspec.json.encode(a_session()).decode())
    crc = f"{zlib.crc32(session.encode()):08x}"
    known = {"format": "1", "exact": "yes", "session": session, "crc32": crc}
    return Metadata("edge.session", known | told)


def packed(data: bytes, compression: str, size: int | None = None, crc: int = 0) -> Chunk:
    return Chunk(compression, data, 0, 0, crc, len(data) if size is None else size)


BOMB = bytes(200 << 20)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "not an MCAP file"),
        (b"part,label\n1,good\n", "not an MCAP file"),
        (MCAP0_MAGIC, "not of a station"),
        (MCAP0_MAGIC * 9, "not of a station"),
        (MCAP0_MAGIC + random.Random(3).randbytes(5000), "not of a station"),
        (MCAP0_MAGIC + bytes(5000), "not of a station"),
        (MCAP0_MAGIC + b"\x01" + struct.pack("<Q", 2**63) + bytes(99), "not of a station"),
    ],
)
def test_files_of_nothing(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    assert line in refusal(tmp_path / "a.mcap")


def test_things_that_are_no_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.mcap", "w") as archive:
        archive.writestr("a", "b")
    assert refusal(tmp_path / "a.mcap") == "not an MCAP file"
    assert refusal(tmp_path) == "not a file"
    assert refusal(tmp_path / "nowhere") == "No such file or directory"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "not a file"


def test_somebody_elses_recording(tmp_path: Path) -> None:
    with (tmp_path / "a.mcap").open("wb") as out:
        writer = Writer(out)
        writer.start("ros2")
        channel = writer.register_channel("/decision", "json", 0)
        writer.add_message(channel, 1, b'{"part": 1}', 1)
        writer.finish()
    assert "schema 'none'; allowed: edge.Decision" in refusal(tmp_path / "a.mcap")
    with (tmp_path / "b.mcap").open("wb") as out:
        writer = Writer(out)
        writer.start("ros2")
        writer.finish()
    assert "not of a station: no edge.session" in refusal(tmp_path / "b.mcap")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"format": "2"}, "footage of format '2'; this edge reads '1'"),
        ({"format": "9" * 999}, "footage of format '99999999999999999999'; this edge reads '1'"),
        ({"crc32": "00000000"}, "what it says of its session is damaged"),
        ({"session": "{}"}, "not of a station"),
        ({"session": "[" * 100_000}, "not of a station"),
        ({"session": ""}, "not of a station"),
    ],
)
def test_sessions_that_cannot_be_read(tmp_path: Path, told: dict[str, str], line: str) -> None:
    assert line in refusal(built(tmp_path / "a.mcap", session_record(**told)))


def lying(data: bytes) -> bytes:
    """A zstd frame that does not say its size."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


CHUNKS: dict[str, tuple[Callable[[], Any], str]] = {
    "a size of exabytes": (lambda: packed(b"", "zstd", size=2**60), "a chunk of"),
    "a zstd bomb that owns up": (
        lambda: packed(zstandard.compress(BOMB), "zstd", size=400 << 20),
        "a chunk of 419430400 bytes",
    ),
    "a zstd bomb": (lambda: packed(zstandard.compress(BOMB), "zstd", size=1000), "than it says"),
    "a silent zstd bomb": (lambda: packed(lying(BOMB), "zstd", size=1000), "decompress"),
    "a lz4 bomb": (lambda: packed(lz4.frame.compress(BOMB), "lz4", size=1000), "than it says"),
    "a chunk shorter than it says": (lambda: packed(b"abc", "", size=10**6), "than it says"),
    "zstd of nothing": (lambda: packed(b"", "zstd"), ""),
    "garbage for zstd": (lambda: packed(b"garbage" * 9, "zstd", size=99), ""),
    "garbage for lz4": (lambda: packed(b"garbage" * 9, "lz4", size=99), ""),
    "another packer": (lambda: packed(b"abc", "br" * 99), "packed with 'brbrbrbrbrbrbrbrbrbr'"),
    "a wrong CRC": (lambda: packed(b"\x00" * 9, "", crc=5), "the CRC of a chunk is wrong"),
    "a record longer than its chunk": (
        lambda: packed(b"\x05" + struct.pack("<Q", 2**40) + bytes(30), ""),
        "",
    ),
    "a message too short for its head": (
        lambda: packed(b"\x05" + struct.pack("<Q", 3) + bytes(3), ""),
        "",
    ),
    "text that is none": (
        lambda: packed(b"\x04" + struct.pack("<QHHI", 12, 1, 1, 4) + b"\xff" * 4, ""),
        "",
    ),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_hostile_chunks(tmp_path: Path, name: str) -> None:
    make, line = CHUNKS[name]
    told = refusal(built(tmp_path / "a.mcap", session_record(), make()))
    assert told.startswith("no part in it is whole: ")
    assert line in told


@pytest.mark.parametrize("opcode", range(1, 20))
def test_records_that_claim_to_be_long(tmp_path: Path, opcode: int) -> None:
    for length in (2**63, 2**40, 200 << 20, 50):
        end = bytes([opcode]) + struct.pack("<Q", length) + b"\xfe" * 40
        refusal(built(tmp_path / "a.mcap", session_record(), end=end))


def message_chunk(*told: tuple[str, str, bytes]) -> bytes:
    """An unpacked chunk with (topic, schema, data)."""
    builder = RecordBuilder()
    for number, (topic, schema, data) in enumerate(told, 1):
        Schema(id=number, name=schema, encoding="jsonschema", data=b"{}").write(builder)
        Channel(
            id=number, topic=topic, message_encoding="json", schema_id=number, metadata={}
        ).write(builder)
        Message(channel_id=number, sequence=1, log_time=1, publish_time=1, data=data).write(builder)
    return builder.end()


@pytest.mark.parametrize(
    ("topic", "schema", "data", "line"),
    [
        ("/decision", "edge.Timing", b"{}", "/decision is of schema 'edge.Timing'; allowed: edge"),
        ("/camera/image", "sensor_msgs/Image", b"", "allowed: foxglove.RawImage"),
        ("/samples/force", "Force", b"", "allowed: edge.Samples"),
        ("/decision", "edge.Decision", b"{}", "missing required field"),
        ("/decision", "edge.Decision", b"[" * 100_000, ""),
        ("/decision", "edge.Decision", b"\xff\xfe", ""),
        ("/command", "edge.Command", b"{}", "missing required field"),
    ],
)
def test_hostile_messages(tmp_path: Path, topic: str, schema: str, data: bytes, line: str) -> None:
    chunk = packed(message_chunk((topic, schema, data)), "")
    assert line in refusal(built(tmp_path / "a.mcap", session_record(), chunk))


def test_far_more_records_than_a_file_of_its_size_can_have(tmp_path: Path) -> None:
    """Each chunk is small, and all of them together would fill a memory."""
    text = json.dumps(
        {"part": 1, "number": 1, "action": "accept", "cause": "verdict", "picture": "none"}
    ).encode()
    decision = text[:-1] + b', "detail": "' + b"a" * (4 << 20) + b'"}'
    inside = message_chunk(("/decision", "edge.Decision", decision))
    chunk = packed(zstandard.compress(inside), "zstd", size=len(inside))
    told = refusal(built(tmp_path / "a.mcap", session_record(), *[chunk] * 40))
    assert "unpacks to far more than a recording does" in told


def test_a_damaged_record_in_a_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", 5, chunk_bytes=1)
    damage(path, "/decision", 3)
    told = refusal(path)
    assert told.startswith("damaged: ")
    assert told.endswith("a recovered copy has the parts before that")


def test_a_damaged_picture_costs_its_chunk_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", 5, chunk_bytes=1)
    damage(path, "/camera/image", 3)
    recording = open_recording(path)
    reader = recording.reader()
    for row in (0, 1, 3, 4):
        reader.fill(row, slot(recording))
    with pytest.raises(UnreadError, match=f"{path}: part 3: ") as caught:
        reader.fill(2, slot(recording))
    assert caught.value.fault is Fault.BAD_FRAME
    reader.fill(3, slot(recording))
    reader.close()


def test_a_jpeg_that_claims_to_be_vast(tmp_path: Path) -> None:
    """Its size is read before OpenCV makes room for it."""
    whole = cv2.imencode(".jpg", np.zeros((24, 32), np.uint8))[1].tobytes()
    at = whole.index(b"\xff\xc0")
    vast = whole[: at + 5] + struct.pack(">HH", 65000, 65000) + whole[at + 9 :]
    for data in (vast, whole[:-30], whole[:2], b"", b"\xff\xd8" + b"\xff" * 99):
        image = CompressedImage(format="jpeg", data=data).SerializeToString()
        path = with_pictures(tmp_path / "a.mcap", image)
        recording = open_recording(path)
        tracemalloc.start()
        with pytest.raises(UnreadError, match="JPEG") as caught:
            read_row(recording, 0)
        assert caught.value.fault is Fault.BAD_FRAME
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()
        path.unlink()


def with_pictures(path: Path, picture: bytes) -> Path:
    """A recording of one part, with this in place of its picture."""
    writer = FootageWriter(path, a_session(GRAY), codec="jpeg")
    writer._add("/camera/image", 1, a_part(1)[1].record.deadline.trigger_ns, picture)
    opened, closed = a_part(1)
    empty = msgspec.structs.replace(writer._session, views=())
    whole, writer._session = writer._session, empty
    writer.part(opened, closed, {})
    writer._session = whole
    writer.close()
    return path


def test_flipped_bits_never_crash(tmp_path: Path) -> None:
    """Whatever a byte becomes: an error in a line, a part less, or what was recorded."""
    data = write(tmp_path / "whole.mcap", 4, chunk_bytes=3000).read_bytes()
    rng, path = random.Random(7), tmp_path / "a.mcap"
    opened = 0
    for _ in range(250):
        broken = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(broken[: rng.choice((len(broken), rng.randrange(len(broken))))])
        with suppress(FootageError):
            read_or_refused(open_recording(path))
            opened += 1
    assert opened > 50


def read_or_refused(recording: Recording) -> None:
    reader = recording.reader()
    for row, part in enumerate(recording.rows):
        arrays = slot(recording)
        with suppress(UnreadError):
            reader.fill(row, arrays)
            wanted = the_views(part.record.part)
            assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted)
    reader.close()


# ---- real pictures ----


def test_real_pictures_come_back_byte_by_byte(tmp_path: Path, data: Path) -> None:
    view = ViewSpec("image", "picture", "uint8", (512, 512))
    files = (
        sorted((data / "deeppcb" / "test").rglob("*.jpg"))[:3]
        or sorted((data / "deeppcb" / "test").rglob("*.png"))[:3]
    )
    pictures = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    writer = FootageWriter(tmp_path / "a.mcap", a_session(view))
    for number, picture in enumerate(pictures, 1):
        writer.part(*a_part(number), {"image": picture})
    writer.close()
    recording = open_recording(tmp_path / "a.mcap")
    for row, picture in enumerate(pictures):
        read = read_row(recording, row)["image"]
        assert zlib.crc32(read.tobytes()) == zlib.crc32(picture.tobytes())
