"""Counting what became of pictures: all of them, by group, by type, by fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from edge.replay import fared
from edge.report.figures import Fates, OfFault, OfGroup, OfType, share
from edge.report.judge import Judged
from models import calibrate
from models.manifest import Thresholds

_COUNTED = (
    *("defect", "caught", "escapes", "held_defect", "defaulted_defect"),
    *("good", "passed", "overkill", "held_good", "defaulted_good"),
)


def by_picture(found: Iterable[Judged]) -> Fates:
    """What became of every picture."""
    return _fates("picture", _counts(Counter((one.fate, one.defect) for one in found)))


def by_group(found: Sequence[Judged], limits: Thresholds) -> Fates | None:
    """What became of every group, as a certificate counts units (models/calibrate.py).

    None where no picture has one, or groups are no parts.
    """
    units = calibrate.parts_of(
        [calibrate.Judged(one.group, one.defect, one.score) for one in found if one.group]
    )
    if units is None:
        return None
    bad, fine = (calibrate.fared(scores, limits) for scores in (units.defective, units.good))
    return _fates(
        "group",
        {
            "defect": bad.units,
            "caught": bad.failed,
            "escapes": bad.passed,
            "held_defect": bad.held,
            "defaulted_defect": bad.unfit,
            "good": fine.units,
            "passed": fine.passed,
            "overkill": fine.failed,
            "held_good": fine.held,
            "defaulted_good": fine.unfit,
        },
    )


def of_groups(found: Iterable[Judged]) -> tuple[OfGroup, ...]:
    """Each group's own counts: the one with most pictures judged wrongly first."""
    counts: dict[str, Counter[tuple[str, bool]]] = {}
    for one in found:
        if one.group:
            counts.setdefault(one.group, Counter())[one.fate, one.defect] += 1
    made = [OfGroup(group=name, **_counts(fates)) for name, fates in counts.items()]
    return tuple(sorted(made, key=lambda one: (-one.escapes, -_wrong(one), one.group)))


def _wrong(one: OfGroup) -> int:
    return one.defect - one.caught + one.good - one.passed


def of_types(found: Iterable[Judged]) -> tuple[OfType, ...]:
    """The defective pictures by type, the most frequent first."""
    counts: dict[str, Counter[tuple[str, bool]]] = {}
    for one in found:
        if one.defect:
            counts.setdefault(one.type or "unspecified", Counter())[one.fate, True] += 1
    made = [_of_type(name, _counts(fates)) for name, fates in counts.items()]
    return tuple(sorted(made, key=lambda one: (-one.defect, one.type)))


def _of_type(name: str, counts: dict[str, int]) -> OfType:
    return OfType(
        type=name,
        defect=counts["defect"],
        caught=counts["caught"],
        escapes=counts["escapes"],
        held=counts["held_defect"],
        defaulted=counts["defaulted_defect"],
        detection=share(counts["caught"], counts["defect"]),
    )


def of_faults(found: Sequence[Judged]) -> tuple[OfFault, ...]:
    """Pictures without a verdict, the most frequent fault first."""
    counts = Counter((one.fault, one.defect) for one in found if one.fault)
    reasons: dict[str, str] = {}
    for one in found:
        if one.fault:
            reasons.setdefault(one.fault, one.reason)
    made = [
        OfFault(fault, counts[fault, True], counts[fault, False], reason)
        for fault, reason in reasons.items()
    ]
    return tuple(sorted(made, key=lambda one: (-one.defect - one.good, one.fault)))


def _fates(unit: Literal["picture", "group"], counts: dict[str, int]) -> Fates:
    defect, good = counts["defect"], counts["good"]
    return Fates(
        unit=unit,
        **counts,
        detection=share(counts["caught"], defect),
        escape_rate=share(counts["escapes"], defect),
        overkill_rate=share(counts["overkill"] + counts["held_good"], good),
        held=share(counts["held_defect"] + counts["held_good"], defect + good),
        defaulted=share(counts["defaulted_defect"] + counts["defaulted_good"], defect + good),
    )


def _counts(fates: Counter[tuple[str, bool]]) -> dict[str, int]:
    """Counts by ARCHITECTURE's words, from those of (fate, whether it is defective)."""
    known = fared(fates, None) | {"passed": fates["accepted", False]}
    return {name: known[name] for name in _COUNTED}
