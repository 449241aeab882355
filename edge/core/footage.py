"""Footage: what a recorded part looks like in an MCAP file, for its writer and its reader.

Pictures travel as Foxglove's own messages. What the station did is JSON with a schema: /decision,
/command and /timing of a part together hold its whole record. A file's order, for it to be cut
anywhere: the session first; then, again and again, a chunk of pictures and after it a chunk with
what became of those parts. A part whose record is there has its pictures before it.

Numbers are stored as JSON numbers, which keep a float to its last bit. One that is not finite, and
so has no JSON number, is the text nan, inf or -inf.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import inspect

from edge.core.history import Opened, Picture, Session, Swapped, served, swapped
from edge.core.regions import SizedRegion, sized
from edge.core.types import (
    Action,
    Cause,
    Deadline,
    Decision,
    Fault,
    PartRecord,
    Pose,
    Region,
    Stamps,
    Verdict,
    ViewSpec,
)

FORMAT = "1"
# The file's metadata: format, exact (yes or no), session (a Session as JSON) and its crc32 in hex.
SESSION = "edge.session"
CAMERA, SAMPLES = "/camera/", "/samples/"  # a view's name follows
ANNOTATIONS, EVENT = "/annotations", "/event"
SAMPLES_SCHEMA = "edge.Samples"

# Of a chunk, before compression. Ours have 1 MiB, or a single part.
MOST_CHUNK_BYTES = 256 << 20

Number = float | str


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One JSON message of a part; what is not known is left out."""

    part: int


class RegionMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A `Region`, in pixels of the first picture view; area_mm2 where the station has a scale."""

    x: int
    y: int
    width: int
    height: int
    area_px: int
    peak: Number
    type: str = ""
    area_mm2: float | None = None


class PoseMessage(msgspec.Struct, frozen=True):
    """A `Pose`: millimetres and degrees."""

    frame: str
    x_mm: Number
    y_mm: Number
    z_mm: Number
    rx_deg: Number
    ry_deg: Number
    rz_deg: Number


class DecisionMessage(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided about a part, and what is known of it.

    served: what judged it, or would have, as far as that is not what the session began with.
    """

    number: int
    action: Action
    cause: Cause
    picture: Picture
    verdict: Verdict | None = None
    fault: Fault | None = None
    score: Number | None = None
    late_score: Number | None = None
    truth: str = ""
    defect_type: str = ""
    detail: str = ""
    encoder: int | None = None
    regions: tuple[RegionMessage, ...] = ()
    pose: PoseMessage | None = None
    served: Swapped | None = None


class CommandMessage(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the part's command; *_ms count from the trigger, margin_ms to act_by."""

    command_id: int
    act_by_ns: int
    sent_ns: int
    received_ns: int
    acked_ns: int
    applied: Action | None = None
    sent_ms: float | None = None
    received_ms: float | None = None
    acked_ms: float | None = None
    margin_ms: float | None = None


class TimingMessage(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The part's instants on the station's clock; *_ms are spans between them.

    latency_ms: trigger to command received, of a verdict in time; session_ms: the model alone.
    registration_ns: how long the part's references took to register, before frame_ns.
    """

    trigger_ns: int
    decide_by_ns: int
    frame_ns: int
    worker_received_ns: int
    worker_started_ns: int
    worker_ended_ns: int
    worker_sent_ns: int
    answered_ns: int
    decided_ns: int
    registration_ns: int = 0
    frame_ms: float | None = None
    session_ms: float | None = None
    decided_ms: float | None = None
    frame_to_command_ms: float | None = None
    latency_ms: float | None = None


class Channel(msgspec.Struct, frozen=True):
    """One channel of a window of samples; null stands for a sample that is not finite."""

    values: list[float | None]


class SamplesMessage(Message, frozen=True, kw_only=True):
    """A window of samples, channel by channel; a float32 is kept to its last bit."""

    channels: list[Channel]


PartMessages = tuple[DecisionMessage, CommandMessage, TimingMessage]
JSON_TOPICS: dict[str, tuple[str, type[Message]]] = {  # topic: (schema's name, message)
    "/decision": ("edge.Decision", DecisionMessage),
    "/command": ("edge.Command", CommandMessage),
    "/timing": ("edge.Timing", TimingMessage),
}


class RecordedPart(msgspec.Struct, frozen=True):
    """A part of a recording: what was told at its trigger, and at its end."""

    opened: Opened
    record: PartRecord
    picture: Picture

    @property
    def has_picture(self) -> bool:
        return self.picture == "kept"


def messages_of(
    opened: Opened, record: PartRecord, picture: Picture, session: Session
) -> PartMessages:
    """A finished part of a session as its three messages."""
    decision = _decision(opened, record, picture, session)
    return decision, _command(record), _timing(record)


def part_of(messages: PartMessages, session: Session) -> RecordedPart:
    """The part that `messages_of` was given; ValueError where a number's text is not one.

    Its record names what served it, where the messages do not: what the session began with.
    """
    told, command, timing = messages
    deadline = Deadline(timing.trigger_ns, timing.decide_by_ns, command.act_by_ns)
    decision = Decision(
        part=told.part,
        action=told.action,
        cause=told.cause,
        verdict=told.verdict,
        fault=told.fault,
        score=_maybe(told.score),
        regions=tuple(_region(region) for region in told.regions),
        detail=told.detail,
        pose=None if told.pose is None else _pose(told.pose),
    )
    record = PartRecord(
        part=told.part,
        number=told.number,
        deadline=deadline,
        decision=decision,
        frame_ns=timing.frame_ns,
        stamps=Stamps(
            timing.worker_received_ns,
            timing.worker_started_ns,
            timing.worker_ended_ns,
            timing.worker_sent_ns,
        ),
        answered_ns=timing.answered_ns,
        decided_ns=timing.decided_ns,
        sent_ns=command.sent_ns,
        command_id=command.command_id,
        received_ns=command.received_ns,
        acked_ns=command.acked_ns,
        applied=command.applied,
        late_score=_maybe(told.late_score),
        encoder=told.encoder,
        serving=served(told.served, session),
        registration_ns=timing.registration_ns,
    )
    opened = Opened(told.part, told.number, told.encoder, deadline, told.truth, told.defect_type)
    return RecordedPart(opened, record, told.picture)


def topic_of(view: ViewSpec) -> str:
    """The topic of a view: /camera/NAME, or /samples/NAME."""
    return f"{SAMPLES if view.kind == 'samples' else CAMERA}{view.name}"


def utc_ns(session: Session, at_ns: int) -> int:
    """An instant of the station's clock in UTC, which is the time line of the file."""
    return max(0, session.started_utc_ns + at_ns - session.started_ns)


def _decision(
    opened: Opened, record: PartRecord, picture: Picture, session: Session
) -> DecisionMessage:
    decision = record.decision
    return DecisionMessage(
        part=record.part,
        number=record.number,
        action=decision.action,
        cause=decision.cause,
        picture=picture,
        verdict=decision.verdict,
        fault=decision.fault,
        score=_number(decision.score),
        late_score=_number(record.late_score),
        truth=opened.truth,
        defect_type=opened.defect_type,
        detail=decision.detail,
        encoder=record.encoder,
        regions=tuple(map(_region_message, sized(decision.regions, session.mm_per_px))),
        pose=None if decision.pose is None else _pose_message(decision.pose),
        served=swapped(record.serving, session),
    )


def _command(record: PartRecord) -> CommandMessage:
    trigger_ns, act_by_ns = record.deadline.trigger_ns, record.deadline.act_by_ns
    return CommandMessage(
        part=record.part,
        command_id=record.command_id,
        act_by_ns=act_by_ns,
        sent_ns=record.sent_ns,
        received_ns=record.received_ns,
        acked_ns=record.acked_ns,
        applied=record.applied,
        sent_ms=_span_ms(trigger_ns, record.sent_ns),
        received_ms=_span_ms(trigger_ns, record.received_ns),
        acked_ms=_span_ms(trigger_ns, record.acked_ns),
        margin_ms=_span_ms(record.received_ns, act_by_ns) if record.received_ns else None,
    )


def _timing(record: PartRecord) -> TimingMessage:
    trigger_ns, stamps = record.deadline.trigger_ns, record.stamps
    in_time = record.decision.cause is Cause.VERDICT
    received_ns = record.received_ns if in_time else 0
    return TimingMessage(
        part=record.part,
        trigger_ns=trigger_ns,
        decide_by_ns=record.deadline.decide_by_ns,
        frame_ns=record.frame_ns,
        worker_received_ns=stamps.received_ns,
        worker_started_ns=stamps.started_ns,
        worker_ended_ns=stamps.ended_ns,
        worker_sent_ns=stamps.sent_ns,
        answered_ns=record.answered_ns,
        decided_ns=record.decided_ns,
        registration_ns=record.registration_ns,
        frame_ms=_span_ms(trigger_ns, record.frame_ns),
        session_ms=_span_ms(stamps.started_ns, stamps.ended_ns),
        decided_ms=_span_ms(trigger_ns, record.decided_ns),
        frame_to_command_ms=_span_ms(record.frame_ns, received_ns) if record.frame_ns else None,
        latency_ms=_span_ms(trigger_ns, received_ns),
    )


def _span_ms(start_ns: int, end_ns: int) -> float | None:
    """None where the later instant never came."""
    return (end_ns - start_ns) / 1e6 if end_ns else None


def _text(value: float) -> Number:
    return value if math.isfinite(value) else str(value)


def _number(value: float | None) -> Number | None:
    return None if value is None else _text(value)


def _maybe(value: Number | None) -> float | None:
    return None if value is None else float(value)


def _region_message(one: SizedRegion) -> RegionMessage:
    box = one.x, one.y, one.width, one.height
    return RegionMessage(*box, one.area_px, _text(one.peak), one.type, one.area_mm2)


def _region(told: RegionMessage) -> Region:
    box = told.x, told.y, told.width, told.height
    return Region(*box, told.area_px, float(told.peak), told.type)


def _pose_message(pose: Pose) -> PoseMessage:
    values = (pose.x_mm, pose.y_mm, pose.z_mm, pose.rx_deg, pose.ry_deg, pose.rz_deg)
    return PoseMessage(pose.frame, *map(_text, values))


def _pose(told: PoseMessage) -> Pose:
    values = (told.x_mm, told.y_mm, told.z_mm, told.rx_deg, told.ry_deg, told.rz_deg)
    return Pose(told.frame, *map(float, values))


# ---- schemas ----


def schema_of(message: type[msgspec.Struct]) -> bytes:
    """A message's JSON Schema in the subset that Foxglove reads.

    It takes one type a field: no alternatives, no references, no null; an optional field is one
    that is not required.
    """
    return msgspec.json.encode({"title": message.__name__, **_schema(inspect.type_info(message))})


def _schema(info: inspect.Type) -> dict[str, Any]:
    match info:
        case inspect.StructType():
            return {
                "type": "object",
                "properties": {field.name: _schema(field.type) for field in info.fields},
            }
        case inspect.VarTupleType() | inspect.ListType():
            return {"type": "array", "items": _schema(info.item_type)}
        case inspect.UnionType():  # of a type with its absence, or a number with its text
            return _schema(min(info.types, key=_rank))
        case inspect.IntType():
            return {"type": "integer"}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.StrType() | inspect.EnumType() | inspect.LiteralType():
            return {"type": "string"}
        case _:
            raise TypeError(f"{info}: not a type of these messages")


def _rank(info: inspect.Type) -> int:
    return 2 if isinstance(info, inspect.NoneType) else int(isinstance(info, inspect.StrType))
