"""Wire version 1: golden bytes, bounds, and hostile input."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control import wire
from edge.core.errors import WireError
from edge.core.types import Action

# Each message once, as it stands on the wire. A change here is a new protocol version.
GOLDEN = {
    wire.Expect(
        session=5, seq=1, stamp_ns=9, part=3, trigger_no=3, default=Action.REJECT, ttl_ns=50
    ): "88a174a6657870656374a47061727403aa747269676765725f6e6f03a764656661756c74a672656a656374a6"
    "74746c5f6e7332a773657373696f6e05a373657101a87374616d705f6e7309",
    wire.Command(
        session=5, seq=2, stamp_ns=9, part=3, action=Action.ACCEPT, ttl_ns=5, reason="verdict"
    ): "88a174a7636f6d6d616e64a47061727403a6616374696f6ea6616363657074a674746c5f6e7305a672656173"
    "6f6ea776657264696374a773657373696f6e05a373657102a87374616d705f6e7309",
    wire.Command(
        session=5,
        seq=2,
        stamp_ns=9,
        part=3,
        action=Action.REJECT,
        ttl_ns=5,
        reason="verdict",
        regions=((8, 16, 24, 8, 192),),
        region_types=("short",),
    ): "8aa174a7636f6d6d616e64a47061727403a6616374696f6ea672656a656374a674746c5f6e7305a672656173"
    "6f6ea776657264696374a7726567696f6e73919508101808ccc0ac726567696f6e5f747970657391a573686f72"
    "74a773657373696f6e05a373657102a87374616d705f6e7309",
}
EVERY = [
    wire.Hello(protocol=1, boot="b", rest="pass", part_sensor=True, capabilities=("pose",)),
    wire.Welcome(boot="b", protocol=1, beat_ns=1, lost_ns=2, echo_stamp_ns=3, echo_received_ns=4),
    wire.Expect(part=1, trigger_no=1, default=Action.HOLD, ttl_ns=1, at=wire.Place("count", 9)),
    wire.Command(
        part=1,
        action=Action.REWORK,
        ttl_ns=1,
        reason="verdict",
        pose=wire.Pose("belt", 1, 2, 3, 4, 5, 6),
        regions=((1, 2, 3, 4, 5),),
        region_types=("short",),
    ),
    wire.Ack(part=1, state="late", action=Action.REJECT, counts={Action.REJECT: 2}),
    wire.Done(part=1, ok=False),
    wire.Confirm(part=1, left_as=Action.REJECT),
    wire.Unexpected(own_part_count=4),
    wire.State(gripper="open", part=1),
    wire.Beat(echo_stamp_ns=1, echo_received_ns=2, counts={Action.ACCEPT: 1}),
    wire.Bye(reason="over"),
    wire.Tick(now_ns=5),
]


@pytest.mark.parametrize("message", EVERY, ids=lambda m: type(m).__name__)
def test_every_message_comes_back_as_it_was(message):
    assert wire.decode(wire.encode(message)) == message


def test_every_message_type_is_tested():
    assert {type(m) for m in EVERY} == set(wire.AnyMessage.__args__)


@pytest.mark.parametrize(("message", "golden"), GOLDEN.items(), ids=lambda v: type(v).__name__)
def test_golden_bytes(message, golden):
    assert wire.encode(message).hex() == golden


class OlderCommand(msgspec.Struct, tag_field="t", tag="command"):
    """What a controller of before types reads of a command."""

    part: int
    action: Action
    regions: tuple[tuple[int, int, int, int, int], ...] = ()


def command(*regions, types):
    return wire.Command(
        part=1 << 62,
        action=Action.REJECT,
        ttl_ns=5,
        reason="verdict",
        regions=regions,
        region_types=types,
    )


def test_a_command_with_types_is_read_by_a_controller_of_before():
    told = command((8, 16, 24, 8, 192), (0, 0, 8, 8, 64), types=("short", ""))
    read = msgspec.msgpack.decode(wire.encode(told), type=OlderCommand)
    assert read.regions == told.regions


def test_64_regions_with_types_of_any_length_fit_a_message():
    told = command(*[(65535,) * 4 + (1 << 32,)] * 64, types=("x" * 200,) * 64)
    assert wire.decode(wire.encode(told)) == told


def test_too_long_is_refused_before_it_is_read():
    with pytest.raises(WireError, match="at most 65536"):
        wire.decode(bytes(wire.MAX_BYTES + 1))


@pytest.mark.parametrize(
    "tree",
    [
        {"t": "fire"},
        {"part": 1},
        {"t": "ack", "part": 1, "state": "done", "action": "accept"},
        {"t": "ack", "part": 1, "state": "applied", "action": "explode"},
        {"t": "ack", "part": "1", "state": "applied", "action": "accept"},
        {"t": "bye", "reason": "x" * 201},
        {"t": "command", "part": 1, "action": "accept", "ttl_ns": 1, "reason": "",
         "regions": [[1, 2, 3, 4, 5]] * 65},
        {"t": "command", "part": 1, "action": "accept", "ttl_ns": 1, "reason": "",
         "region_types": ["a"] * 65},
        [1, 2],
    ],
)  # fmt: skip
def test_what_is_not_a_message_is_refused(tree):
    with pytest.raises(WireError, match="refused"):
        wire.decode(msgspec.msgpack.encode(tree))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_do_more_than_raise_wire_error(data):
    with contextlib.suppress(WireError):
        wire.decode(data)


@given(st.sampled_from(EVERY), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_message_never_does_more_than_raise_wire_error(message, at, value):
    data = bytearray(wire.encode(message))
    data[at % len(data)] = value
    with contextlib.suppress(WireError):
        wire.decode(bytes(data))
