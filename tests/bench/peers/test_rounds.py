"""Who takes turns, in which order, and what a failure leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.peers.__main__ import BARE, chosen, in_turns
from bench.peers.roster import NAMES, ROSTER, Peer, Work
from bench.peers.turn import Turn, UnavailableError
from edge.core.errors import EdgeError

TURN = Turn(timed="a call", versions={}, samples_ms=[1.0], parts_per_s=1.0)


def work(said: list[str]) -> Work:
    return Work(Path("m.onnx"), Path("f.npz"), 10, Path(), said.append)


def test_each_peer_once_a_round_and_another_one_first_each_time():
    order: list[str] = []

    def take(name: str, variant: str, work: Work) -> Turn:
        order.append(name)
        return TURN

    taken = in_turns([Peer(name, "", take) for name in "abc"], work([]), 4)
    assert "".join(order) == "abcbcacababc"
    assert list(taken) == [("a", ""), ("b", ""), ("c", "")]
    assert all(len(one.turns) == 4 for one in taken.values())


def test_who_fails_once_is_left_out_with_its_reason_and_without_figures():
    calls, said = [], []

    def fails_later(name: str, variant: str, work: Work) -> Turn:
        calls.append(name)
        if len(calls) > 1:
            raise UnavailableError("fell over")
        return TURN

    peers = [Peer("a", "x", fails_later), Peer("b", "x", lambda *_: TURN)]
    taken = in_turns(peers, work(said), 5)
    assert len(calls) == 2
    assert taken["a", "x"].turns == []
    assert taken["a", "x"].reason == "fell over"
    assert len(taken["b", "x"].turns) == 5
    assert said == ["a x: fell over"]


def test_the_bare_session_always_takes_part_and_an_unknown_name_is_one_line():
    assert chosen([]) == list(ROSTER)
    assert [peer.name for peer in chosen(["openvino"])] == ["bare", "openvino", "openvino"]
    assert BARE in [(peer.name, peer.variant) for peer in ROSTER]
    with pytest.raises(EdgeError, match="torch: no peer; allowed: bare, station, onnx"):
        chosen(["torch"])
    assert NAMES == ("bare", "station", "onnxruntime", "openvino", "anomalib", "roboflow")
