"""When a tail is proven, when a trial may stop, and what its figures say."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.bounds import rank_above
from edge.core.clock import NS_PER_MS
from models.rated import FULL_RUNS, HOPELESS_RUNS, LOOKS, Rated, next_look, timed, upper_ms


@pytest.mark.parametrize(
    ("share", "count", "tail", "rank"),
    [
        (0.99, 298, 0.05, None),  # even all of 298 lie below it once in twenty: 0.99 ** 298
        (0.99, 299, 0.05, 299),
        (0.99, 5000, 0.05, 4962),
        (0.99, 458, 0.01, None),
        (0.99, 459, 0.01, 459),
        (0.5, 10, 0.05, 9),
        (0.99, 0, 0.05, None),
    ],
)
def test_the_rank_of_an_exact_bound(share, count, tail, rank):
    assert rank_above(share, count, tail) == rank


def test_the_bound_holds_as_often_as_it_says():
    random, held = np.random.default_rng(1), 0
    rank = rank_above(0.99, 1000)
    for _ in range(1000):
        held += np.sort(random.exponential(size=1000))[rank - 1] >= -np.log(0.01)
    assert 0.94 <= held / 1000 <= 0.99


def steady(count, ms=2.0):
    return [round(ms * NS_PER_MS)] * count


@pytest.mark.parametrize(
    ("taken", "budget_ms", "thorough", "look"),
    [
        ([], 10.0, False, HOPELESS_RUNS),
        (steady(HOPELESS_RUNS, ms=11.0), 10.0, False, HOPELESS_RUNS),  # never within it
        (steady(HOPELESS_RUNS, ms=11.0), 10.0, True, HOPELESS_RUNS),
        (steady(HOPELESS_RUNS), 10.0, False, LOOKS[0]),
        (steady(LOOKS[0]), 10.0, False, LOOKS[0]),  # proven
        (steady(LOOKS[0]), 10.0, True, LOOKS[1]),
        (steady(LOOKS[0] - 9) + steady(9, ms=20.0), 10.0, False, LOOKS[1]),  # not yet
        (steady(FULL_RUNS), 10.0, True, FULL_RUNS),
        ([], None, False, FULL_RUNS),  # no budget, no reason to stop
    ],
)
def test_how_many_runs_are_timed_before_the_next_look(taken, budget_ms, thorough, look):
    assert next_look(taken, budget_ms, FULL_RUNS, thorough=thorough) == look


def test_a_trial_of_few_runs_is_never_longer_than_asked():
    assert next_look([], 10.0, 7) == 7
    assert next_look(steady(7), 10.0, 7) == 7
    assert next_look([], 10.0, 0) == 0


def test_figures_of_the_runs():
    taken_ns = [round(ms * NS_PER_MS) for ms in np.linspace(1.0, 2.0, FULL_RUNS)]
    figures = timed(taken_ns[::-1])
    assert figures["runs"] == FULL_RUNS
    assert figures["p50_ms"] == pytest.approx(1.5, abs=1e-3)
    assert figures["p99_ms"] == pytest.approx(1.99, abs=1e-3)
    assert figures["p99_ms"] < figures["p99_upper_ms"] < figures["p999_ms"] < 2.0
    few = timed(taken_ns[:100])
    assert (few["p99_upper_ms"], few["p999_ms"]) == (None, None)
    assert timed([]) == {}
    assert upper_ms(sorted(taken_ns)) == pytest.approx(figures["p99_upper_ms"], abs=1e-3)


@pytest.mark.parametrize(
    ("figures", "budget_ms", "words", "settled"),
    [
        ({"p99_ms": 5.0, "p99_upper_ms": 6.0}, 6.0, "", True),
        ({"p99_ms": 5.0, "p99_upper_ms": 6.0}, 5.5, "p99 5.00 ms in 500 runs, below 6.00", False),
        ({"p99_ms": 5.0, "p99_upper_ms": 6.0}, 4.0, "4.0 ms is allowed", True),
        ({"p99_ms": 5.0}, 4.0, "p99 5.00 ms in 500 runs; 4.0 ms is allowed", True),
        ({"p99_ms": 5.0}, 9.0, "p99 5.00 ms", False),  # of too few runs: nothing is proven
        ({}, 9.0, "not timed", False),
    ],
)
def test_a_tail_is_within_a_budget_only_when_that_is_proven(figures, budget_ms, words, settled):
    rated = Rated(provider="cpu", runs=500, **figures)
    assert words in rated.too_slow(budget_ms)
    assert bool(rated.too_slow(budget_ms)) == bool(words)
    assert rated.settles(budget_ms) == settled
