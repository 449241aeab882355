"""Footage on its way to the disk: what stands in the file, for a player and for the next reader."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.Log_pb2 import Log
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Chunk, Message
from mcap.stream_reader import StreamReader, breakup_chunk

from edge.core.footage import (
    JSON_TOPICS,
    MOST_CHUNK_BYTES,
    PartMessages,
    SamplesMessage,
    messages_of,
    part_of,
    schema_of,
)
from edge.core.history import Closed, Opened, Picture, Session, served
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Pose,
    Region,
    Serving,
    Stamps,
    Verdict,
    ViewSpec,
)
from edge.historian.footage import FootageWriter

STARTED_NS, UTC_NS = 5_000_000_000, 1_760_000_000_000_000_000
GRAY = ViewSpec("image", "picture", "uint8", (24, 32))
COLOUR = ViewSpec("side", "picture", "uint8", (10, 12, 3))
FORCE = ViewSpec("force", "samples", "float32", (6, 2))
ALL_VIEWS = (GRAY, COLOUR, FORCE)


def a_session(*views: ViewSpec) -> Session:
    return Session(
        session=2**63 + 5,
        station="press 2, Süd",
        started_ns=STARTED_NS,
        started_utc_ns=UTC_NS,
        who="root",
        package="deeppcb",
        content_sha256="c" * 64,
        file_sha256="f" * 64,
        views=views or (GRAY,),
        provider="cpu",
        threads=2,
        precision="int8",
        pass_below=0.1,
        fail_from=0.30000000000000004,
        cpu="a processor",
        versions={"numpy": "2"},
    )


def a_part(number: int, picture: Picture = "kept") -> tuple[Opened, Closed]:
    trigger_ns = STARTED_NS + number * 50_000_000
    deadline = Deadline(trigger_ns, trigger_ns + 45_000_000, trigger_ns + 50_000_000)
    decision = Decision(
        number,
        Action.REJECT,
        Cause.VERDICT,
        Verdict.FAIL,
        score=0.1 * number,
        regions=(Region(2, 3, 10, 5, 31, 0.7),),
        pose=Pose("table", 0.1, 2.0, -3.5, 0.0, 90.0, 1e-9),
    )
    record = PartRecord(
        part=number,
        number=number + 7,
        deadline=deadline,
        decision=decision,
        frame_ns=trigger_ns + 1_000_000,
        stamps=Stamps(*(trigger_ns + ms * 1_000_000 for ms in (2, 3, 10, 11))),
        answered_ns=trigger_ns + 12_000_000,
        decided_ns=trigger_ns + 13_000_000,
        sent_ns=trigger_ns + 14_000_000,
        command_id=number,
        received_ns=trigger_ns + 15_000_000,
        acked_ns=trigger_ns + 16_000_000,
        applied=Action.REJECT,
        encoder=1000 * number,
    )
    opened = Opened(number, number + 7, 1000 * number, deadline, "defect", "open")
    return opened, Closed(record, picture, 0, 1)


def the_views(number: int, *views: ViewSpec) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    return {
        v.name: rng.random(v.shape, np.float32) * 9 - 3
        if v.kind == "samples"
        else rng.integers(0, 256, v.shape, np.uint8)
        for v in views
    }


def write(path: Path, parts: int, *views: ViewSpec, **options: Any) -> Path:
    writer = FootageWriter(path, a_session(*views), **options)
    for number in range(1, parts + 1):
        writer.part(*a_part(number), the_views(number, *(views or (GRAY,))))
    writer.close()
    return path


def messages(path: Path) -> dict[str, list[tuple[Any, Any, Message]]]:
    """(schema, channel, message) by topic, as a viewer's library reads them."""
    found: dict[str, list[Any]] = {}
    with path.open("rb") as file:
        for told in make_reader(file, validate_crcs=True).iter_messages():
            found.setdefault(told[1].topic, []).append(told)
    return found


def decoded(schema: Any, data: bytes) -> Any:
    """A protobuf message, by nothing but the description in the file."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(schema.data).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(schema.name)).FromString(data)


# ---- what stands in the file ----


def test_every_topic_has_the_schema_that_a_viewer_wants(tmp_path: Path) -> None:
    writer = FootageWriter(tmp_path / "a.mcap", a_session(*ALL_VIEWS))
    writer.part(*a_part(1), the_views(1, *ALL_VIEWS))
    writer.event("bad_frame", 1, "torn", STARTED_NS + 9)
    writer.close()
    found = messages(tmp_path / "a.mcap")
    told = {
        topic: (schema.name, schema.encoding, channel.message_encoding)
        for topic, ((schema, channel, _),) in found.items()
    }
    assert told == {
        "/camera/image": ("foxglove.RawImage", "protobuf", "protobuf"),
        "/camera/side": ("foxglove.RawImage", "protobuf", "protobuf"),
        "/samples/force": ("edge.Samples", "jsonschema", "json"),
        "/annotations": ("foxglove.ImageAnnotations", "protobuf", "protobuf"),
        "/decision": ("edge.Decision", "jsonschema", "json"),
        "/command": ("edge.Command", "jsonschema", "json"),
        "/timing": ("edge.Timing", "jsonschema", "json"),
        "/event": ("foxglove.Log", "protobuf", "protobuf"),
    }
    for ((schema, _, message),) in found.values():
        if schema.encoding == "protobuf":
            assert decoded(schema, message.data).IsInitialized()
        else:
            has_the_form_of(json.loads(schema.data), json.loads(message.data))


def has_the_form_of(schema: dict[str, Any], value: Any) -> None:
    """What Foxglove takes for a JSON schema, and that the value is of it; nothing is required."""
    kinds = {"integer": int, "number": (int, float), "string": str, "array": list, "object": dict}
    assert isinstance(value, kinds[schema["type"]])
    if schema["type"] == "object":
        assert set(value) <= set(schema["properties"])
        for name, inner in value.items():
            has_the_form_of(schema["properties"][name], inner)
    if schema["type"] == "array":
        for inner in value:
            has_the_form_of(schema["items"], inner)


@pytest.mark.parametrize("message", [m for _, m in JSON_TOPICS.values()] + [SamplesMessage])
def test_schemas_are_in_the_subset_that_foxglove_reads(message: type[msgspec.Struct]) -> None:
    """One type a field, objects with properties, arrays of one type, none of them arrays."""

    def check(schema: dict[str, Any], inside: str = "") -> None:
        assert schema["type"] in ("object", "array", "string", "integer", "number")
        assert set(schema) <= {"title", "type", "properties", "items"}
        if schema["type"] == "object":
            for inner in schema["properties"].values():
                check(inner, "object")
        elif schema["type"] == "array":
            assert inside == "object"
            check(schema["items"], "array")

    check(json.loads(schema_of(message)))


def test_pictures_are_kept_byte_by_byte(tmp_path: Path) -> None:
    found = messages(write(tmp_path / "a.mcap", 2, *ALL_VIEWS))
    for number, told in enumerate(found["/camera/image"], 1):
        image, wanted = decoded(told[0], told[2].data), the_views(number, *ALL_VIEWS)["image"]
        assert (image.encoding, image.width, image.height, image.step) == ("mono8", 32, 24, 32)
        assert image.data == wanted.tobytes()
    schema, _, message = found["/camera/side"][1]
    image = decoded(schema, message.data)
    assert (image.encoding, image.width, image.height, image.step) == ("bgr8", 12, 10, 36)
    assert image.data == the_views(2, *ALL_VIEWS)["side"].tobytes()


def test_samples_are_kept_channel_by_channel_to_the_bit(tmp_path: Path) -> None:
    _, _, message = messages(write(tmp_path / "a.mcap", 1, *ALL_VIEWS))["/samples/force"][0]
    channels = [c["values"] for c in json.loads(message.data)["channels"]]
    wanted = the_views(1, *ALL_VIEWS)["force"]
    assert np.array_equal(np.array(channels, np.float32).T, wanted)
    assert np.array(channels).shape == (2, 6)


def test_times_are_utc_and_the_stations_clock_stands_beside_them(tmp_path: Path) -> None:
    found = messages(write(tmp_path / "a.mcap", 1))
    at = {topic: (m.log_time, m.publish_time) for topic, ((_, _, m),) in found.items()}
    trigger_ns = STARTED_NS + 50_000_000
    for topic, after_ms in {
        "/camera/image": 0,
        "/annotations": 0,  # with the picture, so that the two are shown together
        "/decision": 13,
        "/command": 14,
        "/timing": 16,
    }.items():
        after_ns = after_ms * 1_000_000
        assert at[topic] == (UTC_NS + 50_000_000 + after_ns, trigger_ns + after_ns)
    schema, _, message = found["/camera/image"][0]
    assert decoded(schema, message.data).timestamp.ToNanoseconds() == UTC_NS + 50_000_000


def test_the_decision_is_drawn_on_the_picture(tmp_path: Path) -> None:
    schema, _, message = messages(write(tmp_path / "a.mcap", 1))["/annotations"][0]
    drawn = decoded(schema, message.data)
    assert [text.text for text in drawn.texts] == ["part 1 fail 0.100: reject", "31 px"]
    assert (drawn.texts[1].position.x, drawn.texts[1].position.y) == (2, 3)
    corners = [(p.x, p.y) for p in drawn.points[0].points]
    assert corners == [(2, 3), (12, 3), (12, 8), (2, 8)]
    assert drawn.points[0].type == 2  # a closed line
    colour = drawn.points[0].outline_color
    assert colour.r > colour.g


def test_a_region_says_its_type_and_with_a_scale_its_size(tmp_path: Path) -> None:
    session = msgspec.structs.replace(a_session(), mm_per_px=0.5)
    opened, closed = a_part(1)
    short = msgspec.structs.replace(closed.record.decision.regions[0], type="short")
    decision = msgspec.structs.replace(closed.record.decision, regions=(short,))
    record = msgspec.structs.replace(closed.record, decision=decision)
    writer = FootageWriter(tmp_path / "a.mcap", session)
    writer.part(opened, Closed(record, "kept", 0, 1), the_views(1, GRAY))
    writer.close()
    found = messages(tmp_path / "a.mcap")
    schema, _, message = found["/annotations"][0]
    assert decoded(schema, message.data).texts[1].text == "short 31 px, 7.75 mm2"
    told = json.loads(found["/decision"][0][2].data)
    assert told["regions"] == [
        {"x": 2, "y": 3, "width": 10, "height": 5, "area_px": 31, "peak": 0.7}
        | {"type": "short", "area_mm2": 7.75}
    ]
    schema = json.loads(found["/decision"][0][0].data)
    properties = schema["properties"]["regions"]["items"]["properties"]
    assert properties["type"] == {"type": "string"}
    assert properties["area_mm2"] == {"type": "number"}


def test_numbers_for_plots(tmp_path: Path) -> None:
    found = messages(write(tmp_path / "a.mcap", 1))
    timing = json.loads(found["/timing"][0][2].data)
    spans = {name: value for name, value in timing.items() if name.endswith("_ms")}
    assert spans == {
        "frame_ms": 1.0,
        "session_ms": 7.0,
        "decided_ms": 13.0,
        "frame_to_command_ms": 14.0,
        "latency_ms": 15.0,
    }
    command = json.loads(found["/command"][0][2].data)
    spans = {name: value for name, value in command.items() if name.endswith("_ms")}
    assert spans == {"sent_ms": 14.0, "received_ms": 15.0, "acked_ms": 16.0, "margin_ms": 35.0}


def test_a_part_without_picture_has_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = FootageWriter(path, a_session())
    for number, picture in enumerate(("kept", "lost", "none"), 1):
        writer.part(*a_part(number, picture), None)  # type: ignore[arg-type]
    writer.close()
    found = messages(path)
    told = [json.loads(m.data)["picture"] for _, _, m in found["/decision"]]
    assert told == ["lost", "lost", "none"]
    assert not {"/camera/image", "/annotations"} & set(found)


def test_events_are_lines_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = FootageWriter(path, a_session())
    writer.event("stall", 7, "10 ms", STARTED_NS + 5)
    writer.event("worker_ready", 0, "pid 3", STARTED_NS - 5)
    writer.close()
    told = [(decoded(s, m.data), m) for s, _, m in messages(path)["/event"]]
    lines = [(log.level, log.name, log.message, m.log_time) for log, m in told]
    assert lines == [  # in the order of their times
        (Log.INFO, "worker_ready", "pid 3", UTC_NS - 5),
        (Log.WARNING, "stall", "part 7: 10 ms", UTC_NS + 5),
    ]


def test_the_session_stands_first_and_says_whether_pictures_are_exact(tmp_path: Path) -> None:
    for codec, exact in (("raw", "yes"), ("jpeg", "no")):
        path = write(tmp_path / f"{codec}.mcap", 1, codec=codec)
        with path.open("rb") as file:
            kinds = [type(r).__name__ for r in StreamReader(file, emit_chunks=True).records]
            assert kinds[:3] == ["Header", "Metadata", "Chunk"]
            file.seek(0)
            (metadata,) = make_reader(file).iter_metadata()
        assert metadata.name == "edge.session"
        assert (metadata.metadata["format"], metadata.metadata["exact"]) == ("1", exact)
        told = msgspec.json.decode(metadata.metadata["session"], type=Session)
        assert told == a_session()


def test_jpeg(tmp_path: Path) -> None:
    sizes = []
    for quality in (50, 95):
        path = write(tmp_path / f"{quality}.mcap", 1, GRAY, COLOUR, codec="jpeg", quality=quality)
        schema, _, message = messages(path)["/camera/side"][0]
        assert schema.name == "foxglove.CompressedImage"
        image = CompressedImage.FromString(message.data)
        assert image.format == "jpeg"
        picture = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR_BGR)
        assert picture.shape == COLOUR.shape
        sizes.append(len(image.data))
    assert sizes[0] < sizes[1]


def chunks(path: Path) -> list[tuple[Chunk, set[int], set[int]]]:
    """Each chunk with the parts whose pictures, and whose records, are in it."""
    found = []
    with path.open("rb") as file:
        channels = make_reader(file).get_summary().channels  # type: ignore[union-attr]
        file.seek(0)
        for chunk in StreamReader(file, emit_chunks=True).records:
            if isinstance(chunk, Chunk):
                inside = [r for r in breakup_chunk(chunk, True) if isinstance(r, Message)]
                pictures = {
                    m.sequence for m in inside if "/camera/" in channels[m.channel_id].topic
                }
                records = {m.sequence for m in inside} - pictures
                found.append((chunk, pictures, records))
    return found


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_chunks_alternate_and_share_no_part(tmp_path: Path, compression: Any) -> None:
    """Pictures, then their records: what is cut off is the parts at the end, each as a whole."""
    path = tmp_path / "a.mcap"
    write(path, 10, GRAY, COLOUR, chunk_bytes=5000, compression=compression)
    found = chunks(path)
    assert len(found) > 4
    so_far = 0
    for (first, pictures, none), (second, nothing, records) in zip(
        found[::2], found[1::2], strict=True
    ):
        assert not none
        assert not nothing
        assert pictures == records == set(range(so_far + 1, so_far + 1 + len(records)))
        so_far += len(records)
        assert {first.compression, second.compression} == {compression}
        assert first.uncompressed_crc
        assert second.uncompressed_crc
        assert first.uncompressed_size < 5000 + 3000 + 14_000  # and the schemas
    assert so_far == 10
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    assert len(summary.chunk_indexes) == len(found)
    assert all(index.message_index_offsets for index in summary.chunk_indexes)


def test_flush_puts_everything_so_far_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = FootageWriter(path, a_session())
    empty = writer.size
    assert empty == path.stat().st_size > 0
    writer.part(*a_part(1), the_views(1, GRAY))
    assert writer.size == empty
    writer.flush(sync=True)
    assert writer.size == path.stat().st_size > empty
    before = writer.size
    writer.flush()
    assert writer.size == before
    writer.abandon()
    assert path.stat().st_size == before
    with pytest.raises(OSError, match="takes nothing more"):
        writer.flush()
    writer.close()


def test_an_empty_session_is_a_whole_file(tmp_path: Path) -> None:
    with write(tmp_path / "a.mcap", 0).open("rb") as file:
        reader = make_reader(file)
        assert reader.get_summary() is not None
        assert len(list(reader.iter_metadata())) == 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        FootageWriter(path, a_session())
    assert path.read_text() == "mine"


def test_options(tmp_path: Path) -> None:
    vast = ViewSpec("image", "picture", "uint8", (1 << 14, 1 << 14, 3))
    with pytest.raises(ValueError, match="would not be read again"):
        FootageWriter(tmp_path / "a.mcap", a_session(vast))
    with pytest.raises(ValueError, match="quality 0: 1 to 100"):
        FootageWriter(tmp_path / "a.mcap", a_session(), quality=0)
    with pytest.raises(ValueError, match="would not be read again"):
        FootageWriter(tmp_path / "a.mcap", a_session(), chunk_bytes=MOST_CHUNK_BYTES)
    assert not list(tmp_path.iterdir())


# ---- trouble ----

WRITING = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_footage_writer import GRAY, a_part, a_session, the_views
from edge.historian.footage import FootageWriter
{limit}
writer = FootageWriter(Path(sys.argv[1]), a_session(), chunk_bytes=3000)
number = 0
while True:
    number += 1
    try:
        writer.part(*a_part(number), the_views(number, GRAY))
    except OSError as why:
        writer.close()
        print(number, why.strerror, flush=True)
        break
    print(number, flush=True)
"""
LIMIT = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))
"""


def start(path: Path, limit: str = "") -> subprocess.Popen[str]:
    code = WRITING.format(tests=str(Path(__file__).parent), limit=limit)
    return subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )


def whole_parts(path: Path) -> tuple[list[int], int]:
    """The parts in a file without a footer, by the library alone, and the bytes after them."""
    parts, end = [], 0
    with path.open("rb") as file, suppress(McapError, struct.error):
        for record in StreamReader(file).records:
            end = file.tell()
            if isinstance(record, Message) and b'"cause"' in record.data:
                parts.append(record.sequence)
    return parts, path.stat().st_size - end


def test_a_killed_writer_leaves_its_whole_chunks(tmp_path: Path) -> None:
    process = start(tmp_path / "a.mcap")
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.send_signal(signal.SIGKILL)
    told = process.communicate()[0].split()
    last = max([20, *map(int, told)])
    parts, _ = whole_parts(tmp_path / "a.mcap")
    assert parts == list(range(1, len(parts) + 1))
    assert len(parts) >= last - 5  # 3000 bytes are three parts; it was killed in the midst of one


def test_a_full_disk_leaves_the_whole_chunks_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    told = start(path, LIMIT).communicate()[0].splitlines()
    number, *why = told[-1].split()
    assert "large" in " ".join(why)
    assert path.stat().st_size < 40_000
    parts, rest = whole_parts(path)
    assert rest == 0
    assert parts == list(range(1, len(parts) + 1))
    assert int(number) - 5 <= len(parts) < int(number)
    assert path.stat().st_size > 20_000


# ---- the messages of a part ----

_floats = st.floats(allow_nan=False)
_texts = st.text(max_size=8)
_limits = st.floats(allow_nan=False, allow_infinity=False)
_ints = st.integers(0, 2**62)
_regions = st.builds(Region, *[st.integers(0, 99999)] * 5, _floats, _texts)
_poses = st.builds(Pose, _texts, *[_floats] * 6)
_decisions = st.builds(
    Decision,
    st.just(3),
    st.sampled_from(Action),
    st.sampled_from(Cause),
    st.none() | st.sampled_from(Verdict),
    st.none() | st.sampled_from(Fault),
    st.none() | _floats,
    st.lists(_regions, max_size=3).map(tuple),
    _texts,
    st.none() | _poses,
)
_records = st.builds(
    PartRecord,
    st.just(3),
    _ints,
    st.builds(Deadline, _ints, _ints, _ints),
    _decisions,
    frame_ns=_ints,
    stamps=st.builds(Stamps, _ints, _ints, _ints, _ints),
    answered_ns=_ints,
    decided_ns=_ints,
    sent_ns=_ints,
    command_id=_ints,
    received_ns=_ints,
    acked_ns=_ints,
    applied=st.none() | st.sampled_from(Action),
    late_score=st.none() | _floats,
    encoder=st.none() | st.integers(-(2**60), 2**60),
    serving=st.none()
    | st.builds(
        Serving,
        _texts,
        st.just("") | _texts,
        _texts,
        _texts,
        st.integers(1, 64),
        _texts,
        _limits,
        _limits,
        st.none() | _limits,
        st.lists(_texts, max_size=3).map(tuple),
    ),
    registration_ns=_ints,
)


@settings(max_examples=150, deadline=None)
@given(_records, st.sampled_from(["", "good", "defect"]), _texts)
def test_a_record_comes_back_to_the_last_bit(record: PartRecord, truth: str, kind: str) -> None:
    opened = Opened(3, record.number, record.encoder, record.deadline, truth, kind)
    session = a_session()
    told = messages_of(opened, record, "lost", session)
    again: Any = tuple(
        msgspec.json.decode(msgspec.json.encode(message), type=type(message)) for message in told
    )
    part = part_of(PartMessages(again), session)
    if record.serving is None:  # nobody said: as the session began
        record = msgspec.structs.replace(record, serving=served(None, session))
    assert (part.opened, part.record, part.picture) == (opened, record, "lost")
    assert msgspec.msgpack.encode(part.record) == msgspec.msgpack.encode(record)  # and -0.0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, None),
        ({"provider": "openvino"}, {"provider": "openvino"}),
        ({"content_sha256": "d" * 64}, {"content_sha256": "d" * 64, "version": "2"}),
    ],
)
def test_a_part_says_what_served_it_only_where_that_differs(
    changed: dict[str, Any], told: Any
) -> None:
    session, (opened, closed) = a_session(), a_part(3)
    serving = msgspec.structs.replace(served(None, session), version="2", **changed)
    record = msgspec.structs.replace(closed.record, serving=serving)
    decision, *_ = messages_of(opened, record, "kept", session)
    assert msgspec.to_builtins(decision).get("served") == told


def test_footage_from_before_registration_was_told_is_read() -> None:
    """Nothing is written where nothing was registered, and then nothing is missed."""
    session, (opened, closed) = a_session(), a_part(3)
    for took_ns in (0, 1_900_000):
        record = msgspec.structs.replace(closed.record, registration_ns=took_ns)
        decision, command, timing = messages_of(opened, record, "kept", session)
        told = msgspec.json.encode(timing)
        assert (b"registration_ns" in told) is bool(took_ns)
        again = msgspec.json.decode(told, type=type(timing))
        assert part_of((decision, command, again), session).record.registration_ns == took_ns


def test_every_field_of_a_record_is_in_the_messages() -> None:
    """A field that is added to the vocabulary must be added to footage too."""
    told = {
        PartRecord: 17,
        Serving: 10,
        Decision: 9,
        Deadline: 3,
        Stamps: 4,
        Region: 7,
        Pose: 7,
        Opened: 6,
    }
    assert {kind: len(kind.__struct_fields__) for kind in told} == told
