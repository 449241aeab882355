"""Limits with a guarantee: exact counts, the choice in every case, and 1,000 simulated samples."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.binomial import upper
from models.calibrate import (
    Asked,
    Judged,
    Units,
    admitted,
    at_most,
    choose,
    fared,
    parts_of,
    percent,
    shortfall,
    units_needed,
    units_of,
)

REPETITIONS = 2000
# Three standard deviations of a share of 5 % among so many repetitions.
SLACK = 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


def asked(escape=0.002, overkill=0.02, confidence=0.95):
    return Asked(escape=escape, overkill=overkill, confidence=confidence)


def units(defective, good):
    return Units(np.array(defective, np.float32), np.array(good, np.float32), 0)


# ---- how many ----


# Misses 0 to 5: the units needed at 95 %; ln 0.05 / ln(1 - rate) for none.
@pytest.mark.parametrize(
    ("rate", "needed"),
    [
        (0.002, [1497, 2371, 3146, 3875, 4575, 5254]),
        (0.005, [598, 947, 1258, 1549, 1829, 2100]),
        (0.01, [299, 473, 628, 773, 913, 1049]),
        (0.02, [149, 236, 313, 386, 456, 523]),
    ],
)
def test_the_units_that_bound_a_rate(rate, needed):
    assert [units_needed(rate, 0.95, misses) for misses in range(6)] == needed
    assert needed[0] == math.ceil(math.log(0.05) / math.log(1 - rate))
    for misses, count in enumerate(needed):
        assert upper(misses, count, 0.95) <= rate < upper(misses, count - 1, 0.95)


@pytest.mark.parametrize(
    ("count", "most"), [(1496, None), (1497, 0), (2370, 0), (2371, 1), (5254, 5), (1, None)]
)
def test_the_misses_that_a_number_of_units_admits(count, most):
    assert admitted(count, 0.002, 0.95) == most


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.002, "0.2 %"), (0.0167826, "1.68 %"), (0.0167926, "1.68 %"), (0.016801, "1.69 %"),
     (0.99999, "100 %"), (1.0, "100 %"), (0.0, "0 %"), (0.0015, "0.15 %"), (0.35501, "35.6 %")],
)  # fmt: skip
def test_a_bound_in_words_is_never_below_itself(rate, text):
    assert at_most(rate) == text
    assert float(text.split()[0]) >= 100 * rate - 1e-12


def test_what_was_asked_in_words_is_exact():
    assert [percent(rate) for rate in (0.002, 0.95, 0.0125, 0.07)] == [
        "0.2 %", "95 %", "1.25 %", "7 %",
    ]  # fmt: skip


# ---- units ----


def test_a_unit_counts_by_its_worst_picture():
    made = units_of(
        [
            Judged("a", True, 0.9), Judged("a", True, 0.2),  # missed by its lowest
            Judged("a", False, 0.99),  # a good picture of a defective part: no word on good parts
            Judged("b", False, 0.1), Judged("b", False, 0.7),  # overkill by its highest
            Judged("c", True, None), Judged("c", True, 0.8),  # the unfit picture never passes
            Judged("d", True, None),
            Judged("e", False, None),
        ]
    )  # fmt: skip
    assert sorted(made.defective) == [np.float32(0.2), np.float32(0.8), np.inf]
    assert sorted(made.good) == [-np.inf, np.float32(0.7)]
    assert made.left_out == 1
    limits = choose(made, asked(0.9, 0.9)).limits
    for scores in (made.defective, made.good):
        counts = fared(scores, limits)
        assert counts.units == counts.passed + counts.held + counts.failed + counts.unfit
        assert counts.unfit == 1


def test_designs_and_lots_are_no_parts():
    part = [Judged("a", True, 0.9), Judged("b", False, 0.2), Judged("c", True, 0.8)]
    design = [Judged(name, bad, 0.5) for name in "abc" for bad in (True, False)]
    assert parts_of(part) is not None
    assert parts_of([*part, Judged("a", False, 0.3)]) is not None  # one part under both labels
    assert parts_of(design) is None


# ---- limits ----


def test_where_the_kinds_stand_apart_indeterminate_is_the_empty_stretch():
    found = choose(units(np.linspace(0.7, 0.9, 2000), np.linspace(0.1, 0.3, 2000)), asked())
    assert found.limits.fail_from == pytest.approx(0.7)
    assert found.limits.pass_below == float(np.nextafter(np.float32(0.3), np.float32(1)))
    assert found.escape == found.uncaught == upper(0, 2000, 0.95)
    assert found.overkill == found.failed == upper(admitted(2000, 0.02, 0.95), 2000, 0.95)


def test_where_they_overlap_within_the_promises_the_contested_stretch_is_held():
    # 20 good units among the lowest defective ones: either promise admits more than that.
    defective = np.linspace(0.5, 0.9, 2000)
    good = np.append(np.linspace(0.1, 0.3, 1980), np.full(20, 0.501))
    made, wish = units(defective, good), asked(0.01, 0.02)
    found = choose(made, wish)
    assert found.limits.pass_below == 0.5
    assert found.limits.fail_from == float(np.nextafter(np.float32(0.501), np.float32(1)))
    assert shortfall(found, made, wish) == ""
    missed, rejected = fared(made.defective, found.limits), fared(made.good, found.limits)
    assert (missed.passed, missed.held) == (0, 5)
    assert (rejected.failed, rejected.held) == (0, 20)
    assert found.escape == found.uncaught <= 0.01
    assert found.overkill == found.failed <= 0.02


def test_where_the_walks_do_not_meet_the_band_is_theirs_and_the_bound_says_so():
    made = units(np.linspace(0.0, 0.9, 2000), np.linspace(0.1, 1.0, 2000))
    found = choose(made, asked())
    assert found.limits.pass_below == 0.0
    assert found.limits.fail_from > 0.98
    assert found.escape == upper(0, 2000, 0.95)
    assert found.overkill == 1.0
    assert found.failed <= 0.02
    assert found.uncaught > 0.9
    assert "would not do" in shortfall(found, made, asked())


@pytest.mark.parametrize(
    ("defective", "good", "told"),
    [
        (177, 1000, "0.2 % need 1,497 defective units without one, 1,320 more than the 177"),
        (2000, 100, "2 % need 149 good units without one, 49 more than the 100"),
        (1, 1, "1,496 more than the 1 "),
    ],
)
def test_too_few_units_are_told_with_how_many_are_missing(defective, good, told):
    made = units(np.full(defective, 0.9), np.full(good, 0.1))
    found = choose(made, asked())
    line = shortfall(found, made, asked())
    assert told in line
    assert "\n" not in line
    assert found.escape == upper(0, defective, 0.95) or found.escape <= 0.002
    assert found.overkill == upper(0, good, 0.95) or found.overkill <= 0.02


def test_how_many_more_units_bring_the_walks_together():
    """The promised number of units that score alike is enough, and fewer are not."""
    defective = np.append(np.linspace(0.5, 0.9, 1999), 0.25)
    good = np.append(np.linspace(0.0, 0.2, 960), np.linspace(0.3, 0.4, 40))
    line = shortfall(choose(units(defective, good), asked()), units(defective, good), asked())
    more = int(re.search(r"about ([0-9,]+) more defective units that", line)[1].replace(",", ""))
    for added, is_enough in ((more + 1, True), (more // 2, False)):
        low = math.ceil((2000 + added) / 2000) - 1  # as many among the good ones
        extra = np.append(np.full(low, 0.25), np.linspace(0.5, 0.9, added - low))
        made = units(np.append(defective, extra), good)
        assert (shortfall(choose(made, asked()), made, asked()) == "") is is_enough


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_limits_hold_together_whatever_the_scores(data):
    score = st.floats(-5, 5, width=32) | st.sampled_from((0.0, 1.0))
    defective = data.draw(st.lists(score | st.just(math.inf), min_size=1, max_size=40))
    good = data.draw(st.lists(score | st.just(-math.inf), min_size=1, max_size=40))
    made = units(defective, good)
    if not (np.isfinite(made.defective).any() and np.isfinite(made.good).any()):
        with pytest.raises(ValueError, match="both kinds"):
            choose(made, asked(0.1, 0.2))
        return
    wish = asked(data.draw(st.sampled_from((0.05, 0.1, 0.5))), 0.2, 0.9)
    found = choose(made, wish)
    limits = found.limits
    assert math.isfinite(limits.pass_below)
    assert limits.pass_below <= limits.fail_from
    missed, rejected = fared(made.defective, limits), fared(made.good, limits)
    # What is seen never contradicts what is bounded.
    assert missed.passed / missed.units <= found.escape <= found.uncaught or (
        found.escape == found.uncaught
    )
    assert (missed.passed + missed.held) / missed.units <= found.uncaught
    assert rejected.failed / rejected.units <= found.failed
    assert (rejected.failed + rejected.held) / rejected.units <= found.overkill
    kept = found.escape <= wish.escape and found.overkill <= wish.overkill
    assert kept == (shortfall(found, made, wish) == "")


# ---- the guarantee, on scores whose truth is known ----


def cdf(value, mean):
    return 0.5 * math.erfc((mean - value) / math.sqrt(2))


def simulated(draw_bad, draw_good, wish, seed):
    """REPETITIONS samples of known distributions, and the limits chosen on each."""
    rng = np.random.default_rng(seed)
    return [choose(Units(draw_bad(rng), draw_good(rng), 0), wish) for _ in range(REPETITIONS)]


def normal(mean, count, digits=None):
    def draw(rng):
        scores = rng.normal(mean, 1, count)
        return (scores if digits is None else np.round(scores, digits)).astype(np.float32)

    return draw


# Apart, both promises can be kept. Overlapping, the limits are where the walks end: what may be
# missed uses 4.2 of the 5 samples in 100 that the confidence leaves.
@pytest.mark.parametrize("mean", [6.0, 3.0, 1.5])
def test_the_true_rates_break_their_promise_in_at_most_5_of_100_samples(mean):
    wish = asked(0.02, 0.03)
    found = simulated(normal(mean, 400), normal(0, 310), wish, seed=7)
    true = {
        "escape": [cdf(one.limits.pass_below, mean) for one in found],
        "uncaught": [cdf(one.limits.fail_from, mean) for one in found],
        "overkill": [1 - cdf(one.limits.pass_below, 0) for one in found],
        "failed": [1 - cdf(one.limits.fail_from, 0) for one in found],
    }
    broken = {
        name: np.mean([rate > getattr(one, name) for rate, one in zip(rates, found, strict=True)])
        for name, rates in true.items()
    }
    assert max(broken.values()) <= 0.05 + SLACK, broken
    assert np.mean(np.array(true["escape"]) > wish.escape) <= 0.05 + SLACK
    assert np.mean(np.array(true["failed"]) > wish.overkill) <= 0.05 + SLACK
    # Not by holding everything back: where the walks do not meet, what may be used is used.
    kept = np.mean([one.overkill <= wish.overkill for one in found])
    if mean < 6:
        assert kept == 0
        assert min(broken.values()) > 0.01
    else:
        assert kept == 1


def test_the_same_test_finds_limits_without_a_guarantee():
    """The share of the promise taken from the sample itself breaks it every other time."""
    rng = np.random.default_rng(7)
    rates = [cdf(np.quantile(normal(3, 400)(rng), 0.02), 3.0) for _ in range(REPETITIONS)]
    assert np.mean(np.array(rates) > 0.02) > 0.3


def test_ties_only_make_it_safer():
    wish, mean = asked(0.02, 0.03), 3.0
    found = simulated(normal(mean, 400, 1), normal(0, 300, 1), wish, seed=8)
    edges = [(one.limits.pass_below, one.limits.fail_from) for one in found]
    # A score below a limit is one that rounds to the tenth below it, or lower.
    escapes = [cdf(math.ceil(round(10 * low, 4)) / 10 - 0.05, mean) for low, _ in edges]
    fails = [1 - cdf(math.ceil(round(10 * high, 4)) / 10 - 0.05, 0) for _, high in edges]
    assert np.mean(np.array(escapes) > wish.escape) <= 0.05 + SLACK
    assert np.mean(np.array(fails) > wish.overkill) <= 0.05 + SLACK


def test_a_promise_that_is_weakened_for_want_of_units_holds_too():
    found = simulated(normal(2.0, 100), normal(0, 90), asked(), seed=9)
    weak = upper(0, 100, 0.95)
    assert {one.escape for one in found} == {weak}
    broken = np.mean([cdf(one.limits.pass_below, 2.0) > weak for one in found])
    assert 0.02 < broken <= 0.05 + SLACK


def parts(mean, count, worst):
    """Physical parts of 1 to 6 pictures that are alike, as the score that counts of each."""

    def draw(rng):
        part = rng.normal(mean, 1, (count, 1)) + rng.normal(0, 0.5, (count, 6))
        there = np.arange(6) < rng.integers(1, 7, (count, 1))
        return worst(np.where(there, part, part[:, :1]), axis=1).astype(np.float32)

    return draw


def test_grouped_units_keep_the_promise_by_part_and_pictures_would_not():
    wish, mean = asked(0.05, 0.05), 3.0
    bad, good = parts(mean, 200, np.min), parts(0, 200, np.max)
    found = simulated(bad, good, wish, seed=10)
    rng = np.random.default_rng(11)
    every = [np.sort(parts(at, 400_000, worst)(rng)) for at, worst in ((mean, np.min), (0, np.max))]
    escapes = [np.searchsorted(every[0], one.limits.pass_below) / 400_000 for one in found]
    fails = [1 - np.searchsorted(every[1], one.limits.fail_from) / 400_000 for one in found]
    for rates, rate in ((escapes, wish.escape), (fails, wish.overkill)):
        broken = np.mean(np.array(rates) > rate)
        assert 0.01 < broken <= 0.05 + SLACK
    # The same pictures taken for parts: six almost equal ones are no six witnesses.
    rng, broken = np.random.default_rng(12), 0
    for _ in range(REPETITIONS):
        pictures = (rng.normal(mean, 1, (40, 1)) + rng.normal(0, 0.2, (40, 6))).ravel()
        limit = choose(Units(pictures.astype(np.float32), good(rng), 0), wish).limits.pass_below
        broken += cdf(limit, mean) > wish.escape  # of the part, whatever the picture
    assert broken / REPETITIONS > 0.1
