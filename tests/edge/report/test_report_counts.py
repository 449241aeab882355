"""What the report counts, against counts by hand, tables and textbooks."""

from __future__ import annotations

import pytest

from edge.report import agreement, count, words
from edge.report.agreement import cohen, fleiss
from edge.report.curve import curve
from edge.report.figures import share
from edge.report.judge import Judged
from edge.report.precision import compared
from edge.report.worst import false_rejects, misses
from models import package
from models.manifest import Thresholds

LIMITS = Thresholds(pass_below=0.3, fail_from=0.6)


def one(score: float | None, *, defect: bool, group: str = "", kind: str = "", name: str = ""):
    """A picture judged by LIMITS; without a score it was unfit."""
    fate = "defaulted"
    if score is not None:
        fate = "fail" if score >= 0.6 else "accepted" if score < 0.3 else "held"
    fault = "" if score is not None else "unfit_image"
    return Judged(0, name, defect, kind, group, fate, score, fault, "dark" if fault else "")


def made(*rows: tuple[str, bool, float | None]) -> list[Judged]:
    return [one(score, defect=defect, group=group) for group, defect, score in rows]


def test_pictures_are_counted_by_what_became_of_them():
    found = [
        *(one(score, defect=True) for score in (0.1, 0.4, 0.5, 0.6, 0.9, None)),
        *(one(score, defect=False) for score in (0.0, 0.2, 0.29, 0.3, 0.7)),
    ]
    fates = count.by_picture(found)
    assert (fates.defect, fates.caught, fates.escapes) == (6, 2, 1)
    assert (fates.held_defect, fates.defaulted_defect) == (2, 1)
    assert (fates.good, fates.passed, fates.overkill, fates.held_good) == (5, 3, 1, 1)
    assert fates.escape_rate == share(1, 6)
    assert fates.detection == share(2, 6)
    assert fates.overkill_rate == share(2, 5)  # the one held included
    assert fates.held == share(3, 11)
    assert fates.defaulted == share(1, 11)
    first, second = words.summary(fates)
    assert first == (
        "Of 6 pictures of defective parts 2 were caught, 1 passed, 2 held, 1 had no verdict: "
        "escape rate 16.7 % (95 % interval 0.421 to 64.1 %)."
    )
    assert "3 passed, 1 failed, 1 held: overkill rate 40.0 %" in second
    (fault,) = count.of_faults(found)
    assert (fault.fault, fault.defect, fault.good, fault.reason) == ("unfit_image", 1, 0, "dark")


def test_the_sentence_of_the_handbook():
    fates = count.by_picture(
        [one(score, defect=True) for score in [0.9] * 276 + [0.1] * 2 + [0.4] * 2]
    )
    assert words.summary(fates) == [
        "Of 280 pictures of defective parts 276 were caught, 2 passed, 2 held: "
        "escape rate 0.714 % (95 % interval 0.0866 to 2.56 %)."
    ]
    assert fates.overkill_rate is None


def test_a_group_counts_once_by_what_speaks_most_against_it():
    found = made(
        ("a", True, 0.9), ("a", True, 0.1), ("a", True, None),  # one picture passed: an escape
        ("b", True, 0.9), ("b", True, 0.4),  # held
        ("c", True, 0.9), ("c", True, None),  # caught: a default is neither
        ("d", True, None),
        ("e", False, 0.1), ("e", False, 0.7),  # overkill
        ("f", False, 0.1), ("f", False, 0.2),
        ("g", False, 0.9), ("g", True, 0.9),  # defective; its good picture is not counted
        ("", True, 0.0),
    )  # fmt: skip
    fates = count.by_group(found, LIMITS)
    assert (fates.defect, fates.escapes, fates.held_defect) == (5, 1, 1)
    assert (fates.caught, fates.defaulted_defect) == (2, 1)
    assert (fates.good, fates.passed, fates.overkill) == (2, 1, 1)
    assert fates.escape_rate == share(1, 5)
    by_group = {each.group: each for each in count.of_groups(found)}
    assert next(iter(by_group)) == "a"
    assert (by_group["a"].defect, by_group["a"].escapes, by_group["a"].defaulted_defect) == (
        3,
        1,
        1,
    )
    assert (by_group["g"].good, by_group["g"].overkill, by_group["g"].caught) == (1, 1, 1)


def test_designs_and_lots_are_no_parts():
    mixed = [one(0.9 if bad else 0.1, defect=bad, group=g) for g in "ab" for bad in (True, False)]
    assert count.by_group(mixed, LIMITS) is None
    assert count.by_group(made(("", True, 0.9), ("", False, 0.1)), LIMITS) is None
    assert [each.group for each in count.of_groups(mixed)] == ["a", "b"]


def test_types_have_their_own_detection():
    found = [
        *(one(score, defect=True, kind="spur") for score in (0.9, 0.9, 0.1, 0.5)),
        one(0.9, defect=True, kind="open"),
        one(None, defect=True),
        one(0.9, defect=False, kind="spur"),  # good: of no type
    ]
    spur, *others = count.of_types(found)
    assert (spur.type, spur.defect, spur.caught, spur.escapes, spur.held) == ("spur", 4, 2, 1, 1)
    assert spur.detection == share(2, 4)
    assert [(each.type, each.defaulted) for each in others] == [("open", 0), ("unspecified", 1)]


def test_the_curve_against_one_by_hand():
    # Good 0.1 0.2 0.4 0.8, defective 0.3 0.8 0.9: of 12 pairs 9 are right and one is tied.
    found = [
        *(one(score, defect=False) for score in (0.1, 0.2, 0.4, 0.8)),
        *(one(score, defect=True) for score in (0.3, 0.8, 0.9, None)),
    ]
    it = curve(found)
    assert it.scored == 7
    assert it.auroc == pytest.approx(9.5 / 12)
    assert [(p.limit, p.good, p.defect) for p in it.points] == [
        (None, 0, 0),
        (0.9, 0, pytest.approx(1 / 3)),
        (0.8, 0.25, pytest.approx(2 / 3)),
        (0.4, 0.5, pytest.approx(2 / 3)),
        (0.3, 0.5, 1),
        (0.1, 1, 1),
    ]
    assert it.at_overkill == share(1, 3)  # 2 % of 4 good pictures admit none
    assert it.at_overkill_limit == 0.9


@pytest.mark.parametrize(("good", "admitted"), [(49, 0), (50, 1), (280, 5)])
def test_two_percent_of_the_good_pictures_may_fail(good, admitted):
    scores = [place / 1000 for place in range(good)]
    found = [one(score, defect=False) for score in scores]
    found += [one(score + 0.0005, defect=True) for score in scores[-10:]]
    # Above the first good picture that must pass lie so many defective ones.
    assert curve(found).at_overkill == share(admitted + 1, 10)


def test_one_kind_alone_has_no_curve():
    it = curve([one(0.2, defect=False)])
    assert (it.auroc, it.at_overkill, it.points) == (None, None, ())


# AIAG, Measurement Systems Analysis, 4th edition: appraiser A against the reference.
AIAG = [[45, 5], [3, 97]]
# Fleiss (1971): 10 subjects, 14 raters, 5 categories; kappa 0.210.
FLEISS = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def test_kappas_of_the_textbooks():
    assert cohen(AIAG) == pytest.approx(0.88, abs=0.005)
    assert cohen([[20, 5], [10, 15]]) == pytest.approx(0.4)  # (0.7 - 0.5) / (1 - 0.5)
    assert cohen([[5, 0], [0, 5]]) == 1.0
    assert cohen([[7, 0], [0, 0]]) is None
    assert fleiss(FLEISS) == pytest.approx(0.210, abs=0.0005)
    assert fleiss([[2, 0], [0, 3]]) == 1.0
    assert fleiss([[4, 0], [2, 0]]) is None


def test_kappa_with_groups_of_different_size():
    # Fleiss and Cuzick: 1 - sum(x (n - x) / n) / ((sum n - N) p q), x of n accepted.
    groups = [(2, 0), (1, 2), (0, 4), (3, 1)]
    p = 6 / 13
    within = 0 + 1 * 2 / 3 + 0 + 3 * 1 / 4
    assert fleiss(groups) == pytest.approx(1 - within / ((13 - 4) * p * (1 - p)))


def test_repeats_are_reckoned_as_in_an_attribute_study():
    found = made(
        ("a", True, 0.9), ("a", True, 0.9), ("a", True, 0.4),  # held: not accepted, so right
        ("b", True, 0.9), ("b", True, 0.1),  # one miss
        ("c", False, 0.1), ("c", False, 0.1),
        ("d", False, 0.1), ("d", False, 0.5), ("d", False, 0.2),  # one false alarm
        ("e", False, 0.7), ("e", False, 0.7),  # alike, and wrong
        ("f", False, 0.1), ("f", False, None),  # one judgement is no repeat
        ("g", True, 0.9), ("g", False, 0.1),  # of both labels
        ("", True, 0.0), ("", True, 0.0),
    )  # fmt: skip
    it = agreement.study(found)
    assert (it.groups, it.judgements, it.defect, it.good, it.held) == (5, 12, 2, 3, 2)
    assert (it.of_both_labels, it.single, it.without_verdict) == (1, 1, 1)
    assert it.effectiveness == share(2, 5)  # a and c
    assert it.repeatability == share(3, 5)  # and e
    assert it.miss == share(1, 5)
    assert it.false_alarm == share(3, 7)
    assert it.kappa_label == pytest.approx(cohen([[4, 1], [3, 4]]))
    assert it.kappa_repeats == pytest.approx(fleiss([(0, 3), (1, 1), (2, 0), (2, 1), (0, 2)]))
    assert "5 groups (2 defective, 3 good) with 12 judgements" in words.study(it)


def test_without_repeats_there_is_no_study():
    assert agreement.study(made(("a", True, 0.9), ("b", False, 0.1), ("", True, 0.9))) is None
    good = agreement.study(made(("a", False, 0.1), ("a", False, 0.9)))
    assert (good.miss, good.kappa_label, good.kappa_repeats) == (None, None, -1.0)


def test_flips_count_the_band_and_what_only_one_judges():
    found = [one(s, defect=False, name=f"{s}") for s in (0.1, 0.29, 0.5, 0.7, None, 0.2)]
    twin = [one(s, defect=False) for s in (0.12, 0.31, 0.5, 0.59, 0.1, 0.2)]
    it = compared(found, twin, LIMITS, package.find("synthetic-part"))
    assert it.flips == 3
    assert it.verdicts == {"pass/indeterminate": 1, "fail/indeterminate": 1, "unfit_image/pass": 1}
    assert (it.max_score_delta, it.max_score_delta_of) == (pytest.approx(0.11), "0.7")
    assert it.auroc is None


def test_the_worst_come_first_and_no_more_than_eight():
    bad = [one(s, defect=True) for s in (0.4, 0.2, 0.05, 0.9, None)]
    good = [one(s / 100, defect=False) for s in (*range(60, 80), 40, 5)]
    assert [each.score for each in misses(bad)] == [0.05, 0.2, 0.4]
    assert [each.score for each in false_rejects(good)] == [s / 100 for s in range(79, 71, -1)]
    assert [each.score for each in false_rejects(good[-4:])] == [0.79, 0.78, 0.4]
