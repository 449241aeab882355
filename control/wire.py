"""Wire version 1: the messages between a station and its controllers, as msgpack maps.

docs/wire.md is the same table for people who write a controller in another language. Every
message carries the session, a sequence number and the sender's own clock at sending. Sizes
are bounded before anything is decoded, and nothing executable is ever decoded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge.core.errors import WireError
from edge.core.types import Action, Pose

PROTOCOL = 1
MAX_BYTES = 65_536

Short = Annotated[str, Meta(max_length=200)]
Role = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,39}$")]
Rest = Literal["reject", "pass"]
AckState = Literal["armed", "applied", "refused", "late"]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """session: of the station's start, 0 before Welcome; stamp_ns: the sender's clock."""

    session: int = 0
    seq: int = 0
    stamp_ns: int = 0


class Hello(Message, frozen=True, tag="hello"):
    """Controller to station: who I am, and what a part does if I do nothing.

    capabilities: done | confirm | state (messages I send), rework | pose (what I can obey).
    """

    protocol: int
    boot: Short
    role: Role = "disposition"
    rest: Rest = "reject"
    part_sensor: bool = False
    line_stop: bool = False
    simulated: bool = False
    host: Short = ""
    capabilities: Annotated[tuple[Short, ...], Meta(max_length=32)] = ()


class Welcome(Message, frozen=True, tag="welcome"):
    """Station to controller, the only way into a session; answers the Hello's stamp."""

    boot: Short
    protocol: int
    beat_ns: int
    lost_ns: int
    echo_stamp_ns: int
    echo_received_ns: int


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to act, from the trigger on: nanoseconds, or counts of the controller's encoder."""

    unit: Literal["ns", "count"] = "ns"
    value: int = 0


class Expect(Message, frozen=True, tag="expect"):
    """Station to controller at the trigger: this part gets `default` unless I prove otherwise."""

    part: int
    trigger_no: int
    default: Action
    ttl_ns: int
    at: Place = Place()


class Command(Message, frozen=True, tag="command"):
    """Station to controller, once a part; void after stamp_ns + ttl_ns."""

    part: int
    action: Action
    ttl_ns: int
    reason: Short
    at: Place = Place()
    pose: Pose | None = None
    regions: Annotated[tuple[tuple[int, int, int, int, int], ...], Meta(max_length=64)] = ()
    # Of each region in its place, "" unknown; absent where the package knows no types. Not a sixth
    # number of a region: a controller of before would refuse the whole message.
    region_types: Annotated[tuple[Short, ...], Meta(max_length=64)] = ()


class Ack(Message, frozen=True, tag="ack"):
    """Controller to station: what became of a part; counts are cumulative in this session."""

    part: int
    state: AckState
    action: Action
    received_ns: int = 0
    own_part_count: int = 0
    counts: Annotated[dict[Action, int], Meta(max_length=4)] = {}


class Done(Message, frozen=True, tag="done"):
    """Controller to station: the movement for a part has ended."""

    part: int
    ok: bool


class Confirm(Message, frozen=True, tag="confirm"):
    """Controller to station: a sensor saw where the part went."""

    part: int
    left_as: Action


class Unexpected(Message, frozen=True, tag="unexpected"):
    """Controller to station: a part passed my sensor without an Expect; it was rejected."""

    own_part_count: int


class State(Message, frozen=True, tag="state"):
    """Controller to anyone who listens: its own pose, gripper and part held."""

    pose: Pose | None = None
    gripper: Short = ""
    part: int = 0


class Beat(Message, frozen=True, tag="beat"):
    """Both ways: alive, with the other side's last stamp and when it was received.

    hold, from the station: feed no further part (`hold_line`). A level and not an event, so
    that a lost message cannot leave a line running that should stand.
    """

    echo_stamp_ns: int = 0
    echo_received_ns: int = 0
    counts: Annotated[dict[Action, int], Meta(max_length=4)] = {}
    hold: bool = False


class Bye(Message, frozen=True, tag="bye"):
    """Both ways: this session is over for me; parts still open get their default."""

    reason: Short = ""


class Tick(Message, frozen=True, tag="tick"):
    """Station to a simulated arm: your clock is now `now_ns`. Any other controller refuses it."""

    now_ns: int


AnyMessage = (
    Hello
    | Welcome
    | Expect
    | Command
    | Ack
    | Done
    | Confirm
    | Unexpected
    | State
    | Beat
    | Bye
    | Tick
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes | memoryview) -> AnyMessage:
    """The message, or WireError: too long, not msgpack, an unknown type, a bad value."""
    if len(data) > MAX_BYTES:
        raise WireError(f"message of {len(data)} bytes; at most {MAX_BYTES}")
    try:
        message: AnyMessage = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"message refused: {error}") from None
    return message
