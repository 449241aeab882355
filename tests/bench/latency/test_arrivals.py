"""Schedules: when each part of a scenario arrives, how many there are, and when to give up."""

from __future__ import annotations

import numpy as np
import pytest

from bench.latency import arrivals
from bench.latency.arrivals import hopeless, length, schedule
from bench.latency.result import Plan
from edge.core.clock import NS_PER_MS, NS_PER_S
from edge.core.errors import ConfigError


def _instants(plan: Plan, parts: int, warm_up: int = 0) -> list[int]:
    rows = schedule(plan, parts, warm_up)
    assert rows.parts == parts + warm_up
    return [rows.arrival_ns(row) for row in range(rows.parts)]


def test_constant_is_a_period_from_the_first_warm_up_part_on():
    plan = Plan(scenario="constant", rate_hz=20.0)
    assert _instants(plan, 3, warm_up=2) == [n * 50 * NS_PER_MS for n in range(5)]


def test_bursts_come_at_the_same_instant_and_keep_the_mean_rate():
    plan = Plan(scenario="constant", rate_hz=10.0, burst=3)
    assert _instants(plan, 7) == [n * 300 * NS_PER_MS for n in (0, 0, 0, 1, 1, 1, 2)]


def test_gaps_come_in_turn_after_every_twenty_timed_parts():
    plan = Plan(scenario="constant", rate_hz=20.0, gaps_s=(1.0, 5.0))
    pauses = np.diff(_instants(plan, 62, warm_up=5))
    gaps = {
        int(place) - 4: int(pause) for place, pause in enumerate(pauses) if pause > NS_PER_S / 2
    }
    assert gaps == {20: NS_PER_S, 40: 5 * NS_PER_S, 60: NS_PER_S}
    assert set(pauses) == {50 * NS_PER_MS, NS_PER_S, 5 * NS_PER_S}


def test_server_is_poisson_and_the_same_for_a_seed():
    plan = Plan(scenario="server", rate_hz=50.0, seed=7)
    instants = _instants(plan, 20_000)
    assert instants == _instants(plan, 20_000)
    assert instants != _instants(Plan(scenario="server", rate_hz=50.0, seed=8), 20_000)
    pauses = np.diff(instants)
    assert (pauses >= 0).all()
    # The mean and the standard deviation of an exponential are the same.
    assert np.mean(pauses) == pytest.approx(NS_PER_S / 50, rel=0.03)
    assert np.std(pauses) == pytest.approx(NS_PER_S / 50, rel=0.05)


def test_single_and_offline_arrive_as_soon_as_they_are_let_in():
    single, offline = Plan(scenario="single"), Plan(scenario="offline")
    assert arrivals.at_most(single) == 1
    assert arrivals.at_most(offline) == arrivals.OPEN
    assert _instants(single, 3, warm_up=1) == [0, 0, 0, 0]
    assert schedule(offline, None, 1).parts is None


def test_a_recorded_list_is_played_as_it_was_behind_the_warm_up(tmp_path):
    file = tmp_path / "arrivals.txt"
    file.write_text("# gate 3\n1000.5\n\n1010.5\n1010.5\n1100\n")
    plan = Plan(scenario="constant", arrivals=str(file))
    assert length(plan).parts == 4
    instants = _instants(plan, 4, warm_up=2)
    assert [at - 100 * NS_PER_MS for at in instants[2:]] == [0, 10_000_000, 10_000_000, 99_500_000]
    assert arrivals.mean_rate_hz(plan) == pytest.approx(3 / 0.0995)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\nsoon\n", "line 2: 'soon' is not a time in milliseconds"),
        ("1\nnan\n", "line 2: 'nan' is not a time in milliseconds"),
        ("5\n4\n", "line 2: earlier than the line before"),
        ("5\n", "1 arrivals; allowed: 2 to"),
    ],
)
def test_a_list_that_is_none_is_refused_by_its_line(tmp_path, text, words):
    file = tmp_path / "arrivals.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        arrivals.read_arrivals(file)


@pytest.mark.parametrize(
    ("plan", "parts"),
    [
        (Plan(scenario="constant", rate_hz=20.0), 3000),
        (Plan(scenario="constant", rate_hz=100.0), 6000),
        (Plan(scenario="server", rate_hz=20.0, minutes=0.5), 600),
        (Plan(scenario="constant", rate_hz=20.0, parts=7), 7),
        (Plan(scenario="constant", rate_hz=20.0, gaps_s=(1.0, 2.0)), 220),
        # 20 parts and their gap take 0.95 + 5.05 s, so ten rounds are a minute
        (Plan(scenario="constant", rate_hz=20.0, gaps_s=(5.05,), minutes=1.0), 200),
    ],
)
def test_lengths_of_a_schedule(plan, parts):
    assert length(plan).parts == parts


def test_a_run_without_a_schedule_lasts_for_parts_and_seconds():
    default = length(Plan(scenario="single"))
    assert default.parts is None
    assert not default.reached(3000, 59.0)
    assert not default.reached(2999, 61.0)
    assert default.reached(3000, 60.0)
    soak = length(Plan(scenario="offline", minutes=2.0))
    assert not soak.reached(1_000_000, 119.0)
    assert soak.reached(1, 120.0)
    assert not length(Plan(scenario="single", parts=5)).reached(5, 1e6)


def test_only_bad_figures_end_a_run_early():
    assert hopeless(99, 99) == ""
    assert hopeless(100_000, 0) == ""
    assert hopeless(100, 15) == ""  # 15 %, but its lower bound is 9.5 %
    assert hopeless(100, 17).startswith("stopped early: 17 overruns in 100 parts")
