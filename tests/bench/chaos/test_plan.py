"""The plan of a chaos run, and the network that loses acks."""

from collections import Counter
from itertools import pairwise

import pytest

from bench.chaos.network import AckLoser
from bench.chaos.plan import BURST, KINDS, draw
from control.wire import Ack, Beat, encode
from edge.core.types import Action

PICTURES = tuple(range(1, 30))


def test_the_same_seed_is_the_same_plan_and_every_kind_comes_often_enough():
    plan = draw(20_000, 0.0, 7, "x", PICTURES)
    assert plan == draw(20_000, 0.0, 7, "x", PICTURES)
    assert plan != draw(20_000, 0.0, 8, "x", PICTURES)
    counts = Counter(one.kind for one in plan.injections)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 50


def test_injections_do_not_overlap_and_lie_within_the_run():
    plan = draw(2_000, 0.0, 1, "x", PICTURES)
    parts = [one.part for one in plan.injections]
    assert parts == sorted(parts)
    gaps = [after - before for before, after in pairwise(parts)]
    assert min(gaps) > BURST
    assert parts[-1] <= 2_000


def test_two_parts_in_a_row_never_show_the_same_picture():
    plan = draw(200, 0.0, 1, "x", PICTURES)
    assert all(plan.picture(part) != plan.picture(part + 1) for part in range(1, 200))


def frame(body: bytes) -> bytes:
    if len(body) < 256:
        return bytes([0, len(body)]) + body
    return b"\x02" + len(body).to_bytes(8, "big") + body


@pytest.mark.parametrize("portion", [1, 7, 10_000])
def test_only_the_chosen_final_ack_is_lost_however_the_bytes_are_cut(portion):
    greeting, ready = bytes(64), b"\x04\x05ready"
    armed = encode(Ack(part=3, state="armed", action=Action.REJECT))
    final = encode(Ack(part=3, state="applied", action=Action.REJECT, counts={Action.REJECT: 1}))
    other = encode(Ack(part=4, state="applied", action=Action.REJECT))
    beat, long = encode(Beat()), bytes(300)
    stream = greeting + ready + b"".join(map(frame, (armed, final, beat, other, long)))
    loser, out = AckLoser(lambda part: part == 3), b""
    for start in range(0, len(stream), portion):
        out += loser.pass_on(stream[start : start + portion])
    assert out == greeting + ready + b"".join(map(frame, (armed, beat, other, long)))
