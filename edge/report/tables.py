"""The tables of a quality report."""

from __future__ import annotations

from collections.abc import Sequence

from edge.historian.report.table import Row, table
from edge.historian.report.words import fault
from edge.page.words import count, percent
from edge.report.figures import (
    WANTED_OVERKILL,
    Curve,
    Fates,
    Figures,
    Fp32,
    OfFault,
    OfGroup,
    OfType,
    Share,
    Study,
)
from edge.report.words import interval

MOST_GROUPS = 40
_RATES = (
    ("escape rate: defective, accepted", "escape_rate"),
    ("detection: defective, failed (caught)", "detection"),
    ("overkill rate: good, failed or held", "overkill_rate"),
    ("held (INDETERMINATE), of all", "held"),
    ("no verdict, of all", "defaulted"),
)
# What AIAG's manual calls acceptable, and a kappa that is very good.
_LEAST_EFFECTIVENESS, _MOST_MISS, _MOST_FALSE_ALARM, _LEAST_KAPPA = 0.90, 0.02, 0.05, 0.9


def summary(figures: Figures) -> str:
    """The rates by picture and, where there are groups, by group."""
    units: list[Fates] = [figures.pictures, *([figures.groups] if figures.groups else [])]
    rows = []
    for name, field in _RATES:
        for fates in units:
            found: Share | None = getattr(fates, field)
            rows.append([name if fates.unit == "picture" else "", fates.unit, *_share(found)])
    heads = ("rate", "by", "count", "of", "share", "95 % interval (exact)")
    return table(heads, rows, "numbers")


def _share(found: Share | None) -> Row:
    if found is None:
        return ["-", "0", "-", "nothing is known"]
    return [f"{found.count:,}", f"{found.of:,}", percent(found.share), interval(found)]


def types(found: Sequence[OfType]) -> str:
    rows = [
        [
            one.type,
            *(
                f"{number:,}"
                for number in (one.defect, one.caught, one.escapes, one.held, one.defaulted)
            ),
            *_share(one.detection)[2:],
        ]
        for one in found
    ]
    heads = ("type", "pictures", "caught", "accepted", "held", "no verdict", "detection", "95 %")
    return table(heads, rows, "numbers")


def groups(found: Sequence[OfGroup]) -> str:
    heads = (
        *("group", "defective", "caught", "accepted", "held", "no verdict"),
        *("good", "passed", "failed", "held", "no verdict"),
    )
    rows = [
        [
            one.group,
            *(
                f"{number:,}"
                for number in (
                    *(one.defect, one.caught, one.escapes, one.held_defect, one.defaulted_defect),
                    *(one.good, one.passed, one.overkill, one.held_good, one.defaulted_good),
                )
            ),
        ]
        for one in found
    ]
    marks = {place: "wrong" for place, one in enumerate(found) if one.escapes}
    return table(heads, rows, "numbers", marks)


def curve(found: Curve) -> str:
    wanted = f"{100 * WANTED_OVERKILL:g} %"
    rows = [["AUROC", "-" if found.auroc is None else f"{found.auroc:.4f}", "of pictures scored"]]
    rows[0][2] = f"of {count(found.scored, 'picture')} with a score"
    if found.at_overkill and found.at_overkill_limit is not None:
        rows.append(
            [
                f"detection at {wanted} overkill on this data's own curve",
                percent(found.at_overkill.share),
                f"for diagnosis: FAIL from {found.at_overkill_limit:.4f}, which was chosen on this "
                "very data; no station has it",
            ]
        )
    return table(("", "", ""), rows, "words")


def fp32(found: Fp32) -> str:
    flips = ", ".join(f"{name} {number:,}" for name, number in found.verdicts.items()) or "none"
    rows = [
        ["AUROC of the package", _figure(found.auroc)],
        ["AUROC of the twin (FP32)", _figure(found.auroc_fp32)],
        [
            "largest score difference",
            f"{_figure(found.max_score_delta)}, {found.max_score_delta_of}",
        ],
        ["verdict flips", f"{found.flips:,} of {count(found.pictures, 'picture')}"],
        ["package/twin", flips],
        ["twin", f"{found.twin}, content {found.twin_content_sha256[:12]}"],
    ]
    return table(("", ""), rows, "words")


def study(found: Study) -> str:
    rows = [
        _rated("effectiveness: groups judged right every time", found.effectiveness, True,
               f"at least {percent(_LEAST_EFFECTIVENESS)}", _LEAST_EFFECTIVENESS),
        _rated("repeatability: groups judged alike every time", found.repeatability, True),
        _rated("miss: judgements of defective groups, accepted", found.miss, False,
               f"at most {percent(_MOST_MISS)}", _MOST_MISS),
        _rated("false alarm: judgements of good groups, not accepted", found.false_alarm, False,
               f"at most {percent(_MOST_FALSE_ALARM)}", _MOST_FALSE_ALARM),
        _kappa("kappa, judgement against label (Cohen)", found.kappa_label),
        _kappa("kappa, repeated judgements (Fleiss)", found.kappa_repeats),
    ]  # fmt: skip
    heads = ("figure", "count", "of", "value", "95 % interval", "acceptable", "met")
    return table(heads, rows, "numbers")


def _rated(
    name: str, found: Share | None, least: bool, wanted: str = "", limit: float | None = None
) -> Row:
    """An interval only where groups are counted: judgements of one group are no separate parts."""
    if found is None:
        return [name, "-", "0", "-", "-", wanted, "-"]
    numbers = [f"{found.count:,}", f"{found.of:,}", percent(found.share)]
    met = "" if limit is None else _met(found.share >= limit if least else found.share <= limit)
    return [name, *numbers, interval(found) if least else "", wanted, met]


def _kappa(name: str, value: float | None) -> Row:
    wanted = f"very good from {_LEAST_KAPPA:g}"
    if value is None:
        return [name, "", "", "not defined: all alike", "", wanted, "-"]
    return [name, "", "", f"{value:.3f}", "", wanted, _met(value >= _LEAST_KAPPA)]


def _met(fine: bool) -> str:
    return "yes" if fine else "no"


def faults(found: Sequence[OfFault]) -> str:
    rows = [[fault(one.fault), f"{one.defect:,}", f"{one.good:,}", one.reason] for one in found]
    return table(("why", "defective", "good", "the first one's reason"), rows, "words")


def ran(figures: Figures) -> str:
    one = figures.ran
    judged = figures.pictures.defect + figures.pictures.good
    libraries = ", ".join(f"{name} {version}" for name, version in one.libraries.items())
    seen = f"{figures.learned_from:,}" if figures.learned_from else "none"
    rows = [
        ["package", f"{one.package} {one.version}, {one.precision}"],
        ["content SHA-256", one.content_sha256],
        ["file SHA-256", one.file_sha256],
        ["limits", f"PASS below {one.pass_below:.6g}, FAIL from {one.fail_from:.6g}"],
        ["provider", f"{one.provider}, {count(one.threads, 'thread')}"],
        ["libraries", libraries],
        ["instruction sets", " ".join(one.processor) or "none known"],
        ["data", f"{one.footage}{f', split {one.split}' if one.split else ''}: "
                 f"{count(judged, 'picture')}"],
        ["data SHA-256", one.data_sha256],
        ["of these in the package's training or calibration", seen],
        ["written", one.written_utc],
    ]  # fmt: skip
    return table(("", ""), rows, "words")


_MEANINGS = (
    ("escape", "a defective part that was accepted: it goes to the customer"),
    ("overkill", "a good part that failed; the overkill rate counts those held as well"),
    ("held", "INDETERMINATE: the score lies between the limits; a person decides"),
    ("no verdict", "the picture was not fit to judge, or broken; the part gets the default"),
    ("detection", "the share of defective parts that failed; held ones are not caught"),
    ("95 % interval", "exact (Clopper-Pearson): outside it, a count this low or this high would "
                      "each come up in fewer than 1 sample of 40"),
    ("AUROC", "how often a defective picture scores above a good one: 1 always, 0.5 by chance"),
    ("kappa", "agreement beyond chance: 1 is complete, 0 what chance alone brings"),
)  # fmt: skip


def meanings() -> str:
    return table(("", ""), [list(pair) for pair in _MEANINGS], "words")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
