"""Turns into rows: pooled over the rounds, beside the bare session."""

from __future__ import annotations

import pytest

from bench.peers.figures import Taken, remarks, rows
from bench.peers.turn import Turn

BARE, PEER, GONE = ("bare", "session.run"), ("peer", "loop"), ("peer", "app")


def turn(samples_ms: list[float], scores: list[float], rate: float = 100.0) -> Turn:
    return Turn(
        timed="a call",
        versions={"peer": "1.2"},
        samples_ms=samples_ms,
        parts_per_s=rate,
        scores=scores,
        remark=f"{len(samples_ms)} seen",
    )


def test_parts_of_all_rounds_count_alike_and_the_rate_is_of_the_time_they_took():
    taken = {
        BARE: Taken([turn([2.0] * 4, [0.1, 0.9])]),
        PEER: Taken([turn([1.0] * 30, [0.1, 0.9], 300.0), turn([9.0] * 10, [0.1, 0.9], 50.0)]),
    }
    bare, peer = rows(taken, BARE)
    assert (bare.ratio_to_bare, bare.score_difference) == (1.0, 0.0)
    assert (peer.p50_ms, peer.p99_ms, peer.max_ms) == (1.0, 9.0, 9.0)
    assert peer.round_p50_ms == [1.0, 9.0]
    assert (peer.parts, peer.ratio_to_bare) == (40, 0.5)
    assert peer.parts_per_s == pytest.approx(40 / (30 / 300.0 + 10 / 50.0))
    assert remarks([bare, peer]) == ["bare session.run: 4 seen", "peer loop: 10 seen"]


def test_the_score_difference_is_the_largest_over_what_both_showed():
    taken = {
        PEER: Taken([turn([1.0], [0.5, 0.25])]),
        BARE: Taken([turn([2.0], [0.5, 0.5, 0.9])]),
    }
    peer, bare = rows(taken, BARE)
    assert (peer.score_difference, peer.scores_compared) == (0.25, 2)
    assert (bare.score_difference, bare.scores_compared) == (0.0, 3)


def test_who_shows_no_scores_or_has_no_limit_to_compare_with_has_none():
    (peer,) = rows({PEER: Taken([turn([1.0], [])])}, BARE)
    assert peer.p50_ms == 1.0
    assert (peer.ratio_to_bare, peer.score_difference) == (None, None)


def test_who_took_no_turn_is_a_row_with_the_reason_and_no_figure():
    taken = {BARE: Taken([], "fell over"), GONE: Taken([], "does not install"), PEER: Taken([])}
    bare, gone, peer = rows(taken, BARE)
    assert (bare.reason, gone.reason, peer.reason) == (
        "fell over",
        "does not install",
        "took no turn",
    )
    assert all(row.p50_ms is None and row.parts == 0 for row in (bare, gone, peer))
